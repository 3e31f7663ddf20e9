"""Swapping an engine's weights: checked before, verified after, all or nothing. Pure logic.

fetch, check and, where possible, load beside it, while it writes
     |        failed: refused, nothing was touched
pause -> load or take what was loaded, recompute the fingerprint -> resume
     |        failed: put the previous weights back -> resume, refused
     |        failed too: the engine is dead, it must not serve a mixture
"""

import asyncio
import time
from typing import Generic, Protocol, TypeVar

from actors.engine import EngineDied, LoadReport
from verifiers.types import PublishedWeights
from verifiers.weights_file import WeightsRefused


class Swappable(Protocol):
    """What a swap does to an engine. Whatever these raise counts as a failure to do it."""

    async def pause(self) -> int:
        """Stop computing, keep what is in flight; returns how many completions that is."""
        ...

    async def stage(self, paths: list[str]) -> str | None:
        """Load them beside the weights that serve, while it goes on; returns the fingerprint of
        what was loaded. None: it cannot, and loads them when it stands still."""
        ...

    async def load_files(self, paths: list[str]) -> str:
        """Load all weights from these files, or take what was staged from them; returns the
        fingerprint of what was loaded."""
        ...

    async def resume(self) -> None: ...


class Prepared(Protocol):
    """The checked weights of one version."""

    @property
    def paths(self) -> list[str]:
        """Complete safetensors files."""
        ...

    def close(self) -> None: ...


P = TypeVar("P", bound=Prepared)


class Prepares(Protocol[P]):
    def __call__(self, weights: PublishedWeights, current: P | None) -> P:
        """Fetch and check weights, given those that serve; ``WeightsRefused`` if they are wrong."""
        ...


class WeightSwap(Generic[P]):
    """Knows which weights an engine serves, and replaces them."""

    def __init__(self, engine: Swappable, paths: list[str], prepare: Prepares[P]) -> None:
        """``paths``: the files that the engine started with, its version 0."""
        self.version = 0
        self._engine = engine
        self._first_paths = paths
        self._prepare = prepare
        self._serving: P | None = None
        self._fingerprint: str | None = None
        self._lock = asyncio.Lock()

    @property
    def is_under_way(self) -> bool:
        return self._lock.locked()

    async def to(self, weights: PublishedWeights) -> LoadReport:
        """One swap at a time. Must not be cancelled half way: shield it."""
        async with self._lock:
            start = paused = resumed = time.monotonic()
            in_flight = 0
            if not self._serves(weights):
                prepared = await asyncio.to_thread(self._prepare, weights, self._serving)
                await self._stage(weights, prepared)
                paused = time.monotonic()
                in_flight = await self._replace(weights, prepared)
                resumed = time.monotonic()
            return LoadReport(
                version=weights.version,
                fingerprint=weights.fingerprint,
                num_tensors=weights.num_tensors,
                seconds=resumed - start,
                prepare_s=paused - start,
                stall_s=resumed - paused,
                in_flight=in_flight,
            )

    def close(self) -> None:
        if self._serving is not None:
            self._serving.close()
            self._serving = None

    def _serves(self, weights: PublishedWeights) -> bool:
        if (weights.version, weights.fingerprint) == (self.version, self._fingerprint):
            return True
        if weights.version <= self.version:
            raise WeightsRefused(
                f"weights version {weights.version} refused: the engine serves {self.version}"
            )
        return False

    async def _stage(self, weights: PublishedWeights, prepared: P) -> None:
        try:
            staged = await self._engine.stage(prepared.paths)
            _require_same(staged or weights.fingerprint, weights.fingerprint)
        except EngineDied:
            prepared.close()
            raise
        except Exception as error:  # a worker may raise anything; what serves was not touched
            prepared.close()
            raise WeightsRefused(
                f"weights version {weights.version} failed to load, version {self.version} goes "
                f"on: {one_line(error)}"
            ) from error

    async def _replace(self, weights: PublishedWeights, prepared: P) -> int:
        try:
            in_flight = await self._engine.pause()
            await self._load(prepared.paths, weights.fingerprint)
        except EngineDied:
            prepared.close()
            raise
        except Exception as error:  # a worker may raise anything, and each leaves a mixture
            prepared.close()
            await self._put_back(weights.version, error)
            raise WeightsRefused(
                f"weights version {weights.version} failed to load, version {self.version} was "
                f"put back: {one_line(error)}"
            ) from error
        self.close()
        self.version, self._fingerprint = weights.version, weights.fingerprint
        self._serving = prepared
        await self._engine.resume()
        return in_flight

    async def _load(self, paths: list[str], expected: str | None) -> None:
        loaded = await self._engine.load_files(paths)
        _require_same(loaded, expected or loaded)

    async def _put_back(self, version: int, cause: Exception) -> None:
        paths = self._serving.paths if self._serving is not None else self._first_paths
        try:
            await self._load(paths, self._fingerprint)
            await self._engine.resume()
        except Exception as error:  # whatever it was, what the engine holds is unknown now
            raise EngineDied(
                f"weights version {version} failed to load ({one_line(cause)}) and version "
                f"{self.version} could not be put back ({one_line(error)})"
            ) from error


def _require_same(loaded: str, expected: str) -> None:
    if loaded != expected:
        raise WeightsRefused(f"the engine loaded fingerprint {loaded}, not {expected}")


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
