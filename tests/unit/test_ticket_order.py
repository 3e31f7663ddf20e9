"""Neither what is trained nor what is asked next depends on which answer was finished first.

The loop and the queue are real; the engine is not: it takes as long as a test wants it to, and what
it writes is decided by the ticket alone.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.coins import coin
from actors.curriculum import Curriculum
from actors.replay import ReplayQueue
from tests.unit.test_loop import Generator, Learner, Metrics, Source, World
from verifiers.types import (
    Lease,
    Outcome,
    Rollout,
    Settlement,
    Ticket,
    rollout_id,
)

LONGEST = 100
ECONOMY = (
    "steps=10", f"filter.length_budget={LONGEST}", "curriculum.band=[0.2,0.8]",
    "curriculum.group_sizes=[2,5]", "budget.kind=adaptive", "budget.min_lengths=2",
)  # fmt: skip

Duration = Callable[[Settlement], float]


def as_long_as_it_is(settlement: Settlement) -> float:
    return max(outcome.num_tokens for outcome in settlement.outcomes) * 1e-3


def the_other_way_round(settlement: Settlement) -> float:
    return LONGEST * 1e-3 - as_long_as_it_is(settlement)


def at_random(settlement: Settlement) -> float:
    return coin(7, "duration", settlement.ticket) * LONGEST * 1e-3


DURATIONS = (as_long_as_it_is, the_other_way_round, at_random)


def written(ticket: Ticket, version: int = 0) -> Settlement:
    """``p0`` is never right, ``p4`` always."""
    place = int(ticket.problem.id[1:])
    outcomes: list[Outcome] = []
    for sample in range(ticket.size):
        throw = 100 * ticket.number + sample
        length = 1 + int(coin(1, "length", throw) * (LONGEST - 1))
        is_right = coin(2, "right", throw) < place / 4
        too_long = "over_budget" if length > ticket.budget else None
        outcomes.append(
            Outcome(
                rollout_id=rollout_id(ticket.number, ticket.attempt, sample),
                status="correct" if is_right else "wrong",
                reason=too_long if is_right else "wrong",
                num_tokens=length,
                first_version=version,
                last_version=version,
            )
        )
    return Settlement(
        ticket=ticket.number,
        attempt=ticket.attempt,
        outcomes=tuple(outcomes),
        rollouts=tuple(
            Rollout(
                id=outcome.rollout_id,
                prompt_ids=(1,),
                response_ids=(2,) * outcome.num_tokens,
                first_version=version,
                last_version=version,
            )
            for outcome in outcomes
            if outcome.reason is None
        ),
    )


class Writer(Generator):
    def __init__(
        self, queue: ReplayQueue, log: list[str], duration: Duration, fails_at: int | None
    ) -> None:
        super().__init__(queue, log)
        self.duration, self.fails_at = duration, fails_at
        self.tickets: dict[int, Ticket] = {}
        self.finished: list[int] = []

    async def generate(self, ticket: Ticket) -> None:
        self.tickets[ticket.number] = ticket
        settlement = written(ticket, self.version)
        await asyncio.sleep(self.duration(settlement))
        if ticket.number == self.fails_at:
            raise TimeoutError("the engine is gone")
        self.finished.append(ticket.number)
        await self.queue.settle(settlement)


@dataclass
class Reader(Learner):
    """Asks the queue for what it is lent, as a learner rank does."""

    queue: ReplayQueue | None = None
    trained: list[tuple[int, int]] = field(default_factory=list)

    async def step(self, lease: Lease) -> Metrics:
        assert self.queue is not None
        for rollout in await self.queue.payload(lease.step, lease.epoch):
            self.trained.append((int(rollout.id.split(".")[0]), len(rollout.response_ids)))
        return await super().step(lease)


class Run:
    def __init__(
        self,
        folder: Path,
        *settings: str,
        duration: Duration = as_long_as_it_is,
        writer_fails_at: int | None = None,
        learner_fails_at: int | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.world = World(
            folder,
            *ECONOMY,
            *settings,
            source=Source(num_problems=5),
            writer=partial(Writer, duration=duration, fails_at=writer_fails_at),
            reader=partial(Reader, fail_at=learner_fails_at),
        )
        [writer], reader = self.world.generators, self.world.learner
        assert isinstance(writer, Writer)
        assert isinstance(reader, Reader)
        self.writer, self.reader = writer, reader
        reader.queue = self.world.queue

    async def go(self, start: int = 0) -> "Run":
        self.writer.version = start
        try:
            await self.world.run(start)
        finally:
            await self.world.queue.close()
        return self

    @property
    def decisions(self) -> list[Ticket]:
        """What was decided of each ticket, in their order."""
        return [replace(self.writer.tickets[n], attempt=0) for n in sorted(self.writer.tickets)]


def decided_anew(run: Run) -> Iterator[Ticket | None]:
    """What a curriculum decides that is told the same at the same tickets, and is in no hurry."""
    made = Curriculum(Source(num_problems=5), run.world.config)
    leases = iter(run.reader.leases)
    for ticket in run.decisions:
        while made.state()["seen"] < ticket.seen:
            made.learn(next(leases).groups)
        yield made.draw(ticket.number, version=0)


def accepted(tickets: Sequence[Ticket]) -> list[tuple[int, int]]:
    return [(t.number, len(r.response_ids)) for t in tickets for r in written(t).rollouts]


@pytest.mark.parametrize("duration", DURATIONS)
@pytest.mark.parametrize("max_lag", [1, 3])
async def test_what_is_trained_is_what_was_accepted_ticket_by_ticket(
    tmp_path: Path, duration: Duration, max_lag: int
):
    run = await Run(tmp_path, f"max_lag={max_lag}", duration=duration).go()

    end = run.reader.leases[-1].end_ticket
    assert run.reader.trained == accepted(run.decisions[:end])
    assert run.writer.finished != sorted(run.writer.finished), "some overtook others"


@pytest.mark.parametrize("duration", DURATIONS)
async def test_decisions_follow_from_what_was_seen_however_long_answers_took(
    tmp_path: Path, duration: Duration
):
    run = await Run(tmp_path, "max_lag=2", duration=duration).go()

    assert list(decided_anew(run)) == run.decisions
    late = run.decisions[8:]
    assert len({(ticket.size, ticket.budget) for ticket in late}) > 4
    assert all(0 < ticket.seen < ticket.number for ticket in late)


async def test_in_exact_mode_no_duration_changes_anything(tmp_path: Path):
    settings = ("max_lag=0", "batch.problems=4")

    runs = [
        await Run(tmp_path / duration.__name__, *settings, duration=duration).go()
        for duration in DURATIONS
    ]

    first, *others = runs
    for other in others:
        assert other.decisions == first.decisions
        assert other.reader.trained == first.reader.trained
        assert other.writer.finished != first.writer.finished


@pytest.mark.parametrize(
    "fault",
    [{"learner_fails_at": 7}, {"learner_fails_at": 1}, {"writer_fails_at": 13}],
    ids=["the learner", "the learner before a checkpoint", "the engine"],
)
async def test_an_interrupted_run_draws_the_same_tickets_as_one_that_never_was(
    tmp_path: Path, fault: dict[str, Any]
):
    whole = await Run(tmp_path / "whole", "max_lag=0").go()
    broken = Run(tmp_path / "broken", "max_lag=0", **fault)
    with pytest.raises((RuntimeError, TimeoutError)):
        await broken.go()
    start = max((int(path.stem) for path in broken.world.folder.glob("*.json")), default=0)

    resumed = await Run(tmp_path / "broken", "max_lag=0").go(start)

    assert (start > 0) == (fault != {"learner_fails_at": 1})
    drawn = {ticket.number: ticket for ticket in [*broken.decisions, *resumed.decisions]}
    assert [drawn[number] for number in sorted(drawn)] == whole.decisions
    attempts = {ticket.attempt for ticket in resumed.writer.tickets.values()}
    assert (1 in attempts) == ("writer_fails_at" in fault)
    assert resumed.world.curriculum.state() == whole.world.curriculum.state()
    late = whole.decisions[8:]
    assert len({(ticket.size, ticket.budget) for ticket in late}) > 4
    assert late[-1].cursor > late[-1].number + 1, "problems were passed over"


async def test_a_schedule_that_gets_too_short_raises_one_alarm_and_goes_back(tmp_path: Path):
    schedule = ("budget.kind=schedule", "budget.end=1", "budget.over_steps=5")

    run = await Run(tmp_path, "max_lag=0", *schedule, "budget.min_accepted=0.2").go()

    [(step, alarm)] = run.world.reports.alarms
    budgets = {ticket.number // 2: ticket.budget for ticket in run.decisions}
    assert f"goes back from {min(budgets.values())} to" in alarm
    assert budgets[0] == LONGEST > budgets[1] > min(budgets.values())
    first_held = run.reader.leases[step].end_ticket // 2
    held = {budget for batch, budget in budgets.items() if batch >= first_held}
    assert len(held) == 1
    assert held < set(budgets.values())
