"""Reading safetensors files without torch, and refusing those that an engine must not load.

A file is eight bytes of header length, a JSON header (name -> dtype, shape, byte range), the data.
"""

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from verifiers.fingerprint import Fingerprint, TensorBytes
from verifiers.types import WeightsFile

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

WHOLE = "model.safetensors"

Shapes = dict[str, tuple[int, ...]]

DAMAGED = (OSError, LookupError, ValueError, TypeError, RecursionError, OverflowError)
"""What reading a file that somebody damaged may raise."""


class WeightsRefused(ValueError):
    """The weights were not loaded, and the engine serves the version that it served before."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file holds one tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte, from the beginning of the file."""
    end: int


Places = dict[str, Place]
"""By name, in the order of the file."""


def layout(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[bytes, Places]:
    """What a file of these tensors (type and shape by name) begins with, and where they go."""
    header, offset = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * DTYPE_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)  # the data of a mapped file should be aligned
    begin = len(text).to_bytes(8, "little") + text
    places = {
        name: Place(dtype, shape, *(len(begin) + at for at in header[name]["data_offsets"]))
        for name, (dtype, shape) in tensors.items()
    }
    return begin, places


def read_places(data: memoryview) -> Places:
    """Where the file holds its tensors; one of ``DAMAGED`` when it contradicts itself."""
    header_bytes = int.from_bytes(data[:8], "little")
    if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"a header of {header_bytes} bytes does not fit into {len(data)}")
    header = json.loads(bytes(data[8 : 8 + header_bytes]), object_pairs_hook=without_doubles)
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    header.pop("__metadata__", None)
    base, covered = 8 + header_bytes, 0
    places: Places = {}
    for name, entry in header.items():
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if start < 0 or end - start != math.prod(shape) * DTYPE_BYTES[dtype]:
            raise ValueError(f"tensor {name!r}: bytes {start} to {end} do not hold {dtype} {shape}")
        if base + end > len(data):
            raise ValueError(f"it ends before tensor {name!r} does")
        covered += end - start
        places[name] = Place(dtype, shape, base + start, base + end)
    if covered != len(data) - base:
        raise ValueError(f"its tensors hold {covered} of {len(data) - base} bytes")
    return places


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
            for name, place in read_places(data).items():
                with data[place.start : place.end] as view:
                    yield name, place.dtype, place.shape, view
    except DAMAGED as error:
        raise unreadable(path, error) from error


def unreadable(path: str | Path, error: Exception) -> WeightsRefused:
    return WeightsRefused(f"weights file {str(path)!r} cannot be read: {error}")


def folder_shapes(folder: str | Path) -> Shapes:
    """Names and shapes of a model's own safetensors files: what every later version must bring."""
    shapes = {
        name: shape for file in model_files(folder) for name, _, shape, _ in file_tensors(file)
    }
    # Old Llama folders keep a table that the model computes on its own; no learner publishes it.
    return {name: shape for name, shape in shapes.items() if not name.endswith(".inv_freq")}


def model_files(folder: str | Path) -> list[Path]:
    """Those that hold the model: its index names them, and a copy in another layout may lie beside
    them."""
    index, whole = (Path(folder) / name for name in ("model.safetensors.index.json", WHOLE))
    if index.is_file():
        names = json.loads(index.read_text())["weight_map"].values()
        return sorted(Path(folder) / name for name in set(names))
    files = [whole] if whole.is_file() else sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise ValueError(
            f"model folder {str(folder)!r} holds no safetensors file: published weights could not "
            "be checked against it. Save the model with save_pretrained"
        )
    return files


def verify(
    data: memoryview, places: Places, file: WeightsFile, expected: Shapes, *, tied: bool
) -> dict[str, str]:
    """Refuse all that is not exactly what was published, or not complete; else every tensor's hash.

    With ``tied`` embeddings ``lm_head.weight`` may be there or not.
    """
    digest = Fingerprint()
    for name, place in places.items():
        with data[place.start : place.end] as view:
            digest.add(name, place.dtype, place.shape, view)
    if digest.hexdigest() != file.fingerprint:
        raise refusal(file, f"its fingerprint is {digest.hexdigest()}, not {file.fingerprint}")
    optional = {"lm_head.weight"} if tied else set()
    if missing := sorted(expected.keys() - places.keys() - optional):
        raise refusal(file, f"{len(missing)} tensors are missing, first {missing[0]!r}")
    if unknown := sorted(places.keys() - expected.keys() - optional):
        raise refusal(file, f"{len(unknown)} tensors are unknown, first {unknown[0]!r}")
    for name, place in places.items():
        if place.shape != expected.get(name, place.shape):
            raise refusal(file, f"{name!r} has shape {place.shape}, the model {expected[name]}")
    return digest.digests


def refusal(file: WeightsFile, why: str) -> WeightsRefused:
    return WeightsRefused(f"weights version {file.version} in {file.path!r} refused: {why}")


def without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice in its header")
    return result
