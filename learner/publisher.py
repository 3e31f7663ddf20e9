"""One publication after another: what is sent, to where, and which files are kept.

Files form chains: a complete one, then what changed since the version before. An engine that is one
version behind reads the last file, any other the whole chain of the newest version. The chain
before it is kept one publication longer, for engines that are still reading.
"""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from configs.economy import SyncConfig
from learner.lora import plain_weights
from learner.publish import TYPE_NAMES, buckets, gather_bucket, whole_shape
from learner.shared_folder import SharedFolder, require_room
from learner.weight_stream import WeightStream
from learner.weight_writer import Target, WeightWriter, Written
from verifiers import delta_file
from verifiers.mapped_file import MappedFile
from verifiers.types import PublishedWeights, WeightsFile
from verifiers.weights_file import layout

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine

COMPLETE, DELTA = ".safetensors", ".delta"

SMALL_ENOUGH = 0.5
"""A delta above this share of the complete file is not worth decoding: that is sent instead."""

ELEMENT_BYTES = 4
"""Of what is gathered, at most."""


class Publisher:
    """Every rank has one and all of them call it; rank 0 does the work beside the gathering."""

    def __init__(
        self, engine: "Engine", model: PreTrainedModel, dtype: torch.dtype, sync: SyncConfig
    ) -> None:
        self._engine = engine
        self._model = model
        self._dtype = dtype
        self._sync = sync
        self._is_first = torch.distributed.get_rank() == 0
        tensors = {
            weight.name: (TYPE_NAMES[dtype], whole_shape(weight.parts[0]))
            for weight in plain_weights(model)
        }
        self._header, self._places = layout(tensors)
        self._full_bytes = max(place.end for place in self._places.values())
        self._folder: Path | None = None
        self._chain: list[WeightsFile] = []
        self._before: list[WeightsFile] = []
        self._kept: MappedFile | None = None
        """The file of the last version, in memory: to find what changed, or to be streamed."""
        self._stream: WeightStream | None = None
        self._shared: SharedFolder | None = None

    @property
    def _is_stream(self) -> bool:
        return self._sync.transport == "gloo"

    def publish(self, directory: Path, version: int, *, whole: bool) -> PublishedWeights:
        """Collective; every rank gets the same, or the same kind of error."""
        began_us = time.time_ns() // 1000
        published, error = None, None
        try:
            writer = self._begin(directory, version, whole=whole) if self._is_first else None
        except Exception as failure:
            writer, error = None, failure
        max_elements = (self._sync.bucket_mib << 20) // ELEMENT_BYTES
        for bucket in buckets(self._model, max_elements):
            if writer is not None:
                writer.room()
            weights = gather_bucket(self._engine, bucket, self._dtype)
            if writer is not None:
                writer.take(weights)
            del weights
        if writer is not None:
            try:
                published = self._finish(writer, version, began_us)
            except Exception as failure:
                error = failure
        return self._share(published, version, error)

    def send(self, engines: int) -> None:
        """Serve what was published last to that many engines."""
        if self._stream is not None and self._kept is not None:
            self._stream.send(self._kept, engines)

    def close(self) -> None:
        self._close_stream()
        if self._shared is not None:
            self._shared.remove()

    def _begin(self, directory: Path, version: int, *, whole: bool) -> WeightWriter:
        is_streamed = self._is_stream and not whole
        is_compared = self._sync.delta and not self._is_stream
        folder = self._folder_of(directory)
        if folder != self._folder:
            self._folder, self._chain, self._before = folder, [], []
        limit = None if whole or not is_compared else self._delta_limit()
        path = None
        if not is_streamed and limit is None:
            path = self._path(version, COMPLETE)
            self._require_room(folder)
        if self._kept is None and (is_streamed or is_compared):
            self._kept = MappedFile.anonymous(self._full_bytes)
        kept = self._kept if is_streamed or is_compared else None
        return WeightWriter(
            Target(
                header=self._header, places=self._places, path=path, kept=kept, delta_limit=limit
            )
        )

    def _delta_limit(self) -> int | None:
        """Bytes that a delta may have now; None when all weights are due."""
        if self._kept is None or not 0 < len(self._chain) < self._sync.full_every:
            return None
        # No chain is longer to read, or larger on disk, than twice the weights.
        left = self._full_bytes - sum(file.num_bytes for file in self._chain[1:])
        limit = min(left, int(self._full_bytes * SMALL_ENOUGH))
        return limit if limit > 0 else None

    def _finish(self, writer: WeightWriter, version: int, began_us: int) -> PublishedWeights:
        try:
            written = writer.finish()
        except Exception:
            if writer.target.kept is not None:  # it is neither the one version nor the other
                writer.target.kept.close()
                self._kept = None
            raise
        fingerprint, num_tensors = written.fingerprint.hexdigest(), len(self._places)
        if writer.target.path is None and writer.target.delta_limit is None:
            self._close_stream()
            self._stream = WeightStream(self._sync.bucket_mib << 20, self._sync.timeout_s)
            return PublishedWeights(
                version=version,
                fingerprint=fingerprint,
                num_tensors=num_tensors,
                num_bytes=self._full_bytes,
                is_streamed=True,
                address=self._stream.address,
                published_us=began_us,
            )
        file = self._file(writer.target, written, version)
        if file.base is None:
            self._chain, self._before = [file], self._chain
        else:
            self._chain, self._before = [*self._chain, file], []
        self._remove_older()
        return PublishedWeights(
            version=version,
            fingerprint=fingerprint,
            num_tensors=num_tensors,
            num_bytes=file.num_bytes,
            files=tuple(self._chain),
            published_us=began_us,
        )

    def _file(self, target: Target, written: Written, version: int) -> WeightsFile:
        """Of what was written; or, of what changed, the smaller one."""
        path, base, num_bytes = target.path, None, self._full_bytes
        fingerprint = written.fingerprint.hexdigest()
        if written.changes is not None and target.delta_limit is not None:
            path, base = self._path(version, DELTA), self._chain[-1]
            num_bytes = delta_file.write(
                path, written.changes, version=version, base=base, fingerprint=fingerprint
            )
            if num_bytes >= target.delta_limit:
                path.unlink()
                path = None
        if path is None:
            path, base, num_bytes = self._path(version, COMPLETE), None, self._full_bytes
            self._write_kept(path)
        return WeightsFile(
            path=str(path),
            version=version,
            base=None if base is None else base.version,
            fingerprint=fingerprint,
            num_bytes=num_bytes,
        )

    def _write_kept(self, path: Path) -> None:
        assert self._kept is not None, "a delta is made from what is kept"
        self._require_room(path.parent)
        temporary = path.with_name(f".{path.name}.tmp")
        with open(temporary, "wb") as file:
            file.write(self._kept.view)
        os.replace(temporary, path)

    def _path(self, version: int, kind: str) -> Path:
        assert self._folder is not None
        return self._folder / f"v{version:06d}{kind}"

    def _folder_of(self, directory: Path) -> Path:
        if self._sync.transport == "shm":
            if self._shared is None:
                self._shared = SharedFolder.make(directory.parent.name)
            return self._shared.path
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _require_room(self, folder: Path) -> None:
        if self._shared is not None:
            # At first for all that will lie there: two complete files, and one being written.
            require_room(folder, self._full_bytes * (1 if self._chain else 3))

    def _remove_older(self) -> None:
        assert self._folder is not None
        kept = {file.path for file in (*self._chain, *self._before)}
        for kind in (COMPLETE, DELTA):
            for path in self._folder.glob(f"v*{kind}"):
                if str(path) not in kept:
                    path.unlink()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _share(
        self, published: PublishedWeights | None, version: int, error: Exception | None
    ) -> PublishedWeights:
        """Tell every rank what rank 0 did; all raise when it did nothing."""
        told = {"error": repr(error), "is_finite": not isinstance(error, FloatingPointError)}
        words = _broadcast(
            json.dumps(told if published is None else asdict(published)), self._engine.device
        )
        told = json.loads(words)
        if "error" not in told:
            return _from_json(told)
        if not told["is_finite"]:
            raise FloatingPointError(
                f"weights of version {version} are not finite: not published"
            ) from error
        if error is not None:
            raise error
        raise RuntimeError(f"rank 0 could not publish version {version}: {told['error']}")


def _broadcast(words: str, device: torch.device) -> str:
    """What rank 0 says. Collective."""
    said = torch.frombuffer(bytearray(words.encode()), dtype=torch.uint8).to(device)
    length = torch.tensor(len(said), device=device)
    torch.distributed.broadcast(length, src=0)
    if torch.distributed.get_rank() > 0:
        said = torch.empty(int(length), dtype=torch.uint8, device=device)
    torch.distributed.broadcast(said, src=0)
    return bytes(said.cpu().numpy()).decode()


def _from_json(told: dict[str, Any]) -> PublishedWeights:
    files = tuple(WeightsFile(**file) for file in told["files"])
    address = told["address"]
    return PublishedWeights(
        **(told | {"files": files, "address": None if address is None else tuple(address)})
    )
