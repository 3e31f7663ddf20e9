"""Virtual time, and what a small simulated cluster must come to by arithmetic."""

import asyncio
import time

import pytest

from benchmarks.simulate import VirtualTime, World, simulate


def test_sleeps_take_no_time_and_end_in_their_order():
    loop, order = VirtualTime(), list[tuple[str, float]]()

    async def sleep(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((name, loop.time()))

    async def both() -> None:
        await asyncio.gather(sleep("late", 7200), sleep("soon", 60))

    began = time.monotonic()
    loop.run_until_complete(both())
    loop.close()

    assert [name for name, _ in order] == ["soon", "late"]
    assert [at for _, at in order] == pytest.approx([60, 7200])
    assert time.monotonic() - began < 60, "two hours of its own time pass at once"


EVEN = World(spread=0.0, tokens=1000, decode_s=0.01, kept=0.5, swap_s=0.0, learned_per_s=1e9)
"""Every rollout takes ten seconds, and learning nothing."""


def test_engines_whose_rollouts_are_equal_and_whose_learner_takes_no_time_are_always_busy():
    seen = simulate("5", ranks=1, slots=4, steps=12, lag=2, waves=1.0, world=EVEN)

    assert (seen.engines, seen.ranks) == (4, 1)
    assert seen.engine_use > 0.97
    assert seen.step_s == pytest.approx(10, rel=0.05)
    assert seen.rollouts_per_s == pytest.approx(1.6, rel=0.05)


def test_a_learner_that_takes_as_long_as_writing_twice_leaves_engines_idle_half_of_the_time():
    slow = World(spread=0.0, tokens=1000, decode_s=0.01, kept=0.5, swap_s=0.0, learned_per_s=400)

    seen = simulate("5", ranks=1, slots=4, steps=12, lag=2, waves=1.0, world=slow)

    assert seen.learner_use > 0.95
    assert seen.engine_use == pytest.approx(0.5, abs=0.05)
    assert seen.step_s == pytest.approx(20, rel=0.05)


def test_nothing_overlaps_at_lag_zero():
    slow = World(spread=0.0, tokens=1000, decode_s=0.01, kept=0.5, swap_s=5.0, learned_per_s=800)

    seen = simulate("5", ranks=1, slots=4, steps=8, lag=0, waves=1.0, world=slow)

    assert seen.step_s == pytest.approx(10 + 10 + 5, rel=0.05)
