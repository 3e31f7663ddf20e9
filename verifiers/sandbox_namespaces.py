"""Our own walls: namespaces, a file system of its own, then ``sandbox_server`` as process 1.

``verifiers.sandbox`` starts it, for root or where bubblewrap is missing. One process waits outside;
inside are only process 1 and the program of the moment. All of them die when the outer one dies.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from verifiers.parent import die_with_parent
from verifiers.sandbox_program import WORK
from verifiers.sandbox_server import UID, serve

NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000 | 0x2000000
"""User, mount, process, network, IPC, host name, cgroup: CLONE_NEW… of linux/sched.h."""

SYSTEM_FOLDERS = ("/usr", "/lib", "/lib32", "/lib64", "/bin")
SYSTEM_FILES = ("/etc/ld.so.cache",)
DEVICES = ("null", "zero", "random", "urandom")
WORK_BYTES = 16 << 20
MAX_WORK_FILES = 4096
SPARE_IDS = 0x70000000
"""The first of a range of user ids that, says systemd's table, nobody else gives out."""

NOBODY = 65534
MAX_PROCESS_ID = 1 << 22

NO_SUID, NO_DEVICES, NO_EXEC, BIND, RECURSIVE, PRIVATE = 2, 4, 8, 0x1000, 0x4000, 0x40000
READ_ONLY = 1
DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_SETATTR = 442
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def main() -> None:
    """``sandbox_namespaces PARENT INTERPRETER PREFIX``. Says on stderr why it cannot, and exits."""
    parent, interpreter, prefix = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    os.umask(0o022)
    die_with_parent(parent)
    try:
        _isolate(spare_id())
        pid = os.fork()
        if pid:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
        _build(interpreter, prefix)
        _call(_libc.sethostname, b"sandbox", 7)
        os.environ.clear()
        serve(interpreter, library_folder(prefix), UID)
    except OSError as error:
        sys.exit(str(error))


def spare_id() -> int | None:
    """For root: a user id outside that owns nothing, so that programs never run as root. None for
    anybody else, and for the root of a container that has no second id to give away."""
    if os.geteuid() != 0:
        return None
    with open("/proc/self/uid_map", encoding="ascii") as lines:
        ranges = [tuple(map(int, line.split())) for line in lines]
    for candidate in (SPARE_IDS + os.getpid() % MAX_PROCESS_ID, NOBODY):
        if any(first <= candidate < first + count for first, _, count in ranges):
            return candidate
    return None


def interpreter_parts(interpreter: str, prefix: str) -> Iterator[str]:
    """What of a Python outside the system folders a program needs; no more, since a prefix can be
    somebody's home."""
    for path in (interpreter, f"{prefix}/lib", f"{prefix}/lib64"):
        if os.path.exists(path) and not path.startswith("/usr/"):
            yield path


def library_folder(prefix: str) -> str:
    """Without /proc the loader does not find what lies beside the interpreter by itself."""
    return "" if prefix == "/usr" else f"{prefix}/lib"


def _isolate(spare: int | None) -> None:
    """Enter new namespaces. A helper who stays outside writes who is who."""
    read_end, write_end = os.pipe()
    outside, uid, gid = os.getpid(), os.geteuid(), os.getegid()
    helper = os.fork()
    if helper == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(_exit_code(lambda: _write_maps(outside, uid, gid, spare)))
    os.close(read_end)
    try:
        _call(_libc.unshare, NAMESPACES)
    finally:
        os.close(write_end)
        failed = os.waitpid(helper, 0)[1]
    if failed:
        raise OSError("the users of a new namespace cannot be set")


def _exit_code(function: Callable[[], None]) -> int:
    try:
        function()
    except OSError:
        return 1
    return 0


def _write_maps(pid: int, uid: int, gid: int, spare: int | None) -> None:
    """Root stays root until all is built. An ordinary user has one id, and may map only that."""
    if spare is None:
        _write(f"/proc/{pid}/setgroups", "deny")
    for name, own in (("uid_map", uid), ("gid_map", gid)):
        lines = f"{UID} {own} 1" if spare is None else f"0 {own} 1\n{UID} {spare} 1"
        _write(f"/proc/{pid}/{name}", lines)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, text.encode())
    os.close(fd)


def _build(interpreter: str, prefix: str) -> None:
    """A root with what Python needs, read-only, and a small folder to work in."""
    shown = (*SYSTEM_FOLDERS, *SYSTEM_FILES, *interpreter_parts(interpreter, prefix))
    _mount("none", "/", None, RECURSIVE | PRIVATE)
    _mount("tmpfs", "/usr", "tmpfs", NO_SUID | NO_DEVICES, "mode=0755,size=1m")
    os.mkdir("/usr/outside")
    os.chdir("/usr")
    _call(_libc.syscall, PIVOT_ROOT[os.uname().machine], b".", b"outside")
    os.chdir("/")
    for path in shown:
        _show(path)
    for device in DEVICES:
        _bind(f"/dev/{device}")
    _call(_libc.umount2, b"/outside", DETACH)
    os.rmdir("/outside")
    os.mkdir(WORK)
    work = f"mode=0700,uid={UID},gid={UID},size={WORK_BYTES},nr_inodes={MAX_WORK_FILES}"
    _mount("tmpfs", WORK, "tmpfs", NO_SUID | NO_DEVICES | NO_EXEC, work)
    _set_attributes("/", READ_ONLY, 0)


def _show(path: str) -> None:
    """As it is outside: a link, a folder or a file; nothing when it is not there."""
    source = f"/outside{path}"
    if os.path.islink(source):
        os.symlink(os.readlink(source), path)
    elif os.path.exists(source):
        _bind(path)
        _set_attributes(path, READ_ONLY | NO_SUID | NO_DEVICES, AT_RECURSIVE)


def _bind(path: str) -> None:
    source = f"/outside{path}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.isdir(source):
        os.mkdir(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    _mount(source, path, None, BIND | RECURSIVE)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    kind_bytes = kind.encode() if kind else None
    data = options.encode() or None
    _call(_libc.mount, source.encode(), target.encode(), kind_bytes, ctypes.c_ulong(flags), data)


def _set_attributes(path: str, attributes: int, how: int) -> None:
    wanted = _MountAttributes(attributes, 0, 0, 0)
    size = ctypes.sizeof(wanted)
    target = path.encode()
    _call(_libc.syscall, MOUNT_SETATTR, AT_FDCWD, target, how, ctypes.byref(wanted), size)


def _call(function: Any, *arguments: Any) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        shown = " ".join(item.decode() for item in arguments if isinstance(item, bytes))
        raise OSError(number, os.strerror(number), f"{function.__name__} {shown}".strip())


if __name__ == "__main__":
    main()
