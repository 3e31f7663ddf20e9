"""Whose failure it is: of the part that was asked, or of one behind it."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from actors.engine import EngineDied
from cluster.spawn import (
    ActorDied,
    ActorFailed,
    Revival,
    answer_of,
    kill,
    processes,
    spawn,
    stacks_of,
    start_again,
)
from configs.errors import PartDied

VARIABLE = "LACONIC_TEST_OF_SPAWN"
AT_IMPORT = os.environ.get(VARIABLE)
"""As a library reads what it goes by."""


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

    async def variable(self) -> str | None:
        return AT_IMPORT


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
        with pytest.raises(
            ActorDied, match="behind died during ask: The actor is dead because"
        ) as death:
            await behind.ask()
        assert "actor_id" not in str(death.value)
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


async def test_a_parts_environment_stands_before_its_module_is_imported():
    async with asyncio.timeout(60):
        assert await relay("told", environment={VARIABLE: "yes"}).variable() == "yes"
        assert await relay("not told").variable() is None


class Counter:
    """Forgets everything when its process dies."""

    def __init__(self) -> None:
        self.began: list[str] = []

    async def start(self) -> None:
        self.began.append("start")

    async def count(self) -> list[str]:
        return self.began

    async def wait(self) -> list[str]:
        if len(self.began) == 0:  # before the first start: the process that will be killed
            await asyncio.sleep(60)
        return self.began


async def test_a_part_that_dies_starts_again_and_is_asked_again_so_often_and_no_more():
    revival = Revival(method="start", times=1, wait_s=30)
    part = spawn(
        "tests.integration.test_spawn:Counter", name="counter", num_cpus=0, revival=revival
    )
    async with asyncio.timeout(90):
        assert await part.count() == []
        asked = asyncio.create_task(part.wait())
        await asyncio.sleep(0.3)
        first = await answer_of(part, 10)
        assert first is not None

        os.kill(first, signal.SIGKILL)

        assert await asked == ["start"], "revived before anything else, and then asked once more"
        second = await answer_of(part, 10)
        assert second is not None and second != first
        assert "stacks" in await stacks_of(part, 10)
        os.kill(second, signal.SIGKILL)
        with pytest.raises(ActorDied, match="counter died during count, having started again 1x"):
            await part.count()
        assert await answer_of(part, 10) is None


async def test_a_part_that_hangs_is_started_again():
    revival = Revival(method="start", times=1, wait_s=30)
    part = spawn("tests.integration.test_spawn:Counter", name="hung", num_cpus=0, revival=revival)
    async with asyncio.timeout(60):
        pid = await answer_of(part, 10)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await answer_of(part, 0.5)
        start_again(part)
        assert await part.count() == ["start"]
