"""One hash for one set of weights, the same wherever it is computed.

The learner publishes it, every engine recomputes it over the tensors that it loads.
"""

from collections.abc import Iterable

import xxhash

TensorBytes = tuple[str, str, tuple[int, ...], memoryview]
"""Name, safetensors type name (``BF16``, ``F32`` …), shape, contiguous bytes."""


class Fingerprint:
    """Order-independent: every tensor is hashed on its own, then the sorted list is hashed."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        """Of the tensors so far, by name."""
        self._lines: list[str] = []

    def add(self, name: str, dtype: str, shape: tuple[int, ...], data: memoryview) -> None:
        self.add_digest(name, dtype, shape, tensor_digest(data))

    def add_digest(self, name: str, dtype: str, shape: tuple[int, ...], digest: str) -> None:
        self.digests[name] = digest
        self._lines.append(f"{name} {dtype} {'x'.join(map(str, shape))} {digest}")

    def hexdigest(self) -> str:
        return xxhash.xxh3_128_hexdigest("\n".join(sorted(self._lines)).encode())


def tensor_digest(data: memoryview) -> str:
    return xxhash.xxh3_128_hexdigest(data)


def fingerprint(tensors: Iterable[TensorBytes]) -> str:
    result = Fingerprint()
    for name, dtype, shape, data in tensors:
        result.add(name, dtype, shape, data)
    return result.hexdigest()
