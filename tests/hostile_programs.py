"""Programs for the sandbox: hostile ones, attempts that must be refused, honest ones."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from verifiers.sandbox import MIB, Limits, Ran

NORMAL = Limits(cpu_s=1, wall_s=20)
SHORT = Limits(cpu_s=1, wall_s=1.5)
FEW_BYTES = Limits(cpu_s=1, wall_s=5, output_bytes=10_000)


@dataclass(frozen=True)
class Hostile:
    """A program, and what must be true of how it ended."""

    program: str
    holds: Callable[[Ran], object]
    limits: Limits = NORMAL
    stdin: bytes = b""


def exits(code: int) -> Callable[[Ran], object]:
    return lambda ran: ran.exit_code == code


def says(*texts: str) -> Callable[[Ran], object]:
    return lambda ran: any(text.encode() in ran.stderr for text in texts)


def prints(text: str) -> Callable[[Ran], object]:
    return lambda ran: ran.stdout.decode() == text


def uses_its_cpu_time(ran: Ran) -> bool:
    # The kernel's limit counts ticks, which on a busy machine are not all the program's.
    return ran.signal in (signal.SIGXCPU, signal.SIGKILL) and 0.5 < ran.cpu_s < 2.5


HOSTILE = {
    "fork bomb": Hostile("import os\nwhile True: os.fork()", says("PermissionError")),
    "fork bomb that does not give up": Hostile(
        "import os\nwhile True:\n try: os.fork()\n except OSError: pass", uses_its_cpu_time
    ),
    "thread bomb": Hostile(
        "import threading, time\n"
        "threading.stack_size(1 << 15)\n"
        "num_threads = 0\n"
        "try:\n"
        "  while True:\n"
        "    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "    num_threads += 1\n"
        "except RuntimeError: print(num_threads)",
        lambda ran: 30 < int(ran.stdout) < 65,
    ),
    "10 GB": Hostile("x = bytearray(10 << 30)", says("MemoryError")),
    "10 GB mapped": Hostile("import mmap\nmmap.mmap(-1, 10 << 30)", says("Cannot allocate memory")),
    "memory bit by bit": Hostile(
        "x = []\nwhile True: x.append(bytes(1 << 20))", says("MemoryError")
    ),
    "endless output": Hostile(
        "while True: print('x' * 1000)", lambda ran: ran.output_capped, FEW_BYTES
    ),
    "endless errors": Hostile(
        "import sys\nwhile True: sys.stderr.write('x' * 1000)",
        lambda ran: ran.output_capped,
        FEW_BYTES,
    ),
    "endless results": Hostile(
        "import os\nwhile True: os.write(3, b'x' * 1000)", lambda ran: ran.output_capped, FEW_BYTES
    ),
    "endless loop": Hostile("while True: pass", uses_its_cpu_time),
    "endless loop that ignores the signal": Hostile(
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        uses_its_cpu_time,
    ),
    "endless sleep": Hostile("import time\ntime.sleep(600)", lambda ran: ran.timed_out, SHORT),
    "stops itself": Hostile(
        "import os\nos.kill(os.getpid(), 19)", lambda ran: ran.timed_out, SHORT
    ),
    "waits for input": Hostile("import sys\nprint(repr(sys.stdin.read()))", prints("''\n")),
    "kills everything": Hostile(
        "import os, signal\n"
        "for pid in (-1, 0, 1):\n"
        " for number in (2, 15, 11, 19, 9):\n"
        "  if pid or number != 9:\n"
        "   signal.signal(number, signal.SIG_IGN) if number not in (9, 19) else 0\n"
        "   if pid == 1 or number not in (9, 19):\n"
        "    try: os.kill(pid, number)\n"
        "    except ProcessLookupError: pass\n"
        "try: os.kill(-1, 9)\n"
        "except ProcessLookupError: pass\n"
        "print('alive')",
        prints("alive\n"),
    ),
    "kills itself": Hostile("import os\nos.kill(0, 9)", lambda ran: ran.signal == 9),
    "closes everything": Hostile("import os\nos.closerange(0, 64)", exits(0)),
    "deletes its own files": Hostile(
        "import os\nos.remove('/tmp/main.py')\nprint(os.listdir('/tmp'))", prints("[]\n")
    ),
    "crashes": Hostile(
        "import ctypes\nctypes.string_at(0)", lambda ran: ran.signal == signal.SIGSEGV
    ),
    "deep recursion": Hostile(
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        lambda ran: ran.exit_code != 0 and not ran.timed_out,
    ),
    "fills its folder": Hostile(
        "import os\nfor i in range(1000): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))",
        says("No space left"),
    ),
    "a large file": Hostile(
        "import os\nopen('/tmp/x', 'wb').write(bytes(3 << 20))", says("File too large")
    ),
    "floods and never reads": Hostile(
        "import os\nfor fd in (1, 2): os.write(fd, b'x' * 500_000)\nprint('end')",
        lambda ran: ran.exit_code == 0 and ran.stdout.endswith(b"end\n"),
        stdin=b"y" * MIB,
    ),
    "hides folders": Hostile(
        "import os\nfor i in range(50):\n os.mkdir('d')\n os.chdir('d')\n"
        "os.chmod('/tmp/d', 0)\nprint('hidden')",
        prints("hidden\n"),
    ),
}


REFUSED = {
    "fork": "os.fork()",
    "vfork": "libc('vfork')",
    "daemon": "os.forkpty()",
    "subprocess": "import subprocess; subprocess.Popen(['/usr/bin/true'])",
    "posix_spawn": "os.posix_spawn('/usr/bin/true', ['true'], dict())",
    "multiprocessing": "import multiprocessing; multiprocessing.Process(target=print).start()",
    "unshare": "libc('unshare', 0x10000000)",
    "setns": "libc('setns', 0, 0)",
    "mount": "libc('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount": "libc('umount2', b'/tmp', 2)",
    "chroot": "os.chroot('/tmp')",
    "ptrace": "libc('ptrace', 0, 0, 0, 0)",
    "reads memory of process 1": "libc('process_vm_readv', 1, None, 0, None, 0, 0)",
    "limits process 1": "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (0, 0))",
    "raises its own limit": (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))"
    ),
    "memfd": "os.memfd_create('x')",
    "shared memory": "libc('shmget', 0, 4096, 0o1600)",
    "message queue": "libc('msgget', 0, 0o1600)",
    "semaphores": "libc('semget', 0, 1, 0o1600)",
    "keys": "libc('syscall', 248, b'user', b'x', b'y', 1, -3)",
    "socket": "import socket; socket.socket()",
    "packet socket": "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "becomes root": "os.setuid(0)",
    "changes groups": "os.setgroups([0])",
    "host name": "import socket; socket.sethostname('x')",
    "clock": "import time; time.clock_settime(time.CLOCK_REALTIME, 0)",
    "device": "os.mknod('/tmp/sda', 0o60666, os.makedev(8, 0))",
    "processes": "os.listdir('/proc')",
    "environment of others": "open('/proc/1/environ')",
    "kernel": "os.listdir('/sys')",
    "shadow": "open('/etc/shadow')",
    "users": "open('/etc/passwd')",
    "homes": "os.listdir('/home')",
    "other temporary files": "os.listdir('/var/tmp')",
    "disk": "open('/dev/vda')",
    "shm folder": "open('/dev/shm/x', 'w')",
    "write to the root": "open('/x', 'w')",
    "write to the system": "open('/usr/x', 'w')",
    "write to the devices": "open('/dev/x', 'w')",
    "write to the library": "open(os.__file__, 'a')",
    "makes it writable": "os.chmod('/usr', 0o777)",
    "the test's own process": "os.kill({pid}, 0)",
    "the test's own folder": "os.listdir({folder!r})",
    "the canary": "open({folder!r} + '/canary', 'w')",
    "a way back by the old root": "os.listdir('/outside')",
    "TCP": "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
    "metadata": "import socket; socket.create_connection(('169.254.169.254', 80), 1)",
    "name lookup": "import socket; socket.getaddrinfo('example.com', 80)",
    "abstract socket": "libc('connect', pair(), {abstract!r}, len({abstract!r}))",
    "message to an abstract socket": "sendto({name!r})",
}
PRELUDE = """
import ctypes, os
def libc(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
def pair():
    import socket
    return socket.socketpair()[0].detach()
def sendto(name):
    import socket
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"hello", name)
try:
    {attempt}
except (OSError, ValueError, RuntimeError) as error:
    print("refused")
else:
    print("allowed")
"""


HONEST = {
    "libraries": (
        "import json, math, collections, itertools, re, heapq, bisect, functools, string, random\n"
        "import decimal, fractions, datetime, statistics, copy, operator, typing, dataclasses\n"
        "import sqlite3, hashlib, zlib, threading, queue, asyncio, time, io, tempfile\n"
        "async def f(): await asyncio.sleep(0.01); return 42\n"
        "results = []\n"
        "threads = [threading.Thread(target=results.append, args=(i,)) for i in range(20)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "with tempfile.TemporaryFile() as file: file.write(b'x')\n"
        "one = sqlite3.connect(':memory:').execute('select 1').fetchone()\n"
        "print(asyncio.run(f()), len(results), one, decimal.Decimal('0.1'), time.time() > 1e9)",
        b"",
        "42 20 (1,) 0.1 True\n",
    ),
    "much input": ("import sys\nprint(len(sys.stdin.read()))", b"y" * MIB, "1048576\n"),
    "much input, unread": ("print(1)", b"y" * (4 * MIB), "1\n"),
    "unicode": ("print(input() + 'é\\u4e2d')", "ü😀\n".encode(), "ü😀é中\n"),
    "exit": ("print('a')\nexit()", b"", "a\n"),
    "main": ("if __name__ == '__main__': print(__name__)", b"", "__main__\n"),
    "no names of ours": ("print([n for n in globals() if n[0] != '_'])", b"", "[]\n"),
    "from the future": ("from __future__ import annotations\nprint(1)", b"", "1\n"),
}
