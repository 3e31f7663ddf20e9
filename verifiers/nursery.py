"""Where judge processes come from, seen from the pool."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

from verifiers.judge_process import REAP_TIMEOUT_S, JudgeDied, JudgeProcess
from verifiers.types import Rules

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 120.0
"""Longest wait for the judges' libraries to be imported; seconds on an idle machine."""

FORK_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 2.0
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


class Nursery:
    """Has one process with everything imported (``verifiers.mother``) fork the judges.

    Linux ties that process to the thread that started it, so whoever calls ``take`` must live as
    long as the pool. It is started again when it died; the judges that it forked died with it.
    """

    def __init__(self, memory_mib: int, rules: Rules) -> None:
        self._arguments = [str(memory_mib), str(os.getpid()), json.dumps(asdict(rules))]
        self._lock = threading.Lock()
        self._mother: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._complaints: IO[bytes] | None = None
        self._family: list[JudgeProcess] = []
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def take(self) -> JudgeProcess:
        """A process that judges. Raises JudgeDied when none can be started."""
        with self._lock:
            if self._closed:
                raise JudgeDied("the judge pool was closed")
            had_mother = self._mother is not None
            try:
                process = self._start()
            except JudgeDied:
                if not had_mother:
                    raise
                process = self._start()  # she may have died after the last look at her
            self._family = [*filter(lambda p: p.alive, self._family), process]
            return process

    def reap(self, mother: int, pid: int) -> int | None:
        """The exit code of a judge process that ended; None when its mother is gone as well."""
        with self._lock, suppress(JudgeDied, OSError):
            if self._mother is not None and self._mother.pid == mother:
                return self._ask({"what": "reap", "pid": pid}, [])["code"]
        return None

    def close(self) -> None:
        """Kill every process; each keeper lets go of its own."""
        with self._lock:
            self._closed = True
            for process in self._family:
                process.end()
            if self._control is not None:
                self._control.close()  # she reaps what is left and leaves
            if self._mother is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._mother.wait(LEAVE_TIMEOUT_S)
            self._bury_mother()

    def _start(self) -> JudgeProcess:
        try:
            self._ensure_mother()
            return self._fork()
        except OSError as error:
            self._bury_mother()
            raise JudgeDied(f"no judge process can be started: {error}") from error

    def _ensure_mother(self) -> None:
        if self._mother is not None and self._mother.poll() is None:
            return
        self._bury_mother()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        module = [sys.executable, "-P", "-m", "verifiers.mother", str(theirs.fileno())]
        self._mother = subprocess.Popen(
            [*module, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._complaints,
            stderr=self._complaints,
            pass_fds=[theirs.fileno()],
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        theirs.close()
        self._reply(time.monotonic() + START_TIMEOUT_S, "import their libraries")

    def _fork(self) -> JudgeProcess:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        requests, to_judge = os.pipe()
        from_judge, replies = os.pipe()
        try:
            pid = self._ask({"what": "fork"}, [requests, replies, complaints.fileno()])["pid"]
        except BaseException:
            complaints.close()
            os.close(to_judge)
            os.close(from_judge)
            raise
        finally:
            os.close(requests)
            os.close(replies)
        assert self._mother is not None
        reap = partial(self.reap, self._mother.pid)
        return JudgeProcess(pid, to_judge, from_judge, complaints, reap)

    def _ask(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        if self._control is None:
            raise JudgeDied("no judge process is left to ask")
        socket.send_fds(self._control, [json.dumps(request).encode()], fds)
        return self._reply(time.monotonic() + FORK_TIMEOUT_S, request["what"])

    def _reply(self, deadline: float, what: str) -> dict[str, Any]:
        assert self._control is not None
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            self._bury_mother()
            raise JudgeDied(f"judge processes did not {what} in time")
        reply = self._control.recv(1000)
        if not reply:
            raise JudgeDied(f"judge processes cannot {what}: {self._last_words()}")
        return json.loads(reply)

    def _last_words(self) -> str:
        assert self._mother is not None and self._complaints is not None
        with suppress(subprocess.TimeoutExpired):
            self._mother.wait(REAP_TIMEOUT_S)
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self._mother.returncode}"

    def _bury_mother(self) -> None:
        if self._mother is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._mother.pid, signal.SIGKILL)
            self._mother.wait(REAP_TIMEOUT_S)
        for open_file in (self._control, self._complaints):
            if open_file is not None:
                open_file.close()
        self._mother = self._control = self._complaints = None


def _environment() -> dict[str, str]:
    """No secrets: what Python needs, our root and the user's plug-ins, and a fixed hash seed, so
    that sympy orders its terms the same way everywhere."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    python_path = os.pathsep.join([str(ROOT), *map(os.path.abspath, paths)])
    return kept | {"PYTHONPATH": python_path, "PYTHONHASHSEED": "0"}
