"""How a sandbox is started: the command line and the environment of either way."""

import os
import shutil
import sys
from pathlib import Path

from verifiers import sandbox_namespaces as walls
from verifiers.sandbox_program import WORK
from verifiers.sandbox_server import UID

ROOT = Path(__file__).resolve().parents[1]
INSIDE = "/laconic"
"""Where bubblewrap shows the server's source."""


def _namespaces_command() -> tuple[list[str], dict[str, str]]:
    interpreter, prefix = _python()
    options = ["-P", "-S", "-m", "verifiers.sandbox_namespaces"]
    environment = {"PYTHONPATH": str(ROOT)} | _loader(prefix)
    return [interpreter, *options, str(os.getpid()), interpreter, prefix], environment


def _bubblewrap_command() -> tuple[list[str], dict[str, str]]:
    """Root keeps its own user namespace: in bubblewrap's, programs would be root outside. The price
    is that bubblewrap's own death does not reach inside then; the end of the pipe does."""
    interpreter, prefix = _python()
    spare = walls.spare_id()
    arguments = [
        shutil.which("bwrap") or "bwrap",
        "--die-with-parent",
        "--as-pid-1",
        "--unshare-pid",
        "--unshare-net",
    ]
    arguments += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
    if spare is None:
        arguments += ["--unshare-user", "--uid", str(UID), "--gid", str(UID)]
    else:
        arguments += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            arguments += ["--cap-add", capability]
    for path in (*walls.SYSTEM_FOLDERS, *walls.SYSTEM_FILES):
        arguments += _shown(path, path)
    for path in walls.interpreter_parts(interpreter, prefix):
        arguments += _shown(path, path)
    arguments += ["--perms", "0755", "--dir", "/dev"]
    for device in walls.DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    arguments += _shown(str(ROOT / "verifiers"), f"{INSIDE}/verifiers")
    arguments += ["--perms", "1777", "--size", str(walls.WORK_BYTES), "--tmpfs", WORK]
    arguments += ["--remount-ro", "/", "--chdir", "/", interpreter]
    arguments += ["-P", "-S", "-m", "verifiers.sandbox_server"]
    arguments += [interpreter, walls.library_folder(prefix), str(spare or UID)]
    return arguments, {"PYTHONPATH": INSIDE} | _loader(prefix)


def _shown(source: str, place: str) -> list[str]:
    """As it is outside: a link, or a folder or file whose parents everybody may enter."""
    if os.path.islink(source):
        return ["--symlink", os.readlink(source), place]
    if not os.path.exists(source):
        return []
    arguments = []
    for parent in reversed(Path(place).parents[:-1]):
        arguments += ["--perms", "0755", "--dir", str(parent)]
    return [*arguments, "--ro-bind", source, place]


def _python() -> tuple[str, str]:
    """The interpreter under any virtual environment, and its prefix, links resolved."""
    interpreter = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(interpreter), os.path.realpath(sys.base_prefix)


def _loader(prefix: str) -> dict[str, str]:
    folders = [walls.library_folder(prefix), os.environ.get("LD_LIBRARY_PATH", "")]
    return {"LD_LIBRARY_PATH": ":".join(filter(None, folders))} if any(folders) else {}


COMMANDS = {"bubblewrap": _bubblewrap_command, "namespaces": _namespaces_command}
