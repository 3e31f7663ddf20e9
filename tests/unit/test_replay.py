"""The queue: order, lag, back-pressure, fencing, and what a restart finds."""

import asyncio
import itertools
import pickle
import time
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.ledger import Ledger
from actors.replay import ReplayQueue
from actors.replay_log import LogDamaged, ReplayLog, log_files, read_log
from actors.settlement_rows import encode_settlement
from actors.ticket_rows import decode_ticket, encode_ticket
from configs.errors import LeaseLost
from configs.load import load
from configs.run_files import Fate
from configs.schema import RunConfig
from tests.fakes import make_problem, make_ticket
from verifiers.types import (
    GroupOutcome,
    Lease,
    Outcome,
    Rollout,
    Room,
    Settlement,
    Ticket,
    rollout_id,
)

GROUP = 2


class Fates:
    def __init__(self) -> None:
        self.rows: list[Fate] = []

    async def fates(self, rows: list[Fate]) -> None:
        self.rows += rows


def whole_group(ticket: int, *rewards: float, versions: tuple[int, ...] = ()) -> Settlement:
    """A group kept whole: a rollout for each reward, each of its own version."""
    versions = versions or (0,) * len(rewards)
    rows = zip(rewards, versions, strict=True)
    rollouts = tuple(
        Rollout(
            id=rollout_id(ticket, 0, sample),
            prompt_ids=(1,),
            response_ids=(2,) * (3 if reward else 10),
            first_version=version,
            last_version=version,
            is_accepted=reward == 1.0,
            reward=reward,
        )
        for sample, (reward, version) in enumerate(rows)
    )
    outcomes = tuple(
        Outcome(
            rollout_id=rollout.id,
            status="correct" if rollout.is_accepted else "wrong",
            reason=None if rollout.is_accepted else "wrong",
            num_tokens=len(rollout.response_ids),
            first_version=rollout.first_version,
            last_version=rollout.last_version,
        )
        for rollout in rollouts
    )
    return Settlement(ticket=ticket, attempt=0, outcomes=outcomes, rollouts=rollouts)


async def whole_groups(
    folder: Path, *groups: Settlement, settings: tuple[str, ...] = (), fates: Fates | None = None
) -> ReplayQueue:
    queue = ReplayQueue(str(folder), config(*settings), fates or Fates(), keep_rejected=True)
    await queue.open(0)
    for group in groups:
        await queue.issue(ticket_of(group.ticket))
        await queue.settle(group)
    return queue


def ticket_of(number: int, problem_id: str = "p") -> Ticket:
    return make_ticket(number, size=GROUP, problem=make_problem(problem_id))


def config(*settings: str) -> RunConfig:
    defaults = ["batch.problems=2", f"sampling.group_size={GROUP}", "steps=6", "debug=true"]
    return load("tiny", [*defaults, *settings])


def settlement(ticket: int, *, version: int, accepted: int = 1, attempt: int = 0) -> Settlement:
    """``accepted`` of the group's samples are right, the others wrong."""
    ids = [rollout_id(ticket, attempt, sample) for sample in range(GROUP)]
    return Settlement(
        ticket=ticket,
        attempt=attempt,
        outcomes=tuple(
            Outcome(
                rollout_id=name,
                status="correct" if sample < accepted else "wrong",
                reason=None if sample < accepted else "wrong",
                num_tokens=3,
                first_version=version,
                last_version=version,
            )
            for sample, name in enumerate(ids)
        ),
        rollouts=tuple(
            Rollout(
                id=name,
                prompt_ids=(1, ticket),
                response_ids=(2, 3, 4),
                first_version=version,
                last_version=version,
            )
            for name in ids[:accepted]
        ),
    )


async def opened(
    folder: Path, *settings: str, step: int = 0, fates: Fates | None = None
) -> ReplayQueue:
    queue = ReplayQueue(str(folder), config(*settings), fates or Fates())
    await queue.open(step)
    return queue


async def fill(queue: ReplayQueue, tickets: range, *, version: int, accepted: int = 1) -> None:
    for number in tickets:
        await queue.room(number)
        attempt = await queue.issue(ticket_of(number, f"p{number}"))
        assert attempt is not None
        await queue.settle(settlement(number, version=version, accepted=accepted, attempt=attempt))


async def is_blocked(waiting: asyncio.Task) -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return not waiting.done()


async def step_once(queue: ReplayQueue, step: int, *, publish: bool = True) -> Lease:
    lease = await queue.lease(step)
    assert lease.is_ready
    await queue.ack(lease, skipped=False)
    if publish:
        await queue.published(step + 1)
    return lease


@pytest.mark.row(24)
@pytest.mark.parametrize("max_lag", [0, 1, 3])
async def test_the_gate_opens_only_as_far_as_the_lag_bound_allows(tmp_path: Path, max_lag: int):
    queue = await opened(tmp_path, f"max_lag={max_lag}")
    for number in range(2 * (max_lag + 1)):
        assert await queue.room(number) == Room(version=0, below=2 * (max_lag + 1))
        await queue.issue(ticket_of(number))

    blocked = asyncio.create_task(queue.room(2 * (max_lag + 1)))

    assert await is_blocked(blocked)
    blocked.cancel()


async def test_a_lease_alone_opens_the_gate_only_when_lag_is_allowed(tmp_path: Path):
    exact = await opened(tmp_path / "exact", "max_lag=0")
    await fill(exact, range(2), version=0)
    await exact.lease(0)
    blocked = asyncio.create_task(exact.room(2))
    assert await is_blocked(blocked)

    await exact.published(1)

    assert await asyncio.wait_for(blocked, 1) == Room(version=1, below=4)


@pytest.mark.row(24)
@pytest.mark.parametrize("max_lag", [0, 1, 2])
async def test_no_rollout_is_ever_trained_above_the_bound(tmp_path: Path, max_lag: int):
    fates = Fates()
    queue = await opened(tmp_path, f"max_lag={max_lag}", "steps=9", fates=fates)
    version, number = 0, 0
    for step in range(9):
        while True:  # as greedy as the gate lets a generator be
            waiting = asyncio.create_task(queue.room(number))
            if await is_blocked(waiting):
                waiting.cancel()
                break
            await queue.issue(ticket_of(number))
            await queue.settle(settlement(number, version=version))
            number += 1
        await step_once(queue, step, publish=False)
        if step % (max_lag + 1) == max_lag:
            version = step + 1
            await queue.published(version)

    assert len(fates.rows) == 18
    assert max(row.lag or 0 for row in fates.rows) == max_lag
    assert {row.fate for row in fates.rows} == {"trained"}


async def test_the_last_step_asks_for_no_ticket_beyond_it(tmp_path: Path):
    queue = await opened(tmp_path, "steps=1", "max_lag=3")
    await fill(queue, range(2), version=0)

    blocked = asyncio.create_task(queue.room(2))

    assert await is_blocked(blocked)
    blocked.cancel()


async def test_groups_are_leased_in_ticket_order_whatever_finished_first(tmp_path: Path):
    queue = await opened(tmp_path)
    for number in range(4):
        await queue.issue(ticket_of(number))
    for number in (3, 2, 1):
        await queue.settle(settlement(number, version=0))
    waiting = asyncio.create_task(queue.lease(0))
    assert await is_blocked(waiting)

    await queue.settle(settlement(0, version=0))

    lease = await asyncio.wait_for(waiting, 1)
    rollouts = await queue.payload(0, lease.epoch)
    assert [rollout.prompt_ids[1] for rollout in rollouts] == [0, 1]


async def test_a_batch_without_an_accepted_rollout_grows_until_it_has_one(tmp_path: Path):
    queue = await opened(tmp_path, "max_lag=0")
    await fill(queue, range(2), version=0, accepted=0)
    hungry = await queue.lease(0)
    assert not hungry.is_ready
    assert hungry.reasons == {"wrong": 4}

    await fill(queue, range(2, 4), version=0)
    lease = await queue.lease(0)

    assert (lease.first_ticket, lease.end_ticket, lease.num_rollouts) == (0, 4, 2)
    assert lease.is_ready


@pytest.mark.row(24)
async def test_rollouts_beyond_the_bound_are_dropped_as_stale_and_counted(tmp_path: Path):
    fates = Fates()
    queue = await opened(tmp_path, "max_lag=1", fates=fates)
    await fill(queue, range(2), version=0)
    await step_once(queue, 0)
    await fill(queue, range(2, 4), version=1)
    await step_once(queue, 1)
    await fill(queue, range(4, 5), version=2)
    await fill(queue, range(5, 6), version=0)

    lease = await step_once(queue, 2)

    assert (lease.num_rollouts, lease.num_stale, lease.max_lag) == (1, 1, 0)
    assert (await queue.counts()).dropped == {"stale": 1}
    assert [row.rollout_id for row in fates.rows if row.fate == "stale"] == ["000005.0.0"]


async def test_a_lease_of_whole_groups_holds_rejected_rollouts_and_counts_the_accepted(
    tmp_path: Path,
):
    fates = Fates()
    groups = whole_group(0, 1.0, 0.0, 0.0), whole_group(1, 0.0, 1.0)
    queue = await whole_groups(tmp_path, *groups, fates=fates)

    lease = await queue.lease(0)

    assert (lease.num_rollouts, lease.num_tokens) == (5, 36)
    assert (lease.num_accepted, lease.accepted_tokens) == (2, 6)
    assert await queue.payload(0, lease.epoch) == [*groups[0].rollouts, *groups[1].rollouts]
    await queue.ack(lease, skipped=False)
    counts = await queue.counts()
    counts.check()
    assert (counts.accepted, counts.rejected, counts.kept) == (2, {"wrong": 3}, 5)
    assert (counts.trained, counts.trained_tokens, counts.queued) == (5, 36, 0)
    assert [row.fate for row in fates.rows] == ["trained"] * 5


async def test_what_a_rollout_counted_stands_beside_its_fate(tmp_path: Path):
    fates = Fates()
    group = whole_group(0, 1.0, 0.0)
    weighted = replace(group, rollouts=tuple(replace(r, weight=4.0) for r in group.rollouts))
    queue = await whole_groups(tmp_path, weighted, settings=("batch.problems=1",), fates=fates)

    await queue.ack(await queue.lease(0), skipped=False)

    assert [row.weight for row in fates.rows] == [4.0, 4.0]


async def test_a_step_needs_accepted_rollouts_however_many_rejected_ones_there_are(tmp_path: Path):
    groups = [whole_group(ticket, 0.0, 0.0) for ticket in range(2)]
    queue = await whole_groups(tmp_path, *groups)

    assert not (await queue.lease(0)).is_ready


async def test_one_stale_rollout_makes_its_whole_group_stale(tmp_path: Path):
    fates = Fates()
    queue = await whole_groups(
        tmp_path,
        whole_group(0, 1.0, 0.0, versions=(0, 3)),
        whole_group(1, 1.0, 0.0),
        settings=("max_lag=1",),
        fates=fates,
    )

    lease = await step_once(queue, 0)

    assert (lease.num_rollouts, lease.num_stale) == (2, 2)
    stale = [row.rollout_id for row in fates.rows if row.fate == "stale"]
    assert stale == ["000000.0.0", "000000.0.1"]


async def test_groups_with_equal_rewards_stay_unless_they_are_to_be_dropped(tmp_path: Path):
    groups = whole_group(0, 1.0, 1.0), whole_group(1, 1.0, 0.0)
    queue = await whole_groups(tmp_path, *groups)

    assert (await queue.lease(0)).num_rollouts == 4


async def test_groups_with_equal_rewards_are_dropped_and_a_step_takes_further_ones(tmp_path: Path):
    fates = Fates()
    queue = await whole_groups(
        tmp_path,
        whole_group(0, 1.0, 1.0),
        whole_group(1, 0.0, 0.0),
        settings=("batch.drop_equal=true",),
        fates=fates,
    )
    hungry = await queue.lease(0)
    assert not hungry.is_ready
    assert (hungry.num_rollouts, hungry.num_equal) == (0, 4)
    for group in (whole_group(2, 1.0, 0.0), whole_group(3, 1.0, 1.0)):
        await queue.issue(ticket_of(group.ticket))
        await queue.settle(group)

    lease = await step_once(queue, 0)

    assert (lease.num_rollouts, lease.num_accepted, lease.num_equal) == (2, 1, 6)
    counts = await queue.counts()
    counts.check()
    assert (counts.trained, counts.dropped) == (2, {"equal": 6})
    assert [row.rollout_id for row in fates.rows if row.fate == "trained"] == [
        "000002.0.0",
        "000002.0.1",
    ]
    assert {row.fate for row in fates.rows} == {"trained", "equal"}


async def test_an_expert_makes_the_rewards_of_a_group_no_less_equal(tmp_path: Path):
    group = whole_group(0, 0.0, 0.0, 1.0)
    expert = replace(group.rollouts[2], is_expert=True)
    group = replace(group, rollouts=(*group.rollouts[:2], expert))
    settings = ("batch.drop_equal=true", "batch.problems=1")
    queue = await whole_groups(tmp_path, group, settings=settings)

    assert (await queue.lease(0)).num_equal == 3


async def test_a_skipped_step_of_whole_groups_keeps_its_reasons_apart(tmp_path: Path):
    groups = whole_group(0, 1.0, 1.0), whole_group(1, 1.0, 0.0)
    queue = await whole_groups(tmp_path, *groups, settings=("batch.drop_equal=true",))

    await queue.ack(await queue.lease(0), skipped=True)

    counts = await queue.counts()
    counts.check()
    assert (counts.trained, counts.dropped) == (0, {"equal": 2, "skipped": 2})


async def test_a_restart_finds_whole_groups_as_they_were(tmp_path: Path):
    groups = whole_group(0, 1.0, 0.0), whole_group(1, 0.0, 1.0)
    queue = await whole_groups(tmp_path, *groups)
    before = await queue.counts()
    await queue.close()

    again = await whole_groups(tmp_path)

    assert await again.counts() == before
    lease = await again.lease(0)
    assert await again.payload(0, lease.epoch) == [*groups[0].rollouts, *groups[1].rollouts]


async def test_an_experts_tokens_are_judged_and_not_generated(tmp_path: Path):
    queue = await opened(tmp_path)
    await queue.issue(ticket_of(0))
    mixed = settlement(0, version=0, accepted=2)
    expert = replace(mixed.outcomes[1], is_expert=True)

    await queue.settle(replace(mixed, outcomes=(mixed.outcomes[0], expert)))

    counts = await queue.counts()
    assert (counts.settled, counts.accepted, counts.generated_tokens) == (2, 2, 3)


async def test_a_skipped_step_drops_its_rollouts_with_a_reason(tmp_path: Path):
    fates = Fates()
    queue = await opened(tmp_path, fates=fates)
    await fill(queue, range(2), version=0)

    await queue.ack(await queue.lease(0), skipped=True)

    counts = await queue.counts()
    assert (counts.trained, counts.trained_tokens, counts.dropped) == (0, 0, {"skipped": 2})
    assert {row.fate for row in fates.rows} == {"aborted"}


@pytest.mark.row(4)
async def test_a_late_attempt_and_a_second_settlement_are_refused(tmp_path: Path):
    first = await opened(tmp_path)
    await first.issue(ticket_of(0))
    await first.close()
    queue = await opened(tmp_path)

    assert await queue.issue(ticket_of(0)) == 1
    assert not await queue.settle(settlement(0, version=0, attempt=0))
    assert await queue.settle(settlement(0, version=0, attempt=1))
    assert not await queue.settle(settlement(0, version=0, attempt=1))
    assert (await queue.counts()).settled == GROUP
    assert await queue.issue(ticket_of(0)) is None, "nobody is to write it again"


@pytest.mark.row(4)
async def test_a_lease_that_is_not_open_gives_nothing_and_takes_no_acknowledgement(tmp_path: Path):
    queue = await opened(tmp_path)
    await fill(queue, range(4), version=0)
    lease = await step_once(queue, 0)

    with pytest.raises(LeaseLost, match="no longer open"):
        await queue.payload(lease.step, lease.epoch)
    with pytest.raises(LeaseLost, match="no longer open"):
        await queue.ack(replace(lease, step=1), skipped=False)


async def test_an_acknowledgement_that_is_repeated_counts_once(tmp_path: Path):
    queue = await opened(tmp_path)
    await fill(queue, range(4), version=0)
    lease = await step_once(queue, 0)
    before = await queue.counts()

    await queue.ack(lease, skipped=False)

    assert await queue.counts() == before


async def test_a_restart_takes_back_the_steps_after_the_checkpoint(tmp_path: Path):
    queue = await opened(tmp_path)
    await fill(queue, range(2), version=0)
    await step_once(queue, 0)
    await queue.commit(1, 0)
    await fill(queue, range(2, 4), version=0)
    lost = await step_once(queue, 1)
    await fill(queue, range(4, 5), version=2)
    await queue.issue(ticket_of(5, "p5"))

    restarted = ReplayQueue(str(tmp_path), config(), Fates())
    found = await restarted.open(1)

    assert [(record["ticket"], record["problem"]) for record in found.unsettled] == [(5, "p5")]
    assert await restarted.num_issued() == 6
    again = await restarted.lease(1)
    assert (again.first_ticket, again.end_ticket) == (lost.first_ticket, lost.end_ticket)
    assert again.epoch > lost.epoch
    counts = await restarted.counts()
    counts.check()
    assert (counts.trained, counts.queued, counts.running_groups) == (2, 3, 1)


def test_tokens_that_were_trained_are_let_go_of_and_nothing_else_changes():
    ledger = Ledger()
    for ticket in range(2):
        ledger.apply(encode_ticket(make_ticket(ticket)))
        ledger.apply(encode_settlement(whole_group(ticket, 1.0, 0.0)))
    taken = {"first": 0, "end": 1, "trained": 2, "tokens": 13, "dropped": {}}
    ledger.apply({"kind": "ack", "step": 0, **taken})
    before = ledger.counts()

    ledger.release_trained()

    assert [len(ledger.settled[ticket].rollouts) for ticket in range(2)] == [0, 2]
    assert ledger.counts() == before


async def test_what_was_trained_before_the_oldest_checkpoint_is_only_counted(tmp_path: Path):
    queue = await opened(tmp_path)
    for step in range(3):
        await fill(queue, range(2 * step, 2 * step + 2), version=step)
        await step_once(queue, step)
    before = await queue.counts()

    await queue.commit(3, 4)

    assert await queue.counts() == before
    restarted = await opened(tmp_path, step=3)
    assert await restarted.counts() == before
    assert await restarted.num_issued() == 6


async def test_a_ready_lease_says_what_became_of_its_groups_and_a_hungry_one_does_not(
    tmp_path: Path,
):
    queue = await opened(tmp_path, "max_lag=0")
    made = [
        replace(ticket_of(number, f"p{number}"), budget=40 + number, temperature=1.1)
        for number in range(4)
    ]
    settled = [
        replace(settlement(number, version=0, accepted=number // 3), logprob_mean=-0.5)
        for number in range(4)
    ]
    for ticket in made:
        await queue.issue(ticket)
    for number in (1, 0, 3, 2):
        await queue.settle(settled[number])
    assert (await queue.lease(0)).groups == ()

    lease = await queue.lease(0)

    assert lease.groups == tuple(
        GroupOutcome(
            ticket=number,
            problem_id=f"p{number}",
            budget=40 + number,
            temperature=1.1,
            logprob_mean=-0.5,
            outcomes=settled[number].outcomes,
        )
        for number in range(4)
    )


async def test_what_was_decided_of_a_ticket_is_found_after_a_restart_as_it_was(tmp_path: Path):
    ticket = replace(
        ticket_of(0), cursor=7, seen=3, propensity=0.25, explores=True, level="short",
        temperature=0.9, expected_tokens=12.5, limits=(("branchy", 0.1), ("wordy", 3.0)),
    )  # fmt: skip
    queue = await opened(tmp_path)
    await queue.issue(ticket)
    await queue.close()

    found = await ReplayQueue(str(tmp_path), config(), Fates()).open(0)

    [record] = found.unsettled
    assert decode_ticket(record, ticket.problem) == ticket
    assert found.cursor == 7


async def test_the_position_in_the_data_outlives_the_tickets_that_led_there(tmp_path: Path):
    queue = await opened(tmp_path)
    for number, cursor in ((0, 3), (1, 8)):
        await queue.issue(replace(ticket_of(number), cursor=cursor))
        await queue.settle(settlement(number, version=0))
    await step_once(queue, 0)
    await queue.commit(1, 2)
    assert await queue.issue(ticket_of(1)) is None, "it is settled, though forgotten"

    found = await ReplayQueue(str(tmp_path), config(), Fates()).open(1)

    assert (found.unsettled, found.cursor) == ((), 8)


async def test_the_end_of_the_data_makes_a_short_last_lease_and_then_an_empty_one(tmp_path: Path):
    queue = await opened(tmp_path)
    await fill(queue, range(3), version=0)
    await step_once(queue, 0)
    waiting = asyncio.create_task(queue.lease(1))
    assert await is_blocked(waiting)

    await queue.end_of_data(3)

    last = await asyncio.wait_for(waiting, 1)
    assert (last.first_ticket, last.end_ticket, last.is_ready) == (2, 3, True)
    await queue.ack(last, skipped=False)
    empty = await queue.lease(2)
    assert empty.is_ready
    assert empty.num_rollouts == 0


async def test_a_wait_that_never_ends_says_what_it_waited_for(tmp_path: Path):
    queue = await opened(tmp_path, "cluster.wait_timeout_s=0.05")
    await queue.issue(ticket_of(0))

    with pytest.raises(TimeoutError, match=r"tickets 0 to 1 to be settled: step 0.*1 groups out"):
        await queue.lease(0)


def test_a_torn_tail_is_dropped_and_the_rest_is_read(tmp_path: Path):
    log = ReplayLog(tmp_path)
    log.append({"kind": "issue", "ticket": 0})
    log.append({"kind": "issue", "ticket": 1})
    log.close()
    path = log_files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-5])
    second = ReplayLog(tmp_path)
    second.append({"kind": "issue", "ticket": 2})
    second.close()

    assert [record["ticket"] for record in read_log(tmp_path)] == [0, 2]


def test_a_changed_line_in_the_middle_is_not_passed_over(tmp_path: Path):
    log = ReplayLog(tmp_path)
    for ticket in range(3):
        log.append({"kind": "issue", "ticket": ticket})
    log.close()
    path = log_files(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b'"ticket":1', b'"ticket":7'))

    with pytest.raises(LogDamaged, match="line 2"):
        list(read_log(tmp_path))


GOOD, BAD, BLANK = b"good\n", b"bad\n", b"\n"


@pytest.mark.parametrize("end", [b"", b"go", b"good"])
@pytest.mark.parametrize(
    "lines", [lines for n in range(4) for lines in itertools.product((GOOD, BAD, BLANK), repeat=n)]
)
def test_a_log_is_read_line_by_line_as_it_was_read_whole(
    tmp_path: Path, lines: tuple[bytes, ...], end: bytes
):
    """Only the last line that has an end may be spoilt; what stands behind it, unended, may too."""
    ReplayLog(tmp_path).close()
    log = ReplayLog(tmp_path)
    log.append({"kind": "issue"})
    log.close()
    path = log_files(tmp_path)[1]
    good = path.read_bytes()
    path.write_bytes(b"".join((*lines, end)).replace(b"good\n", good).replace(b"good", good[:-1]))
    spoilt = [number for number, line in enumerate(lines, start=1) if line != GOOD]

    read = read_log(tmp_path)

    if spoilt and spoilt[0] < len(lines):
        before = list(itertools.islice(read, spoilt[0] - 1))
        assert len(before) == spoilt[0] - 1
        with pytest.raises(LogDamaged, match=rf"^log-0002\.jsonl line {spoilt[0]} fails"):
            next(read)
    else:
        assert len(list(read)) == lines.count(GOOD) + (end == b"good")


def test_a_log_that_is_read_while_it_grows_ends_with_a_line_that_is_not_ended_yet(tmp_path: Path):
    log = ReplayLog(tmp_path)
    log.append({"kind": "issue"})
    log.close()
    path = log_files(tmp_path)[0]
    good = path.read_bytes()
    path.write_bytes(good + good[:-1])
    read = read_log(tmp_path)
    assert [next(read)["kind"], next(read)["kind"]] == ["issue", "issue"]

    path.write_bytes(good + good + good)

    assert list(read) == []


def test_a_log_is_never_in_memory_as_a_whole(tmp_path: Path):
    log = ReplayLog(tmp_path)
    for number in range(64):
        log.append({"kind": "issue", "ticket": number, "of": "x" * 2**16})
    log.close()
    tracemalloc.start()

    found = [record["ticket"] for record in read_log(tmp_path)]

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == list(range(64))
    assert most < 2**20, "of a file of 4 MiB"


@pytest.mark.row(30)
async def test_a_pickle_in_the_queues_folder_is_never_loaded(tmp_path: Path):
    canary, folder = tmp_path / "canary", tmp_path / "queue"
    evil = pickle.dumps(Touches(canary))
    first = await opened(folder)
    await fill(first, range(2), version=0)
    await first.close()
    (folder / "queue.pkl").write_bytes(evil)

    for content in (evil + b"\n\n", b"%08x %s\n" % (zlib.crc32(evil), evil)):
        (folder / "log-0002.jsonl").write_bytes(content)
        with pytest.raises((LogDamaged, ValueError)):
            await opened(folder)
        (folder / "log-0002.jsonl").unlink()

    queue = await opened(folder)
    assert (await queue.counts()).settled == 2 * GROUP
    assert not canary.exists()
    pickle.loads(evil)
    assert canary.exists()  # else the test shows nothing


class Touches:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.row(25)
@pytest.mark.parametrize("jump_s", [3600, -3600])
async def test_a_clock_that_jumps_changes_nothing_that_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: int
):
    async def decided(folder: Path) -> list[object]:
        fates = Fates()
        queue = await opened(folder, fates=fates)
        found: list[object] = []
        for step in range(3):
            await fill(queue, range(2 * step, 2 * step + 2), version=step)
            found.append(await step_once(queue, step))
        await queue.close()
        return [*found, [replace(row, at_us=0, queue_ms=0.0) for row in fates.rows]]

    steady = await decided(tmp_path / "steady")
    now_ns = time.time_ns
    jumps = itertools.cycle((0, jump_s * 10**9))
    monkeypatch.setattr("time.time_ns", lambda: now_ns() + next(jumps))
    monkeypatch.setattr("time.time", lambda: (now_ns() + next(jumps)) / 1e9)

    assert await decided(tmp_path / "jumping") == steady
