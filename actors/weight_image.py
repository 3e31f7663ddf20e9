"""The complete weights of one version, checked, where an engine's workers can map them.

Made while the engine goes on writing: from a file as it is, or in anonymous memory of this
process, from the version before and what changed. Nothing of it is ever left behind: the memory
goes with the process, and a file stays readable while it is open, whoever deletes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from verifiers import delta_file
from verifiers.mapped_file import MappedFile
from verifiers.types import PublishedWeights, WeightsFile
from verifiers.weights_file import (
    DAMAGED,
    Places,
    Shapes,
    WeightsRefused,
    read_places,
    refusal,
    unreadable,
    verify,
)


@dataclass(frozen=True, slots=True)
class WeightImage:
    file: WeightsFile
    """Whose version it is."""
    memory: MappedFile
    places: Places
    digests: dict[str, str]
    """Of its tensors, by name."""

    @property
    def paths(self) -> list[str]:
        return [self.memory.path]

    def close(self) -> None:
        self.memory.close()


class ImageMaker:
    """Knows the model that weights are for. Its calls take long: make them in a thread."""

    def __init__(
        self, shapes: Shapes, *, tied: bool, receive: Callable[[PublishedWeights], MappedFile]
    ) -> None:
        """``receive`` fetches a file that is streamed."""
        self._shapes = shapes
        self._tied = tied
        self._receive = receive

    def __call__(self, weights: PublishedWeights, current: WeightImage | None) -> WeightImage:
        """``WeightsRefused`` if they are not what was published. ``current`` is what serves now."""
        image = self._streamed(weights) if weights.is_streamed else self._chained(weights, current)
        if len(image.digests) == weights.num_tensors:
            return image
        image.close()
        found = f"{len(image.digests)} tensors, not {weights.num_tensors}"
        raise refusal(image.file, f"it holds {found}")

    def _streamed(self, weights: PublishedWeights) -> WeightImage:
        file = WeightsFile(
            path="stream",
            version=weights.version,
            base=None,
            fingerprint=weights.fingerprint,
            num_bytes=weights.num_bytes,
        )
        return self._checked(self._receive(weights), file)

    def _chained(self, weights: PublishedWeights, current: WeightImage | None) -> WeightImage:
        check_chain(weights)
        *before, last = weights.files
        if before and current is not None and _is_same(current.file, before[-1]):
            return _changed(current, [last])
        complete, *later = weights.files
        image = self._complete(complete)
        if not later:
            return image
        try:
            return _changed(image, later)
        finally:
            image.close()

    def _complete(self, file: WeightsFile) -> WeightImage:
        try:
            memory = MappedFile.open(file.path)
        except DAMAGED as error:
            raise unreadable(file.path, error) from error
        return self._checked(memory, file)

    def _checked(self, memory: MappedFile, file: WeightsFile) -> WeightImage:
        try:
            places = read_places(memory.view)
            digests = verify(memory.view, places, file, self._shapes, tied=self._tied)
            return WeightImage(file, memory, places, digests)
        except WeightsRefused:
            memory.close()
            raise
        except DAMAGED as error:
            memory.close()
            raise unreadable(file.path, error) from error


def check_chain(weights: PublishedWeights) -> None:
    """A complete file, then each changes the version before it, up to the one announced."""
    files = weights.files
    follows = all(later.base == earlier.version for earlier, later in pairwise(files))
    if not files or files[0].base is not None or not follows:
        steps = ", ".join(f"{file.base} to {file.version}" for file in files)
        raise WeightsRefused(
            f"weights version {weights.version} refused: its files are no chain ({steps})"
        )
    if not _is_same(files[-1], weights):
        raise refusal(files[-1], f"it is not version {weights.version} as announced")


def _is_same(one: WeightsFile, other: WeightsFile | PublishedWeights) -> bool:
    return (one.version, one.fingerprint) == (other.version, other.fingerprint)


def _changed(base: WeightImage, files: Sequence[WeightsFile]) -> WeightImage:
    """A copy of ``base`` with these changes, all of them checked."""
    memory = base.memory.copy()
    at, digests = base.file, base.digests
    try:
        for file in files:
            digests = delta_file.apply(file, at, base.places, memory.view, digests)
            at = file
    except WeightsRefused:
        memory.close()
        raise
    return WeightImage(at, memory, base.places, digests)
