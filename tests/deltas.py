"""A delta between two files that a test made, as a learner writes it."""

from pathlib import Path

from verifiers import delta_file
from verifiers.delta_file import Change, encode
from verifiers.fingerprint import Fingerprint
from verifiers.types import WeightsFile
from verifiers.weights_file import read_places


def write_delta(path: Path, old: bytes, new: bytes, version: int, base: WeightsFile) -> WeightsFile:
    """From the file ``old``, which is ``base``, to the file ``new``; of the same layout."""
    digest, changes = Fingerprint(), {}
    for name, place in read_places(memoryview(new)).items():
        before, after = (memoryview(data)[place.start : place.end] for data in (old, new))
        digest.add(name, place.dtype, place.shape, after)
        blocks = tuple(encode(before, after, place.dtype))
        changes[name] = Change(place.dtype, place.shape, digest.digests[name], blocks)
    num_bytes = delta_file.write(
        path, changes, version=version, base=base, fingerprint=digest.hexdigest()
    )
    return WeightsFile(
        path=str(path),
        version=version,
        base=base.version,
        fingerprint=digest.hexdigest(),
        num_bytes=num_bytes,
    )
