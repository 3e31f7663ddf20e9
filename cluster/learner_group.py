"""The learner ranks as one learner: every call goes to all of them and all must answer."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from cluster.neighbours import LearnerLost
from cluster.spawn import kill
from configs.errors import PartDied
from verifiers.types import Lease, PublishedWeights

ALL_S = 5.0
"""After one rank failed: how long the others may take to fail as well. Who takes longer waits for
it in a collective, and would for ever."""


class LearnerGroup:
    def __init__(
        self, place: Callable[[], Sequence[Any]], weights_dir: Path, device: Literal["cpu", "cuda"]
    ) -> None:
        """``place`` makes the processes of all ranks."""
        self._place = place
        self.ranks = place()
        self._weights_dir = weights_dir
        self._device: Literal["cpu", "cuda"] = device

    async def start(self, total_steps: int) -> Any:
        try:
            address = await self.ranks[0].address()
        except PartDied as death:
            raise LearnerLost(str(death)) from death
        return (await self._all("start", address, self._device, total_steps))[0]

    def replace(self) -> None:
        """New processes, which know nothing; the old ones are no more."""
        for rank in self.ranks:
            kill(rank)
        self.ranks = self._place()

    async def step(self, lease: Lease) -> Any:
        return (await self._all("step", lease))[0]

    async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
        """``whole``: as one complete file, for whoever cannot use what was published before."""
        folder = str(self._weights_dir)
        return (await self._all("publish", folder, version, whole=whole))[0]

    async def send(self, engines: int) -> None:
        """Stream what was published last, while that many engines load it."""
        await self.ranks[0].send(engines)

    async def save(self, directory: Path) -> None:
        """Returns when what is to be saved is copied; see ``saved``."""
        await self._all("save", str(directory))

    async def saved(self) -> None:
        """Returns when all files of the last ``save`` are on disk; raises what went wrong, and the
        learner may save again. Here no rank waits for another, so all are heard out."""
        heard = await asyncio.gather(*(rank.saved() for rank in self.ranks), return_exceptions=True)
        failures = [answer for answer in heard if isinstance(answer, BaseException)]
        for failure in failures:
            if isinstance(failure, PartDied):
                raise LearnerLost(str(failure)) from failure
        if failures:
            raise failures[0]

    async def load(self, directory: Path) -> None:
        await self._all("load", str(directory))

    async def close(self) -> None:
        await self._all("close")

    async def _all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """What every rank says. When one fails the others may be left in a collective, or fail of
        that: who died is to blame, and else the first."""
        asked = [asyncio.create_task(getattr(rank, method)(*args, **kwargs)) for rank in self.ranks]
        try:
            _, pending = await asyncio.wait(asked, return_when=asyncio.FIRST_EXCEPTION)
            if pending:
                _, pending = await asyncio.wait(asked, timeout=ALL_S)
            failures = [e for task in asked if task.done() and (e := task.exception())]
            deaths = [failure for failure in failures if isinstance(failure, PartDied)]
            if deaths or pending:
                cause = (deaths or failures)[0]
                stuck = f"; {len(pending)} more wait for it in vain" if pending else ""
                raise LearnerLost(f"{cause}{stuck}") from cause
            return [task.result() for task in asked]
        finally:
            for task in asked:
                task.cancel()
