"""Run code that a model wrote: one isolated process per verdict, closed to everything outside.

The walls are bubblewrap's or our own namespaces, whichever works. Where neither can be built
nothing is run: there is no way to run such code without them.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from verifiers.sandbox_commands import COMMANDS

MIB = 1 << 20
WAYS = tuple(COMMANDS)
FORCED_WAY = "LACONIC_SANDBOX"
"""Environment variable: one of the ways, or any other word to have none."""

START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 10.0
SLACK_S = 20.0
"""How much a program's wall clock is exceeded before its sandbox counts as lost."""

RETRY_S = 60.0
"""A machine that could not isolate is tried again after this: it may only have been busy."""

MAX_PROGRAM_BYTES = 512 << 10
ADVICE = (
    "install bubblewrap (Debian: apt-get install bubblewrap) or allow user namespaces (Ubuntu: "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0; Docker: a seccomp profile with them)"
)


class SandboxError(RuntimeError):
    """The sandbox failed, not the program in it: nothing follows for the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one program."""

    cpu_s: float = 4.0
    """Rounded up to whole seconds, as the kernel counts them."""
    wall_s: float = 9.0
    memory_mib: int = 256
    output_bytes: int = MIB
    """Of each stream; a program that writes more is ended."""
    file_bytes: int = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended."""

    exit_code: int | None
    """None when a signal ended it."""
    signal: int | None
    stdout: bytes
    stderr: bytes
    """Its last lines."""
    channel: bytes
    """What it wrote to descriptor ``sandbox_program.CHANNEL``."""
    cpu_s: float
    wall_s: float
    timed_out: bool
    output_capped: bool


class Sandbox:
    """``with Sandbox() as sandbox: sandbox.run("print(1)").stdout == b"1\\n"``.

    Programs run one after the other and leave nothing to each other. For one thread, which must
    live as long as it: Linux ties the processes inside to the thread that started them.
    """

    def __init__(self, forced_way: str | None = None) -> None:
        chosen = forced_way or way()
        if chosen not in WAYS:
            raise SandboxError(unavailable())
        self._way = chosen
        self._process: subprocess.Popen[bytes] | None = None
        self._received = b""

    def __enter__(self) -> "Sandbox":
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process outside that everything inside dies with; None between two starts."""
        return self._process.pid if self._process else None

    def run(self, program: str, stdin: bytes = b"", limits: Limits | None = None) -> Ran:
        """Run Python source. Raises SandboxError when that cannot be done or told."""
        limits = limits or Limits()
        if len(program.encode(errors="surrogatepass")) > MAX_PROGRAM_BYTES:
            raise SandboxError(f"a program is longer than {MAX_PROGRAM_BYTES} bytes")
        if self._process is None:
            self._start()
        request = {
            "program": program,
            "stdin": base64.b64encode(stdin).decode(),
            "limits": asdict(limits),
        }
        deadline = time.monotonic() + limits.wall_s + SLACK_S
        try:
            self._write(json.dumps(request).encode() + b"\n", deadline)
            reply = self._read_line(deadline, max_bytes=8 * limits.output_bytes + MIB)
        except SandboxError:
            self.close()
            raise
        ran = _ran(reply)
        if reply.get("is_clean") is not True:
            self.close()
        return ran

    def close(self) -> None:
        """End it with everything inside. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
        try:
            process.wait(END_TIMEOUT_S / 4)  # it ends by itself when nobody can speak to it
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_TIMEOUT_S)

    def _start(self) -> None:
        command, environment = COMMANDS[self._way]()
        self._received = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=environment,
        )
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream
            os.set_blocking(stream.fileno(), False)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            if self._read_line(deadline, max_bytes=1024) != {"ready": True}:
                raise SandboxError("the sandbox does not start as it should")
        except SandboxError:
            self.close()
            raise

    def _write(self, data: bytes, deadline: float) -> None:
        assert self._process and self._process.stdin
        fd = self._process.stdin.fileno()
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(fd, left) :]
            except BlockingIOError:
                _wait(fd, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise self._death() from None

    def _read_line(self, deadline: float, max_bytes: int) -> dict[str, Any]:
        assert self._process and self._process.stdout
        fd = self._process.stdout.fileno()
        parts: list[bytes] = []
        num_bytes = 0
        while not parts or not parts[-1].endswith(b"\n"):
            _wait(fd, select.POLLIN, deadline)
            parts.append(os.read(fd, 1 << 18))
            num_bytes += len(parts[-1])
            if not parts[-1]:
                raise self._death()
            if num_bytes > max_bytes:
                raise SandboxError("the sandbox says more than it should")
        try:
            reply = json.loads(b"".join(parts))
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise SandboxError("the sandbox's reply is not readable")
        return reply

    def _death(self) -> SandboxError:
        assert self._process and self._process.stderr
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        said = (self._process.stderr.read(1 << 16) or b"").decode(errors="replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "it ended without a word")
        return SandboxError(f"the sandbox ended: {last.strip()[:300]}")


def way() -> str | None:
    """How code is isolated here: one of ``WAYS``; None where it cannot be."""
    return _choice()[0]


def unavailable() -> str | None:
    """Why code cannot be isolated here and the way out, in one line; None where it can."""
    return _choice()[1] or None


_choices: dict[str, tuple[str | None, str, float]] = {}


def _choice() -> tuple[str | None, str]:
    """The first way that works and, without one, why. Found once; see also ``RETRY_S``."""
    forced = os.environ.get(FORCED_WAY, "")
    chosen, reason, tried_at = _choices.get(forced, (None, "", -RETRY_S))
    if chosen or time.monotonic() < tried_at + RETRY_S:
        return chosen, reason
    reasons = []
    # Bubblewrap may do what an ordinary user may not; root gets more from namespaces, see there.
    for candidate in WAYS if os.geteuid() else reversed(WAYS):
        problem = "not asked for" if forced not in ("", candidate) else _problem(candidate)
        if not problem:
            _choices[forced] = (candidate, "", time.monotonic())
            return candidate, ""
        reasons.append(f"{candidate}: {problem}")
    reason = f"code cannot be isolated here ({'; '.join(reasons)}); to have it, {ADVICE}"
    _choices[forced] = (None, reason, time.monotonic())
    return None, reason


def _problem(candidate: str) -> str:
    """Why this way does not work, or nothing. Tells by running a program."""
    if sys.platform != "linux":
        return "needs Linux"
    if candidate == "bubblewrap" and not shutil.which("bwrap"):
        return "not installed"
    try:
        with Sandbox(candidate) as sandbox:
            ran = sandbox.run("print('hello')")
    except (SandboxError, OSError) as error:
        return str(error)
    return "" if ran.stdout == b"hello\n" else f"Python does not run: {ran.stderr[-200:]!r}"


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise SandboxError("the sandbox does not answer")


def _ran(reply: dict[str, Any]) -> Ran:
    """Take nothing on trust: what a program wrote stands in the same reply."""
    if reply.get("error"):
        raise SandboxError(f"the program was not started: {str(reply['error'])[:300]}")
    try:
        return Ran(
            exit_code=None if reply["exit_code"] is None else int(reply["exit_code"]),
            signal=None if reply["signal"] is None else int(reply["signal"]),
            stdout=base64.b64decode(reply["stdout"]),
            stderr=base64.b64decode(reply["stderr"]),
            channel=base64.b64decode(reply["channel"]),
            cpu_s=float(reply["cpu_s"]),
            wall_s=float(reply["wall_s"]),
            timed_out=reply["timed_out"] is True,
            output_capped=reply["output_capped"] is True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SandboxError("the sandbox's reply is not complete") from error
