"""Process 1 of a sandbox: runs one program after the other, under limits, and tells how it ended.

It starts where the walls stand already, gives up its privileges, and then speaks JSON lines on its
stdin and stdout with ``verifiers.sandbox``. When that pipe closes it ends, and all inside with it.
"""

import base64
import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

from verifiers import seccomp
from verifiers.sandbox_program import PROGRAM, WORK, become_program, command_and_environment

MIB = 1 << 20
MAX_REQUEST_BYTES = 64 * MIB
MAX_STDERR_TAIL = 8192
DRAIN_S = 5.0
"""Longest wait for the pipes of killed programs to run dry."""

MAX_WIPED = 1000
UID = 1000
"""What programs run as inside; outside it is the caller, or nobody's id when that is root."""

SET_DEATH_SIGNAL, DROP_FROM_BOUNDS, SET_DUMPABLE = 1, 24, 4  # of linux/prctl.h
CAPABILITY_VERSION = 0x20080522


def main() -> None:
    """``sandbox_server INTERPRETER LIBRARIES UID``: by bubblewrap."""
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))


def serve(interpreter: str, libraries: str, uid: int) -> None:
    give_up_privileges(uid)
    command, environment = command_and_environment(interpreter, libraries)
    requests, replies = os.fdopen(0, "rb", closefd=False), os.fdopen(1, "wb", closefd=False)
    reply: dict[str, Any] = {"ready": True}
    while True:
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()
        line = requests.readline(MAX_REQUEST_BYTES)
        if not line.endswith(b"\n"):
            return
        reply = _Run(json.loads(line)).reply(command, environment)


def give_up_privileges(uid: int) -> None:
    """Become ``uid``, for good, and die with the parent. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    capability = 0
    while libc.prctl(DROP_FROM_BOUNDS, capability, 0, 0, 0) == 0:
        capability += 1
    if os.getuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    for request in (
        (seccomp.NO_NEW_PRIVILEGES, 1),
        (SET_DUMPABLE, 0),
        (SET_DEATH_SIGNAL, signal.SIGKILL),  # a change of user had cleared it
    ):
        if libc.prctl(*request, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Run:
    """One program, from its fork to the empty sandbox after it."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._limits: dict[str, Any] = request["limits"]
        self._stdin = memoryview(base64.b64decode(request["stdin"]))
        self._program: str = request["program"]
        self._caught: dict[int, bytearray] = {}
        self._poll = select.poll()
        self._is_over = False
        self._timed_out = False
        self._output_capped = False

    def reply(self, command: list[str], environment: dict[str, str]) -> dict[str, Any]:
        with open(PROGRAM, "w", encoding="utf-8", errors="surrogatepass") as file:
            file.write(self._program)
        start = time.monotonic()
        pid, stdin, outputs = self._start(command, environment)
        self._exchange(pid, stdin, outputs, start + self._limits["wall_s"])
        wall_s = time.monotonic() - start
        status, usage = os.wait4(pid, 0)[1:]
        _kill_everything()
        stdout, stderr, channel, errors = (bytes(self._caught[fd]) for fd in outputs)
        return {
            "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "stdout": base64.b64encode(stdout).decode(),
            "stderr": base64.b64encode(stderr[-MAX_STDERR_TAIL:]).decode(),
            "channel": base64.b64encode(channel).decode(),
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "wall_s": wall_s,
            "timed_out": self._timed_out,
            "output_capped": self._output_capped,
            "error": errors.decode(errors="replace")[-500:],
            "is_clean": _wipe(WORK),
        }

    def _start(
        self, command: list[str], environment: dict[str, str]
    ) -> tuple[int, int, tuple[int, ...]]:
        read_stdin, write_stdin = os.pipe()
        pipes = [os.pipe() for _ in range(4)]  # stdout, stderr, channel, errors of the setup
        pid = os.fork()
        if pid == 0:
            inside = [read_stdin, *(write for _, write in pipes)]
            become_program(inside, self._limits, command, environment)
        os.close(read_stdin)
        for _, write in pipes:
            os.close(write)
        return pid, write_stdin, tuple(read for read, _ in pipes)

    def _exchange(self, pid: int, stdin: int, outputs: tuple[int, ...], deadline: float) -> None:
        """Feed it and listen to it until it is dead and its pipes are dry."""
        process = os.pidfd_open(pid)
        self._caught = {fd: bytearray() for fd in outputs}
        os.set_blocking(stdin, False)
        self._poll.register(stdin, select.POLLOUT)
        for fd in (0, process, *outputs):
            self._poll.register(fd, select.POLLIN)
        waiting = {stdin, process, *outputs}
        while waiting - {stdin}:
            events = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not events:
                if self._is_over:
                    break  # the dead do not let go of their pipes
                self._timed_out = True
                self._end()
                deadline = time.monotonic() + DRAIN_S
            for fd, _ in events:
                if fd == 0:  # nobody speaks while a program runs: the caller is gone
                    os._exit(0)
                if self._is_done(fd, stdin, process):
                    self._poll.unregister(fd)
                    os.close(fd)
                    waiting.discard(fd)
                    if fd == process:
                        self._end()
                        deadline = time.monotonic() + DRAIN_S
        for fd in waiting:
            os.close(fd)

    def _is_done(self, fd: int, stdin: int, process: int) -> bool:
        if fd == process:
            return True
        if fd == stdin:
            return self._write_some(stdin)
        chunk = os.read(fd, 65536)
        caught = self._caught[fd]
        caught += chunk
        if len(caught) > self._limits["output_bytes"]:
            del caught[self._limits["output_bytes"] :]
            self._output_capped = True
            self._end()
        return not chunk

    def _write_some(self, stdin: int) -> bool:
        try:
            if self._stdin:
                self._stdin = self._stdin[os.write(stdin, self._stdin) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:  # it does not want to read
            return True
        return not self._stdin

    def _end(self) -> None:
        self._is_over = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def _kill_everything() -> None:
    """The filter lets nobody start a process; if a hole lets somebody, it ends here."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _wipe(folder: str) -> bool:
    """Whether nothing is left. What is not a plain file, or too much, is not worth the care that
    deleting it would take: the caller then starts a new sandbox."""
    names = os.listdir(folder)
    try:
        for name in names[:MAX_WIPED]:
            os.unlink(os.path.join(folder, name))
    except OSError:
        return False
    return len(names) <= MAX_WIPED


if __name__ == "__main__":
    main()
