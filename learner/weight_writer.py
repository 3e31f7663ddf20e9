"""The working half of a publication: a thread that takes gathered buckets and makes a file of them.

While the learner gathers the next bucket, this one is checked, hashed, compared with the version
before, compressed and written. Two buckets are held at most, and a file has its name only when it
is whole.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learner.publish import TYPE_NAMES, tensor_bytes
from verifiers.delta_file import Change, encode, size_of
from verifiers.fingerprint import Fingerprint
from verifiers.mapped_file import MappedFile
from verifiers.weights_file import Places

MAX_BUCKETS = 2


@dataclass(slots=True, kw_only=True)
class Target:
    """Where the weights go."""

    header: bytes
    places: Places
    path: Path | None
    """A complete file on disk."""
    kept: MappedFile | None
    """The same file in memory; before, it holds the version before."""
    delta_limit: int | None
    """Bytes that the changes must stay below; None: nobody asks for them."""


@dataclass(slots=True)
class Written:
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    changes: dict[str, Change] | None = None
    """None: nobody asked, or they were too many."""


class WeightWriter:
    """One publication: ``room`` before a bucket is gathered, ``take`` after it, then ``finish``."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._file = None if target.path is None else _temporary(target.path).open("wb")
        self._written = Written(changes=None if target.delta_limit is None else {})
        self._delta_bytes = 0
        self._error: Exception | None = None
        self._room = threading.Semaphore(MAX_BUCKETS)
        self._inbox: SimpleQueue[dict[str, Tensor] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="weight writer", daemon=True)
        self._thread.start()

    def room(self) -> None:
        """Wait until one bucket more may be held. The thread always comes back for more."""
        self._room.acquire()

    def take(self, bucket: dict[str, Tensor]) -> None:
        self._inbox.put(bucket)

    def finish(self) -> Written:
        """What was written; raises what went wrong, and then no file has appeared."""
        self._inbox.put(None)
        self._thread.join()
        path = self.target.path
        if self._file is not None and path is not None:
            self._file.close()
            if self._error is None:
                os.replace(_temporary(path), path)
            else:
                _temporary(path).unlink()
        if self._error is not None:
            raise self._error
        return self._written

    def _work(self) -> None:
        self._guarded(self._begin)
        while (bucket := self._inbox.get()) is not None:
            while bucket:
                name = next(iter(bucket))
                self._guarded(self._add, name, bucket.pop(name))
            self._room.release()

    def _guarded(self, do: Callable[..., None], *arguments: Any) -> None:
        """After an error nothing more is done, but the other ranks' gathering goes on."""
        if self._error is None:
            try:
                do(*arguments)
            except Exception as error:
                self._error = error

    def _begin(self) -> None:
        header = self.target.header
        if self.target.kept is not None:
            self.target.kept.view[: len(header)] = header
        if self._file is not None:
            self._file.write(header)

    def _add(self, name: str, tensor: Tensor) -> None:
        if not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(f"{name} is not finite")
        dtype, shape, data = TYPE_NAMES[tensor.dtype], tuple(tensor.shape), tensor_bytes(tensor)
        self._written.fingerprint.add(name, dtype, shape, data)
        place, kept = self.target.places[name], self.target.kept
        if kept is not None:
            old = kept.view[place.start : place.end]
            self._compare(name, dtype, shape, old, data)
            np.copyto(np.frombuffer(old, np.uint8), np.frombuffer(data, np.uint8))
        if self._file is not None:
            self._file.seek(place.start)
            self._file.write(data)

    def _compare(
        self, name: str, dtype: str, shape: tuple[int, ...], old: memoryview, new: memoryview
    ) -> None:
        changes, limit = self._written.changes, self.target.delta_limit
        if changes is None or limit is None:
            return
        blocks = []
        for block in encode(old, new, dtype):
            blocks.append(block)
            self._delta_bytes += size_of((block,))
            if self._delta_bytes >= limit:
                self._written.changes = None
                return
        digest = self._written.fingerprint.digests[name]
        changes[name] = Change(dtype, shape, digest, tuple(blocks))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
