"""A process in a sandbox on its way to becoming the program: its limits, its surroundings."""

import os
import resource
import signal
from typing import Any, NoReturn

from verifiers import seccomp

WORK = "/tmp"
PROGRAM = f"{WORK}/main.py"
CHANNEL = 3
"""The program's descriptor for results, apart from what it prints."""

SETUP_ERRORS = 4
"""Closed by a successful exec; whatever arrives on it means that no program ran."""

MIB = 1 << 20
MAX_THREADS = 64
MAX_OPEN_FILES = 64

LOADER = f"""
import builtins, sys
builtins.exit = builtins.quit = sys.exit
sys.argv = [{PROGRAM!r}]
def load():
    names = globals()
    try:
        with open({PROGRAM!r}, "rb") as file:
            return compile(file.read(), {PROGRAM!r}, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        sys.exit(f"{{type(error).__name__}}: {{error}}")
    finally:
        for name in ("builtins", "sys", "load"):
            del names[name]
exec(load())
"""
"""Gives a program the ``exit`` that Python without site-packages lacks, and nothing else. What
cannot be compiled is told without a traceback."""

ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
"""All that a program sees: sets are ordered the same way in every verdict."""


def command_and_environment(interpreter: str, libraries: str) -> tuple[list[str], dict[str, str]]:
    command = [interpreter, "-P", "-s", "-S", "-c", LOADER]
    return command, ENVIRONMENT | ({"LD_LIBRARY_PATH": libraries} if libraries else {})


def become_program(
    inside: list[int], limits: dict[str, Any], command: list[str], environment: dict[str, str]
) -> NoReturn:
    """``inside``: stdin, stdout, stderr, the channel, and where to say why there is no program."""
    errors = inside[-1]
    try:
        os.setsid()
        for target, fd in enumerate(inside):
            os.dup2(fd, target, inheritable=target <= CHANNEL)
        errors = SETUP_ERRORS
        os.closerange(SETUP_ERRORS + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir(WORK)
        for ignored in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _limit(limits)
        seccomp.install()
        os.execve(command[0], command, environment)
    except BaseException as error:
        os.write(errors, f"{type(error).__name__}: {error}".encode())
    os._exit(127)


def _limit(limits: dict[str, Any]) -> None:
    cpu_s = max(1, -int(-limits["cpu_s"] // 1))  # the kernel counts whole seconds
    wanted = [
        (resource.RLIMIT_AS, limits["memory_mib"] * MIB, 0),
        (resource.RLIMIT_CPU, cpu_s, 1),  # the signal of the soft limit can be caught
        (resource.RLIMIT_FSIZE, limits["file_bytes"], 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
    ]
    if _threads_are_counted_per_sandbox():
        wanted.append((resource.RLIMIT_NPROC, MAX_THREADS, 0))
    for kind, soft, more in wanted:
        ceiling = resource.getrlimit(kind)[1]
        if ceiling == resource.RLIM_INFINITY:
            ceiling = soft + more
        resource.setrlimit(kind, (min(soft, ceiling), min(soft + more, ceiling)))


def _threads_are_counted_per_sandbox() -> bool:
    """Before Linux 5.14 everything that the user runs anywhere on the machine counts."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor.partition("-")[0])) >= (5, 14)
