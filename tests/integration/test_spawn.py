"""Whose failure it is: of the part that was asked, or of one behind it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors.engine import EngineDied
from cluster.spawn import ActorDied, ActorFailed, kill, processes, spawn
from configs.errors import PartDied


class Relay:
    """Asks the part behind it."""

    def __init__(self, behind: Any = None) -> None:
        self._behind = behind

    async def ask(self) -> str:
        return await self._behind.ask() if self._behind else "here"

    async def lose_engine(self) -> None:
        raise EngineDied("the engine's process died")

    async def refuse(self) -> None:
        raise KeyError("nothing of that name")

    async def cores(self) -> set[int]:
        return os.sched_getaffinity(0)


@pytest.fixture(scope="module", autouse=True)
def private_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def relay(name: str, *args: Any, **options: Any) -> Any:
    return spawn("tests.integration.test_spawn:Relay", *args, name=name, num_cpus=0, **options)


async def test_a_part_that_died_is_told_from_one_that_died_behind_it():
    behind = relay("behind")
    front = relay("front", behind)
    async with asyncio.timeout(60):
        assert await front.ask() == "here"
        os.kill((await processes([behind]))["behind"], signal.SIGKILL)

        with pytest.raises(ActorFailed, match="behind died during ask") as failure:
            await front.ask()
        assert not isinstance(failure.value, PartDied)
        with pytest.raises(ActorDied, match="behind died during ask"):
            await behind.ask()
        with pytest.raises(EngineDied, match=r"^the engine.s process died$"):
            await front.lose_engine()
        with pytest.raises(ActorFailed, match="front failed in refuse: KeyError") as failure:
            await front.refuse()
        assert not isinstance(failure.value, PartDied)


async def test_a_part_that_hangs_can_be_killed():
    hung = relay("hung")
    async with asyncio.timeout(60):
        pid = (await processes([hung]))["hung"]
        os.kill(pid, signal.SIGSTOP)
        kill(hung)
        with pytest.raises(ActorDied):
            await hung.ask()


async def test_a_part_stays_on_its_cores():
    core = min(os.sched_getaffinity(0))
    async with asyncio.timeout(60):
        assert await relay("pinned", cores=(core,)).cores() == {core}
