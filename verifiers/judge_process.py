"""One judge process seen from outside: ask it, kill it. Blocking, every wait bounded."""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import IO, Any

from verifiers.types import Task

READY_TIMEOUT_S = 30.0
"""Longest wait for a process that was just forked to give up what it does not need."""

REAP_TIMEOUT_S = 10.0


class JudgeDied(Exception):
    """The process is gone, or never came up; the message says why."""


class JudgeOrphaned(JudgeDied):
    """It died because the process that it came from did, which no response can bring about."""


class JudgeTimedOut(Exception):
    """No reply in time. The process is still running: kill it."""


class JudgeProcess:
    """``wait_ready`` before the first ``ask``; ``kill`` at the end, always.

    It is the child of another process, which reaps it when ``reap`` is called and not before: until
    then its id, which is its process group's too, means this process and no other.
    """

    def __init__(
        self,
        pid: int,
        to_judge: int,
        from_judge: int,
        complaints: IO[bytes],
        reap: Callable[[int], int | None],
    ) -> None:
        self.pid = pid
        self._stdin, self._stdout = to_judge, from_judge
        self._complaints = complaints
        self._reap = reap
        self._pidfd = os.pidfd_open(pid)
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._received = b""
        self._ready = self._reaped = self._closed = False

    @property
    def alive(self) -> bool:
        return not (self._closed or self._reaped) and not _readable(self._pidfd, 0.0)

    def wait_ready(self) -> None:
        """Raises JudgeDied when it cannot become ready."""
        if self._ready:
            return
        try:
            self._ready = self._read_line(time.monotonic() + READY_TIMEOUT_S).get("ready", False)
        except JudgeTimedOut:
            raise JudgeDied(f"judge process not ready after {READY_TIMEOUT_S:g} s") from None

    def ask(self, path: str, task: Task, response: str, timeout_s: float) -> dict[str, Any]:
        """The worker's reply. Raises JudgeTimedOut or JudgeDied; then it must be replaced."""
        deadline = time.monotonic() + timeout_s
        request = [path, task.answer, task.prompt, response]
        self._write(json.dumps(request).encode() + b"\n", deadline)
        return self._read_line(deadline)

    def end(self) -> None:
        """Kill it and everything it started. From any thread; ``kill`` must still follow."""
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """``end`` it, reap it, let go of its pipes. Safe to call twice."""
        if self._closed:
            return
        self.end()
        if not self._reaped and _readable(self._pidfd, REAP_TIMEOUT_S):
            self._exit_code()
        self._closed = True
        for fd in (self._stdin, self._stdout, self._pidfd):
            os.close(fd)
        self._complaints.close()

    def _exit_code(self) -> int | None:
        self._reaped = True
        return self._reap(self.pid)

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
        if not _ready(fd, event, max(0.0, deadline - time.monotonic())):
            raise JudgeTimedOut

    def _death(self) -> JudgeDied:
        """Why it is gone: its exit and the last line that it wrote to stderr."""
        if not _readable(self._pidfd, REAP_TIMEOUT_S):
            return JudgeDied("judge process closed its pipe")
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        self.end()  # what it started: the group is there until the process is reaped
        code = self._exit_code()
        if code is None:
            return JudgeOrphaned("judge process is gone with the one it came from")
        how = f"exited with {code}" if code >= 0 else f"died of {_signal_name(-code)}"
        return JudgeDied(f"judge process {how}" + (f": {lines[-1][:300]}" if lines else ""))


def _signal_name(number: int) -> str:
    name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
    return f"{name} (out of memory?)" if number == signal.SIGKILL else name


def _readable(fd: int, timeout_s: float) -> bool:
    return _ready(fd, select.POLLIN, timeout_s)


def _ready(fd: int, event: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(1000 * timeout_s))
