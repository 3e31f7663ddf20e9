"""One judge process seen from outside: start it, ask it, kill it. Blocking, every wait bounded."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verifiers.types import Rules, Task

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 120.0
"""Longest wait for a judge process to have imported its libraries; seconds on an idle machine."""

REAP_TIMEOUT_S = 10.0
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


class JudgeDied(Exception):
    """The process is gone, or never came up; the message says why."""


class JudgeTimedOut(Exception):
    """No reply in time. The process is still running: kill it."""


class JudgeProcess:
    """Starts at once; ``wait_ready`` before the first ``ask``.

    The thread that makes it must live as long as it: Linux ties the child to that thread.
    """

    def __init__(self, memory_mib: int, rules: Rules) -> None:
        given = json.dumps(asdict(rules))
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  as long as the process
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "verifiers.worker",
                str(memory_mib),
                str(os.getpid()),
                given,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            bufsize=0,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout
        self._stdin = self._process.stdin.fileno()
        self._stdout = self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._received = b""
        self._ready = False
        self._start_deadline = time.monotonic() + START_TIMEOUT_S

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> bool:
        """Whether it is ready within the time. Raises JudgeDied when it cannot become ready."""
        deadline = min(time.monotonic() + timeout_s, self._start_deadline)
        if not self._ready:
            with contextlib.suppress(JudgeTimedOut):
                self._ready = self._read_line(deadline).get("ready", False)
        if not self._ready and time.monotonic() >= self._start_deadline:
            raise JudgeDied(f"judge process not ready after {START_TIMEOUT_S:g} s")
        return self._ready

    def ask(self, path: str, task: Task, response: str, timeout_s: float) -> dict[str, Any]:
        """The worker's reply. Raises JudgeTimedOut or JudgeDied; then it must be replaced."""
        deadline = time.monotonic() + timeout_s
        request = [path, task.answer, task.prompt, response]
        self._write(json.dumps(request).encode() + b"\n", deadline)
        return self._read_line(deadline)

    def end(self) -> None:
        """Kill it and everything it started. From any thread; ``kill`` must still follow."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """``end`` it, reap it, let go of its pipes. Safe to call twice."""
        self.end()
        self._process.wait(REAP_TIMEOUT_S)
        for stream in (self._process.stdin, self._process.stdout, self._complaints):
            if stream:
                stream.close()

    def _write(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._stdin, left) :]
            except BlockingIOError:
                self._wait(self._stdin, select.POLLOUT, deadline)
            except BrokenPipeError as error:
                raise self._death() from error

    def _read_line(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._received:
            self._wait(self._stdout, select.POLLIN, deadline)
            chunk = os.read(self._stdout, 65536)
            if not chunk:
                raise self._death()
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise JudgeTimedOut

    def _death(self) -> JudgeDied:
        """Why it is gone: its exit and the last line that it wrote to stderr."""
        try:
            code = self._process.wait(REAP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return JudgeDied("judge process closed its pipe")
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        how = f"exited with {code}" if code >= 0 else f"died of {_signal_name(-code)}"
        return JudgeDied(f"judge process {how}" + (f": {lines[-1][:300]}" if lines else ""))


def _signal_name(number: int) -> str:
    name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name


def _environment() -> dict[str, str]:
    """No secrets: what Python needs, our root and the user's plug-ins, and a fixed hash seed, so
    that sympy orders its terms the same way everywhere."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    python_path = os.pathsep.join([str(ROOT), *map(os.path.abspath, paths)])
    return kept | {"PYTHONPATH": python_path, "PYTHONHASHSEED": "0"}
