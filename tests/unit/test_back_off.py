"""A part that dies again and again waits longer, up to a bound; one that was well starts anew."""

import asyncio
from pathlib import Path

import pytest

from cluster import back_off
from cluster.back_off import CALM_S, LONGEST_S, BackOff
from cluster.neighbours import LearnerLost
from tests.unit.test_roll_back import World


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(back_off.time, "monotonic", lambda: now[0])
    return now


def test_each_wait_is_twice_the_one_before_up_to_a_bound(clock: list[float]):
    back_off = BackOff(1.0)

    waits = [back_off.next_s() for _ in range(2000)]

    assert waits[:8] == [1, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S]
    assert set(waits[6:]) == {LONGEST_S}


def test_after_some_calm_it_begins_again(clock: list[float]):
    back_off = BackOff(1.0)
    assert [back_off.next_s() for _ in range(3)] == [1, 2, 4]

    clock[0] += CALM_S
    assert back_off.next_s() == 8, "not quite so long"
    clock[0] += CALM_S + 1

    assert [back_off.next_s() for _ in range(2)] == [1, 2]


async def test_a_learner_that_dies_at_every_start_waits_so_before_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Learner:
        def replace(self) -> None: ...

        async def start(self, steps: int) -> None:
            raise LearnerLost("no memory")

    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    world = World(tmp_path, (), "cluster.learner_restarts=8")
    world.run._learner = Learner()
    monkeypatch.setattr(asyncio, "sleep", noted)

    with pytest.raises(RuntimeError, match=r"after 8 of cluster\.learner_restarts=8"):
        await world.run._revive(LearnerLost("it died"))

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
