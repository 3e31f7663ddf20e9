"""A file in memory that other processes can open, with or without a name."""

import mmap
import os
from pathlib import Path

import numpy as np


class MappedFile:
    """An open, mapped file. It stays readable whoever deletes it."""

    def __init__(self, descriptor: int, access: int) -> None:
        self._descriptor = descriptor
        self.view = memoryview(mmap.mmap(descriptor, 0, access=access))

    @classmethod
    def open(cls, path: str | Path) -> "MappedFile":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return cls(descriptor, mmap.ACCESS_READ)
        except (OSError, ValueError):  # it is empty, or nothing that can be mapped
            os.close(descriptor)
            raise

    @classmethod
    def anonymous(cls, num_bytes: int) -> "MappedFile":
        """Zeros under no name: they are gone when the last process is that uses them."""
        descriptor = os.memfd_create("laconic-weights")
        os.ftruncate(descriptor, num_bytes)
        return cls(descriptor, mmap.ACCESS_WRITE)

    def copy(self) -> "MappedFile":
        result = MappedFile.anonymous(len(self.view))
        np.copyto(np.frombuffer(result.view, np.uint8), np.frombuffer(self.view, np.uint8))
        return result

    @property
    def path(self) -> str:
        """For processes of the same user on this machine, while this one has it open."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def close(self) -> None:
        """May be called twice. The memory itself goes when the last view of it does."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self.view = -1, memoryview(b"")
