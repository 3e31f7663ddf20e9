"""A folder that one process at a time writes: its lock goes with the process, however that ends."""

import fcntl
import os
import time
from pathlib import Path
from typing import BinaryIO

LOCK = "lock"
AGAIN_S = 0.1

_held: dict[Path, BinaryIO] = {}
"""For as long as this process lives: closing the file would give the lock up."""


class InUse(RuntimeError):
    """Another process holds the folder."""


def hold(folder: Path, wait_s: float = 0.0) -> None:
    """Wait so long for whoever holds it to be gone; then raise ``InUse``. Again is no harm."""
    folder = folder.resolve()
    if folder in _held:
        return
    file = (folder / LOCK).open("a+b")
    deadline = time.monotonic() + wait_s
    while True:
        try:
            # By process, not by file: it works on network file systems too.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                file.seek(0)
                pid = file.read(20).decode(errors="replace")
                raise InUse(
                    f"{folder} is written by process {pid or 'of another machine'}"
                ) from None
        time.sleep(AGAIN_S)
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    _held[folder] = file
