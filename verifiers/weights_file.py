"""Reading safetensors files without torch, and refusing those that an engine must not load.

A file is eight bytes of header length, a JSON header (name -> dtype, shape, byte range), the data.
"""

import json
import math
import mmap
from collections.abc import Iterator
from pathlib import Path

from verifiers.fingerprint import TensorBytes, fingerprint
from verifiers.types import PublishedWeights

MAX_HEADER_BYTES = 100_000_000
"""The format's own bound: a torn file must not make us read gigabytes as its header."""

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}

Shapes = dict[str, tuple[int, ...]]


class WeightsRefused(ValueError):
    """The weights were not loaded, and the engine serves the version that it served before."""


def file_tensors(path: str | Path) -> Iterator[TensorBytes]:
    """Every tensor of the file, in the order of its header, without copying it.

    A view is valid until the next one is drawn. A damaged file raises ``WeightsRefused``.
    """
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as data,
        ):
            yield from _tensors(data)
    except (OSError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise WeightsRefused(f"weights file {str(path)!r} cannot be read: {error}") from error


def folder_shapes(folder: str | Path) -> Shapes:
    """Names and shapes of a model's own safetensors files: what every later version must bring."""
    shapes = {
        name: shape for file in model_files(folder) for name, _, shape, _ in file_tensors(file)
    }
    # Old Llama folders keep a table that the model computes on its own; no learner publishes it.
    return {name: shape for name, shape in shapes.items() if not name.endswith(".inv_freq")}


def model_files(folder: str | Path) -> list[Path]:
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise ValueError(
            f"model folder {str(folder)!r} holds no safetensors file: published weights could not "
            "be checked against it. Save the model with save_pretrained"
        )
    return files


def verify(weights: PublishedWeights, expected: Shapes, *, tied: bool) -> None:
    """Read the whole file and refuse it unless it is exactly what was published, and complete.

    With ``tied`` embeddings ``lm_head.weight`` may be there or not.
    """
    found: Shapes = {}
    digest = fingerprint(_noting_shapes(weights.path, found))
    if digest != weights.fingerprint:
        raise _refusal(weights, f"its fingerprint is {digest}, not {weights.fingerprint}")
    if len(found) != weights.num_tensors:
        raise _refusal(weights, f"it holds {len(found)} tensors, not {weights.num_tensors}")
    optional = {"lm_head.weight"} if tied else set()
    if missing := sorted(expected.keys() - found.keys() - optional):
        raise _refusal(weights, f"{len(missing)} tensors are missing, first {missing[0]!r}")
    if unknown := sorted(found.keys() - expected.keys() - optional):
        raise _refusal(weights, f"{len(unknown)} tensors are unknown, first {unknown[0]!r}")
    for name, shape in found.items():
        if shape != expected.get(name, shape):
            raise _refusal(weights, f"{name!r} has shape {shape}, the model {expected[name]}")


def _refusal(weights: PublishedWeights, why: str) -> WeightsRefused:
    return WeightsRefused(f"weights version {weights.version} in {weights.path!r} refused: {why}")


def _noting_shapes(path: str, found: Shapes) -> Iterator[TensorBytes]:
    for name, dtype, shape, data in file_tensors(path):
        found[name] = shape
        yield name, dtype, shape, data


def _tensors(data: memoryview) -> Iterator[TensorBytes]:
    header_bytes = int.from_bytes(data[:8], "little")
    if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"a header of {header_bytes} bytes does not fit into {len(data)}")
    header = json.loads(bytes(data[8 : 8 + header_bytes]), object_pairs_hook=_without_doubles)
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    header.pop("__metadata__", None)
    base, covered = 8 + header_bytes, 0
    for name, entry in header.items():
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if start < 0 or end - start != math.prod(shape) * DTYPE_BYTES[dtype]:
            raise ValueError(f"tensor {name!r}: bytes {start} to {end} do not hold {dtype} {shape}")
        if base + end > len(data):
            raise ValueError(f"it ends before tensor {name!r} does")
        covered += end - start
        with data[base + start : base + end] as view:
            yield name, dtype, shape, view
    if covered != len(data) - base:
        raise ValueError(f"its tensors hold {covered} of {len(data) - base} bytes")


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice in its header")
    return result
