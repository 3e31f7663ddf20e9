import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from actors.admission import Admission, Kind
from actors.engine import EngineStats


def load(*, preemptions: int = 0, kv_use: float = 0.9, running: int = 8, waiting: int = 0):
    return EngineStats(
        version=0,
        running=running,
        waiting=waiting,
        kv_use=kv_use,
        generated_tokens=0,
        requests_done=0,
        limit=0,
        preemptions=preemptions,
        prompt_tokens=0,
        cached_tokens=0,
    )


@dataclass
class Desk:
    """Requests by name; each keeps its slot until it is told to go."""

    admission: Admission
    inside: list[str] = field(default_factory=list)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    done: dict[str, asyncio.Event] = field(default_factory=dict)

    async def comes(
        self,
        name: str,
        kind: Kind = "rollout",
        expected: float = 10,
        number: int = 0,
        stop: asyncio.Event | None = None,
    ) -> None:
        self.done[name] = asyncio.Event()

        async def stay() -> None:
            async with self.admission.slot(kind, expected, number, stop) as has_slot:
                if has_slot:
                    self.inside.append(name)
                    await self.done[name].wait()
                    self.inside.remove(name)

        self.tasks[name] = asyncio.create_task(stay())
        await settle()

    async def goes(self, name: str) -> None:
        self.done[name].set()
        await settle()


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def desk(slots: int, eval_share: float = 0.5) -> Desk:
    return Desk(Admission(slots, eval_share))


async def full(slots: int) -> Desk:
    """All slots are taken, by requests named 0, 1, 2, …"""
    made = desk(slots)
    for number in range(slots):
        await made.comes(str(number))
    assert len(made.inside) == slots
    return made


async def test_no_more_requests_than_slots_and_a_freed_one_goes_on_at_once():
    full_desk = await full(3)
    await full_desk.comes("late")
    assert (full_desk.admission.taken, full_desk.admission.waiting) == (3, 1)

    await full_desk.goes("1")

    assert full_desk.inside == ["0", "2", "late"]
    assert (full_desk.admission.taken, full_desk.admission.waiting) == (3, 0)


async def test_the_longest_goes_first_then_the_lowest_ticket_then_the_first_to_come():
    one = await full(1)
    await one.comes("short", expected=5)
    await one.comes("long of ticket 7", expected=9, number=7)
    await one.comes("long of ticket 3", expected=9, number=3)
    await one.comes("the same, later", expected=9, number=3)

    order = []
    for _ in range(4):
        await one.goes(one.inside[0])
        order.append(one.inside[0])

    assert order == ["long of ticket 3", "the same, later", "long of ticket 7", "short"]


async def test_a_cancelled_request_gives_back_its_slot_or_its_place():
    one = await full(1)
    await one.comes("first")
    await one.comes("second")

    one.tasks["first"].cancel()
    await settle()
    one.tasks["0"].cancel()
    await settle()

    assert one.inside[-1] == "second"
    assert (one.admission.taken, one.admission.waiting) == (1, 0)


async def test_a_request_that_is_cancelled_while_it_is_let_in_loses_no_slot():
    one = await full(1)
    await one.comes("first")
    await one.comes("second")

    one.done["0"].set()
    await asyncio.sleep(0)  # the slot is given to "first", which has not run yet
    one.tasks["first"].cancel()
    await settle()

    assert one.inside == ["second"]


async def test_a_request_that_is_stopped_while_it_waits_gets_no_slot():
    one, stop = await full(1), asyncio.Event()
    await one.comes("stopped", stop=stop)

    stop.set()
    await settle()

    assert one.tasks["stopped"].done()
    assert one.inside == ["0"]
    assert (one.admission.taken, one.admission.waiting) == (1, 0)


@pytest.mark.parametrize(("share", "evaluations"), [(0.5, 4), (0.25, 2), (0.01, 1), (1.0, 8)])
async def test_while_both_wait_each_gets_its_share(share, evaluations):
    busy = desk(8, share)
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(busy.admission.slot("rollout", 1, 0))
        for number in range(20):
            await busy.comes(f"rollout {number}", "rollout", expected=1000)
            await busy.comes(f"evaluation {number}", "evaluation")
    await settle()

    for _ in range(3):
        kinds = [name.split()[0] for name in busy.inside]
        assert kinds.count("evaluation") == evaluations
        assert len(kinds) == 8
        await busy.goes(busy.inside[0])
        await busy.goes(busy.inside[-1])


@pytest.mark.parametrize("kind", ["rollout", "evaluation"])
async def test_who_waits_alone_may_take_all_slots(kind):
    alone = desk(4, 0.25)

    for number in range(6):
        await alone.comes(str(number), kind)

    assert len(alone.inside) == 4


async def test_the_limit_falls_by_a_share_when_the_engine_threw_work_away():
    busy = (await full(8)).admission

    busy.look(load(preemptions=3))

    assert busy.limit == 6


async def test_it_falls_from_what_the_engine_really_runs():
    busy = (await full(8)).admission

    busy.look(load(preemptions=3, running=4))

    assert busy.limit == 3


async def test_old_preemptions_count_once():
    busy = (await full(8)).admission
    busy.look(load(preemptions=3))
    assert busy.limit == 6

    for _ in range(5):
        busy.look(load(preemptions=3))

    assert busy.limit == 6


@pytest.mark.parametrize(
    ("kv_use", "waiting", "limit"), [(0.96, 1, 6), (0.96, 0, 8), (0.95, 1, 8), (0.5, 1, 8)]
)
async def test_a_full_cache_is_a_reason_only_while_requests_wait_for_it(kv_use, waiting, limit):
    busy = (await full(8)).admission

    busy.look(load(kv_use=kv_use, waiting=waiting))

    assert busy.limit == limit


async def test_a_lowered_limit_is_felt_before_it_is_lowered_again_and_never_ends_at_nothing():
    busy = await full(4)
    busy.admission.look(load(preemptions=1))
    assert busy.admission.limit == 3
    busy.admission.look(load(preemptions=2))
    assert busy.admission.limit == 3, "four are in: nothing has changed yet"
    await busy.comes("late")

    await busy.goes("0")
    assert "late" not in busy.inside
    await busy.goes("1")
    assert "late" in busy.inside

    for preemptions in range(3, 20):
        busy.admission.look(load(preemptions=preemptions, running=3))
        for name in busy.inside[1:]:
            await busy.goes(name)
    assert busy.admission.limit == 1


async def test_it_rises_step_by_step_while_all_slots_are_taken_and_the_cache_has_room():
    busy = await full(64)
    busy.admission.look(load(preemptions=1, running=20))
    assert busy.admission.limit == 15
    for number in range(49):
        await busy.goes(str(number))
    await busy.comes("late")
    await busy.comes("later")
    assert not {"late", "later"} & set(busy.inside)

    busy.admission.look(load(preemptions=1, kv_use=0.84))

    await settle()
    assert busy.admission.limit == 17
    assert {"late", "later"} <= set(busy.inside)
    busy.admission.look(load(preemptions=1, kv_use=0.86))
    assert busy.admission.limit == 17
    await busy.goes("late")
    busy.admission.look(load(preemptions=1, kv_use=0.1))
    assert busy.admission.limit == 17, "a slot is free: more of them would help nobody"


async def test_it_never_rises_above_what_the_engine_decodes_at_once():
    busy = (await full(8)).admission

    busy.look(load(kv_use=0.1))

    assert busy.limit == 8
