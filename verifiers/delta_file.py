"""What changed between two versions of the weights, without loss.

At a small learning rate few weights change a bit in the engines' type. A file holds, for each
tensor with changes, the positions (as gaps) and old XOR new, compressed; for every tensor, changed
or not, the hash of its new bytes.

    magic, header length (8 bytes), hash of the header (16), header (JSON), data

XOR undoes itself, so nothing but the hashes tells a delta that was applied twice, or to another
base, from a good one: who applies it must check every one of them. All sizes are bounded by the
tensor that they belong to, and whatever is wrong with a file is ``WeightsRefused``.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from verifiers.fingerprint import Fingerprint, tensor_digest
from verifiers.types import WeightsFile
from verifiers.weights_file import (
    DAMAGED,
    DTYPE_BYTES,
    MAX_HEADER_BYTES,
    Places,
    WeightsRefused,
    refusal,
    unreadable,
    without_doubles,
)

FORMAT = 1
MAGIC = b"laconicd"
PREFIX_BYTES = len(MAGIC) + 8 + 16

BLOCK = 1 << 24
"""Elements that are coded together: what coding needs does not grow with the tensor."""

GAP_BYTES = (1, 2, 4)

Words = NDArray[Any]
"""Elements as unsigned integers."""

WORDS: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

ZSTD = pa.Codec("zstd", compression_level=1)


@dataclass(frozen=True, slots=True)
class Block:
    """The changes of up to ``BLOCK`` elements, coded."""

    count: int
    gap_bytes: int
    """Bytes of one gap before it was compressed."""
    gaps: bytes
    """How many unchanged elements stand before each changed one."""
    flips: bytes
    """Old XOR new of each."""


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor of the new version."""

    dtype: str
    shape: tuple[int, ...]
    digest: str
    blocks: tuple[Block, ...]
    """Empty: it did not change."""


def encode(old: memoryview, new: memoryview, dtype: str) -> Iterator[Block]:
    """The changes from ``old`` to ``new`` in blocks; no block at all when there are none."""
    word = WORDS[DTYPE_BYTES[dtype]]
    before: Words = np.frombuffer(old, word)
    after: Words = np.frombuffer(new, word)
    if np.array_equal(before, after):
        return
    for start in range(0, len(before), BLOCK):
        flips = before[start : start + BLOCK] ^ after[start : start + BLOCK]
        positions = np.flatnonzero(flips)
        gaps = np.diff(positions, prepend=-1) - 1
        largest = int(gaps.max(initial=0))
        gap_bytes = next(size for size in GAP_BYTES if largest < 256**size)
        yield Block(
            count=len(positions),
            gap_bytes=gap_bytes,
            gaps=_packed(gaps.astype(WORDS[gap_bytes])),
            flips=_packed(flips[positions]),
        )


def _packed(numbers: Words) -> bytes:
    """All lowest bytes first, then all second ones …: the high ones are mostly zeros."""
    planes = np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, numbers.itemsize).T)
    return ZSTD.compress(planes, asbytes=True)


def _unpacked(data: bytes, count: int, size: int) -> Words:
    planes = np.frombuffer(ZSTD.decompress(data, count * size), np.uint8)
    return np.ascontiguousarray(planes.reshape(size, count).T).view(WORDS[size])[:, 0]


def size_of(blocks: tuple[Block, ...]) -> int:
    return sum(len(block.gaps) + len(block.flips) for block in blocks)


def write(
    path: Path, changes: dict[str, Change], *, version: int, base: WeightsFile, fingerprint: str
) -> int:
    """Write a file of these changes to ``base``, whole or not at all; returns its bytes."""
    tensors = {
        name: {
            "dtype": change.dtype,
            "shape": list(change.shape),
            "hash": change.digest,
            "blocks": [[b.count, b.gap_bytes, len(b.gaps), len(b.flips)] for b in change.blocks],
        }
        for name, change in changes.items()
    }
    head = {
        "format": FORMAT,
        "version": version,
        "base": base.version,
        "base_fingerprint": base.fingerprint,
        "fingerprint": fingerprint,
        "tensors": tensors,
    }
    header = json.dumps(head).encode()
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(MAGIC + len(header).to_bytes(8, "little") + xxhash.xxh3_128_digest(header))
        file.write(header)
        for change in changes.values():
            for block in change.blocks:
                file.write(block.gaps)
                file.write(block.flips)
        num_bytes = file.tell()
    os.replace(temporary, path)
    return num_bytes


def apply(
    file: WeightsFile, base: WeightsFile, places: Places, data: memoryview, digests: dict[str, str]
) -> dict[str, str]:
    """Turn ``data``, which holds ``base`` at ``places``, into the version of ``file``.

    ``digests`` are those of the base; returns the new ones, all of them checked. After
    ``WeightsRefused`` the data is neither the one version nor the other.
    """
    if file.base != base.version:
        raise refusal(file, f"it changes version {file.base}, not {base.version}")
    try:
        with open(file.path, "rb") as delta:
            header = _read_header(delta)
            _check_announced(header, file, base)
            return _apply(header["tensors"], delta, file, places, data, digests)
    except WeightsRefused:
        raise
    except DAMAGED as error:
        raise unreadable(file.path, error) from error


def _read(delta: BinaryIO, num_bytes: int) -> bytes:
    data = delta.read(num_bytes) if 0 <= num_bytes <= os.fstat(delta.fileno()).st_size else b""
    if len(data) != num_bytes:
        raise ValueError(f"it ends before the next {num_bytes} bytes do")
    return data


def _read_header(delta: BinaryIO) -> dict:
    if _read(delta, len(MAGIC)) != MAGIC:
        raise ValueError("it is no delta")
    num_bytes = int.from_bytes(_read(delta, 8), "little")
    if num_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {num_bytes} bytes is too long")
    digest, text = _read(delta, 16), _read(delta, num_bytes)
    if xxhash.xxh3_128_digest(text) != digest:
        raise ValueError("its header is not what was written")
    header = json.loads(text, object_pairs_hook=without_doubles)
    if header["format"] != FORMAT:
        raise ValueError(f"it is of format {header['format']}, this is {FORMAT}")
    if not isinstance(header["tensors"], dict):
        raise ValueError("it holds no table of tensors")
    return header


def _check_announced(header: dict, file: WeightsFile, base: WeightsFile) -> None:
    for name, announced in (
        ("version", file.version),
        ("base", base.version),
        ("base_fingerprint", base.fingerprint),
        ("fingerprint", file.fingerprint),
    ):
        if header[name] != announced:
            raise refusal(file, f"its {name} is {header[name]!r}, not {announced!r}")


def _apply(
    tensors: dict,
    delta: BinaryIO,
    file: WeightsFile,
    places: Places,
    data: memoryview,
    digests: dict[str, str],
) -> dict[str, str]:
    if tensors.keys() != places.keys():
        raise refusal(file, "it is of other tensors than its base")
    digest = Fingerprint()
    for name, entry in tensors.items():
        place = places[name]
        if (entry["dtype"], tuple(entry["shape"])) != (place.dtype, place.shape):
            raise refusal(file, f"{name!r} has another type or shape than in its base")
        found = digests[name]
        if entry["blocks"]:
            with data[place.start : place.end] as target:
                _flip(target, DTYPE_BYTES[place.dtype], entry["blocks"], delta)
                found = tensor_digest(target)
        if found != entry["hash"]:
            raise refusal(file, f"{name!r} has hash {found} after it, not {entry['hash']}")
        digest.add_digest(name, place.dtype, place.shape, found)
    if delta.read(1):
        raise ValueError("it goes on after its last change")
    if digest.hexdigest() != file.fingerprint:
        raise refusal(file, f"its fingerprint is {digest.hexdigest()}, not {file.fingerprint}")
    return digest.digests


def _flip(target: memoryview, size: int, blocks: list, delta: BinaryIO) -> None:
    """Apply one tensor's blocks, of words of ``size`` bytes, in place."""
    num_words = len(target) // size
    if len(blocks) != math.ceil(num_words / BLOCK):
        raise ValueError(f"{len(blocks)} blocks for {num_words} elements")
    for start, block in zip(range(0, num_words, BLOCK), blocks, strict=True):
        part: Words = np.frombuffer(target[start * size : (start + BLOCK) * size], WORDS[size])
        count, gap_bytes, num_gaps, num_flips = block
        if not 0 <= count <= len(part) or gap_bytes not in GAP_BYTES:
            raise ValueError(f"{count} changes, gaps of {gap_bytes} bytes, in {len(part)} elements")
        gaps = _unpacked(_read(delta, num_gaps), count, gap_bytes)
        flips = _unpacked(_read(delta, num_flips), count, size)
        positions = np.cumsum(gaps.astype(np.int64) + 1) - 1
        part[positions] ^= flips  # beyond the end it raises
