"""Several judge actors, used as one."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from verifiers.pool_stats import PoolStats, merged
from verifiers.types import Group, Problem, Verdict


class Judging(Protocol):
    async def start(self) -> None: ...

    async def judge(self, group: Group) -> None: ...

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]: ...

    async def stats(self) -> PoolStats: ...

    async def close(self) -> None: ...


class Judges:
    """Everything goes to the member that has the fewest requests of this process to answer."""

    def __init__(self, members: Sequence[Judging]) -> None:
        self.members = tuple(members)
        self._asked = [0] * len(self.members)

    async def start(self) -> None:
        await asyncio.gather(*(member.start() for member in self.members))

    async def judge(self, group: Group) -> None:
        index = self._take()
        try:
            await self.members[index].judge(group)
        finally:
            self._asked[index] -= 1

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]:
        index = self._take()
        try:
            return await self.members[index].verdicts(problem, texts)
        finally:
            self._asked[index] -= 1

    async def stats(self) -> PoolStats:
        return merged(await asyncio.gather(*(member.stats() for member in self.members)))

    def _take(self) -> int:
        index = min(range(len(self.members)), key=self._asked.__getitem__)
        self._asked[index] += 1
        return index
