"""Files of JSON lines that only grow, and small files that are replaced whole."""

import json
import os
from pathlib import Path
from typing import Any


def encode(value: Any) -> bytes:
    """One line of JSON. Lone surrogates, which no UTF-8 can hold, become question marks."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", errors="replace") + b"\n"


def replace_file(path: Path, content: bytes) -> None:
    """A reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


class LineFile:
    """A file of lines that only grows. A line is there whole or, after an OSError, not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._descriptor: int | None = None
        self._torn = False

    def open(self) -> None:
        """Create the file, or cut off the torn line that a crash left at its end."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.size = _end_of_last_line(descriptor)
            os.ftruncate(descriptor, self.size)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def append(self, lines: bytes, *, durable: bool = False) -> None:
        if self._descriptor is None:
            self.open()
        descriptor = self._descriptor
        assert descriptor is not None
        if self._torn:
            os.ftruncate(descriptor, self.size)
        self._torn = True
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if durable:
            os.fsync(descriptor)
        self._torn = False
        self.size += len(lines)

    def last_line(self) -> bytes:
        """With its end; empty when there is none."""
        if self._descriptor is None:
            self.open()
        assert self._descriptor is not None
        tail = os.pread(self._descriptor, 65536, max(0, self.size - 65536))
        return tail[tail[:-1].rfind(b"\n") + 1 :]

    def sync(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _end_of_last_line(descriptor: int) -> int:
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
