"""The learner ranks as one learner: every call goes to all of them and all must answer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from verifiers.types import Lease, PublishedWeights


class LearnerGroup:
    def __init__(self, ranks: Sequence[Any], weights_dir: Path) -> None:
        self._ranks = ranks
        self._weights_dir = weights_dir

    async def start(self, device: Literal["cpu", "cuda"], total_steps: int) -> Any:
        address = await self._ranks[0].address()
        return (await self._all("start", address, device, total_steps))[0]

    async def step(self, lease: Lease) -> Any:
        return (await self._all("step", lease))[0]

    async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
        """``whole``: as one complete file, for whoever cannot use what was published before."""
        folder = str(self._weights_dir)
        return (await self._all("publish", folder, version, whole=whole))[0]

    async def send(self, engines: int) -> None:
        """Stream what was published last, while that many engines load it."""
        await self._ranks[0].send(engines)

    async def save(self, directory: Path) -> None:
        """Returns when what is to be saved is copied; see ``saved``."""
        await self._all("save", str(directory))

    async def saved(self) -> None:
        """Returns when all files of the last ``save`` are on disk; raises what went wrong."""
        await self._all("saved")

    async def load(self, directory: Path) -> None:
        await self._all("load", str(directory))

    async def close(self) -> None:
        await self._all("close")

    async def _all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """One rank that fails leaves the others in a collective: its error is raised at once."""
        return await asyncio.gather(
            *(getattr(rank, method)(*args, **kwargs) for rank in self._ranks)
        )
