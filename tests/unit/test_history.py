"""Whatever the queue lives through, its log accounts for every sample; a log that lost or doubled a
record does not."""

import asyncio
import random
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.history import History
from actors.replay import ReplayQueue
from actors.replay_log import log_files
from actors.replay_log import read_log as records_of
from cluster.check import read_log
from configs.load import load
from configs.run_files import Fate
from configs.schema import RunConfig
from tests.fakes import make_problem, make_ticket
from tests.made_run import Record
from verifiers.types import Lease, Outcome, Rollout, Settlement, rollout_id

T = TypeVar("T")
SIZE = 2

OFTEN = ("fill", "settle", "settle_all", "lease", "ack", "publish")
SELDOM = ("issue", "again", "late", "skip", "commit", "kill", "revive", "renew", "give_up")


class Nobody:
    async def fates(self, rows: list[Fate]) -> None: ...


class Life:
    """A queue, and after each kill another one over the same folder."""

    def __init__(self, folder: Path, config: RunConfig, chance: random.Random) -> None:
        self._folder = folder
        self._config = config
        self._chance = chance
        self._committed = [0, 0]
        """The last two: the older one's ticket is the oldest that may be asked for."""
        self._ends = {0: 0}
        """First ticket not trained, by steps taken."""

    async def live(self) -> None:
        """To some end, which may be that of the data."""
        await self._open()
        for move in self._chance.choices(OFTEN * 4 + SELDOM, k=150):
            await getattr(self, move)()
        if self._chance.random() < 0.5:
            await self._queue.end_of_data(self._number)
            for _ in range(3):
                await self.settle_all()
                await self.lease()
                await self.ack()
        await self._queue.close()

    async def _open(self) -> None:
        self._queue = self._new_queue()
        opened = await self._queue.open(self._committed[-1])
        self._step = self._version = self._committed[-1]
        self._out = {row["ticket"]: (row["attempt"], row["version"]) for row in opened.unsettled}
        self._number = await self._queue.num_issued()
        self._lease: Lease | None = None

    def _new_queue(self) -> ReplayQueue:
        whole_groups = self._config.batch.drop_equal
        return ReplayQueue(str(self._folder), self._config, Nobody(), whole_groups)

    async def kill(self) -> None:
        """Of the run: it goes on from its checkpoint, and so do the engines."""
        await self._queue.close()
        await self._open()

    async def revive(self) -> None:
        """The learner died: it goes on from its checkpoint, all others from where they are."""
        self._step, self._lease = self._committed[-1], None
        await self._queue.take_back(self._step)

    async def renew(self) -> None:
        """The queue died, and nobody else."""
        await self._queue.close()
        self._queue, self._lease = self._new_queue(), None
        await self._queue.start_again()

    async def fill(self) -> None:
        """As greedy as the gate lets a generator be."""
        while await self.issue():
            pass

    async def issue(self) -> bool:
        if await self._at_once(self._queue.room(self._number)) is None:
            return False
        await self._hand_out(self._number)
        self._number += 1
        return True

    async def again(self) -> None:
        if self._out:
            await self._hand_out(self._chance.choice(sorted(self._out)))

    async def _hand_out(self, number: int) -> None:
        ticket = make_ticket(number, size=SIZE, problem=make_problem(f"p-{number}"))
        attempt = await self._queue.issue(ticket)
        assert attempt is not None
        self._out[number] = attempt, self._version

    async def settle(self) -> None:
        if self._out:
            number = self._chance.choice(sorted(self._out))
            attempt, version = self._out.pop(number)
            assert await self._queue.settle(self._group(number, attempt, version))

    async def settle_all(self) -> None:
        while self._out:
            await self.settle()

    async def late(self) -> None:
        """A result of an attempt that was given up, and one that is there already."""
        given_up = [number for number, (attempt, _) in self._out.items() if attempt > 0]
        settled = [number for number in range(self._number) if number not in self._out]
        for number in (*given_up[:1], *settled[-1:]):
            assert not await self._queue.settle(self._group(number, 0, 0))

    async def give_up(self) -> None:
        if self._out:
            number = self._chance.choice(sorted(self._out))
            del self._out[number]
            await self._queue.give_up(make_ticket(number), "nobody can write it")

    async def lease(self) -> None:
        if self._lease is None:
            lease = await self._at_once(self._queue.lease(self._step))
            self._lease = lease if lease is not None and lease.is_ready else None

    async def ack(self) -> None:
        await self._acknowledge(skipped=False)

    async def skip(self) -> None:
        await self._acknowledge(skipped=True)

    async def _acknowledge(self, *, skipped: bool) -> None:
        if self._lease is None:
            return
        is_empty = self._lease.num_rollouts == 0
        await self._queue.ack(self._lease, skipped=skipped or is_empty)
        self._ends[self._step + 1] = self._lease.end_ticket
        self._lease = None
        self._step += 1

    async def publish(self) -> None:
        if self._version <= self._step:  # after a revival they may have newer weights
            self._version = self._chance.randint(self._version, self._step)
            await self._queue.published(self._version)

    async def commit(self) -> None:
        self._committed = [self._committed[-1], self._step]
        await self._queue.commit(self._step, self._ends[self._committed[0]])

    def _group(self, number: int, attempt: int, version: int) -> Settlement:
        """Written from when it went out until now; right, wrong, or without a verdict."""
        drawn = self._chance.choices(("right", "wrong", "error"), k=SIZE)
        first = min(version, self._version)
        rows = [(rollout_id(number, attempt, i), what) for i, what in enumerate(drawn)]
        outcomes = tuple(
            Outcome(
                rollout_id=name,
                status="correct" if what == "right" else "wrong",
                reason=None if what == "right" else what,
                num_tokens=3,
                first_version=first,
                last_version=self._version,
            )
            for name, what in rows
        )
        for_learner = ("right", "wrong") if self._config.batch.drop_equal else ("right",)
        rollouts = tuple(
            Rollout(
                id=name,
                prompt_ids=(1,),
                response_ids=(2, 3, 4),
                first_version=first,
                last_version=self._version,
                is_accepted=what == "right",
                reward=float(what == "right"),
            )
            for name, what in rows
            if what in for_learner
        )
        return Settlement(ticket=number, attempt=attempt, outcomes=outcomes, rollouts=rollouts)

    async def _at_once(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """None: somebody else would have to do something first."""
        task = asyncio.create_task(waiting)
        for _ in range(5):
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            return None
        return task.result()


def lived(folder: Path, seed: int) -> int:
    """``max_lag`` of the life that is now in the folder."""
    chance = random.Random(seed)
    max_lag, drop_equal = chance.randint(0, 2), chance.choice(("true", "false"))
    settings = (f"max_lag={max_lag}", f"batch.drop_equal={drop_equal}")
    config = load("tiny", ["batch.problems=2", "steps=20", "debug=true", *settings])
    asyncio.run(Life(folder, config, chance).live())
    return max_lag


def violations(records: list[Record], max_lag: int) -> list[str]:
    history = History(max_lag)
    for place, record in enumerate(records):
        history.read(record, f"record {place}")
    history.close()
    return history.violations


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_life_of_a_queue_accounts_for_every_sample(seed: int):
    with tempfile.TemporaryDirectory() as folder:
        max_lag = lived(Path(folder), seed)
        history = History(max_lag)
        torn = read_log(Path(folder), history)

        tally = history.close()

    assert (history.violations, torn) == ([], 0)
    assert tally.acked == tally.ok + tally.pending
    assert (tally.lost, tally.unexpected, tally.duplicated, tally.over_stale) == (0, 0, 0, 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_record_that_is_gone_from_a_log_or_stands_there_twice_is_missed(seed: int):
    """But for the last one of a log, which looks like one that was never promised."""
    with tempfile.TemporaryDirectory() as folder:
        max_lag = lived(Path(folder), seed)
        for path in log_files(Path(folder)):
            lines = path.read_bytes().splitlines(keepends=True)
            promises = [
                i for i, line in enumerate(lines) if b'"settle"' in line or b'"ack"' in line
            ]
            gone = [[*lines[:i], *lines[i + 1 :]] for i in promises if i + 1 < len(lines)]
            twice = [[*lines[: i + 1], *lines[i:]] for i in promises]
            for changed in gone + twice:
                path.write_bytes(b"".join(changed))
                history = History(max_lag)
                read_log(Path(folder), history)
                assert history.violations
            path.write_bytes(b"".join(lines))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_log_that_never_had_the_record_does_not_add_up(seed: int):
    """The same without the numbers of the records: by what they say alone. A step that was taken
    back, and a group that nobody asked for yet, leave nothing to hold them against."""
    with tempfile.TemporaryDirectory() as folder:
        max_lag = lived(Path(folder), seed)
        records = list(records_of(Path(folder)))
    assert violations(records, max_lag) == []
    acks = [record for record in records if record["kind"] == "ack"]
    taken = {ticket for ack in acks for ticket in range(ack["first"], ack["end"])}

    for place, record in enumerate(records):
        if record["kind"] not in ("settle", "ack"):
            continue
        assert violations([*records[: place + 1], *records[place:]], max_lag), "stands twice"
        without = records[:place] + records[place + 1 :]
        if record["kind"] == "settle" and record["ticket"] in taken:
            assert violations(without, max_lag), "a settlement is gone"
        if record["kind"] == "ack":
            then = [r["kind"] for r in records[place + 1 :] if r["kind"] in ("ack", "resume")]
            if then[:1] == ["ack"]:
                assert violations(without, max_lag), "an acknowledgement is gone"


def test_what_is_right_piece_by_piece_must_add_up_as_well(tmp_path: Path):
    history = History(lived(tmp_path, seed=2))
    read_log(tmp_path, history)
    step = next(reversed(history.steps.values()))
    history.steps[step.number] = replace(step, trained=step.trained + 1)

    history.close()

    [text] = history.violations
    assert "that does not add up" in text


def test_a_log_says_which_rollouts_a_step_left_out(tmp_path: Path):
    async def life() -> None:
        config = load("tiny", ["batch.problems=1", "max_lag=0"])
        queue = ReplayQueue(str(tmp_path), config, Nobody())
        await queue.open(0)
        for number in range(2):
            await queue.issue(make_ticket(number, size=1))
            name = rollout_id(number, 0, 0)
            rollout = Rollout(
                id=name, prompt_ids=(1,), response_ids=(2,), first_version=0, last_version=0
            )
            outcome = Outcome(
                rollout_id=name,
                status="correct",
                reason=None,
                num_tokens=1,
                first_version=0,
                last_version=0,
            )
            await queue.settle(
                Settlement(ticket=number, attempt=0, outcomes=(outcome,), rollouts=(rollout,))
            )
        await queue.end_of_data(2)
        for step in range(2):
            await queue.ack(await queue.lease(step), skipped=step == 0)

    asyncio.run(life())

    acks = [record for record in records_of(tmp_path) if record["kind"] == "ack"]
    assert [ack["left_out"] for ack in acks] == [
        {"skipped": ["000000.0.0"]},
        {"stale": ["000001.0.0"]},
    ]


@pytest.mark.parametrize(
    ("reason", "first_version", "rewards", "is_true"),
    [
        ("stale", 0, (1.0, 0.0), False),
        ("stale", 3, (1.0, 0.0), True),
        ("equal", 0, (1.0, 0.0), False),
        ("equal", 0, (1.0, 1.0), True),
        ("equal", 0, (1.0, 1.0, 0.0), True),
    ],
)
def test_a_reason_must_hold_for_the_group(
    reason: str, first_version: int, rewards: tuple[float, ...], is_true: bool
):
    """A third one came with the data: its reward makes a group no less equal."""
    names = [rollout_id(1, 0, sample) for sample in range(len(rewards))]
    versions = [first_version, first_version]
    issue = {"kind": "issue", "attempt": 0, "size": 2, "version": 0}
    records: list[Record] = [
        {**issue, "ticket": 0, "problem": "p", "cursor": 1},
        {**issue, "ticket": 1, "problem": "q", "cursor": 2},
        *(
            {"kind": "settle", "ticket": 0, "attempt": 0, "outcomes": [], "rollouts": []}
            for _ in "1"
        ),
        *(
            {"kind": "ack", "step": step, "first": 0, "end": int(step == 0), "trained": 0}
            | {"tokens": 0, "dropped": {}, "left_out": {}}
            for step in range(1)
        ),
    ]
    records += [
        {**records[-1], "step": step, "first": 1, "end": 1} for step in range(1, 4)
    ]  # so that the versions are there
    records += [
        {"kind": "resume", "step": 1},
        {
            "kind": "settle",
            "ticket": 1,
            "attempt": 0,
            "outcomes": [
                [name, "correct", None, 1, *versions, place == 2]
                for place, name in enumerate(names)
            ],
            "rollouts": [
                [name, [1], [2], *versions, {"reward": reward}]
                for name, reward in zip(names, rewards, strict=True)
            ],
        },
        {**records[3], "step": 1, "first": 1, "end": 2}
        | {"dropped": {reason: len(names)}, "left_out": {reason: names}},
    ]

    found = violations(records, max_lag=1)

    assert (found == []) == is_true, found
    if not is_true:
        assert f"as {reason}, which it is not" in found[0]
