"""A folder in this machine's shared memory, for files that engines on the same machine read.

It is private to the user, and goes with the process that made it: what a killed one left behind is
removed by the next. Its owner holds a lock on it, which the kernel lets go when it dies.
"""

import fcntl
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError

SHARED_MEMORY = Path("/dev/shm")

PREFIX = "laconic-"

MIB = 2**20


@dataclass(frozen=True, slots=True)
class SharedFolder:
    path: Path
    lock: int

    @classmethod
    def make(cls, name: str, root: Path = SHARED_MEMORY) -> "SharedFolder":
        remove_leftovers(root)
        label = re.sub(r"[^A-Za-z0-9.-]", "-", name)[:60]
        # Under its name only when it is locked: before, it would look like a leftover.
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}{label}-", dir=root))
        lock = os.open(made, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = made.with_name(made.name.removeprefix("."))
        made.rename(path)
        return cls(path, lock)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def remove_leftovers(root: Path) -> None:
    """Folders of ours whose owner is dead."""
    for path in root.glob(f"{PREFIX}*"):
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # somebody else's, or gone by now
        try:
            if os.fstat(folder).st_uid == os.getuid():
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner lives
        finally:
            os.close(folder)


def require_room(folder: Path, num_bytes: int) -> None:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < num_bytes:
        raise UserError(
            f"sync.transport=shm needs {num_bytes / MIB:.0f} MiB in {folder.parent} and "
            f"{free / MIB:.0f} are free. Enlarge it (docker run --shm-size), or set "
            "sync.transport=file"
        )
