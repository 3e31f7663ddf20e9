"""The loop against fakes of its neighbours: what waits for what, and how it ends."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from actors.curriculum import Curriculum
from actors.replay import ReplayQueue
from cluster import loop
from cluster.bad_steps import BadSteps
from cluster.fleet import Fleet
from cluster.loop import Parts
from cluster.neighbours import LearnerLost, NothingToLearn
from configs.errors import LeaseLost, UserError
from configs.load import load
from tests.fakes import make_problem, make_ticket
from tests.unit.test_replay import Fates, settlement
from verifiers.types import Lease, Problem, PublishedWeights, Ticket
from verifiers.weights_file import WeightsRefused


class Source:
    """``p0``, ``p1``, … up to ``total``; or ``num_problems`` of them again and again."""

    def __init__(self, total: int | None = None, num_problems: int = 1000) -> None:
        self.cursor = 0
        self.num_problems = num_problems
        self._total = total

    def seek(self, cursor: int) -> None:
        self.cursor = cursor

    def draw(self) -> Problem | None:
        if self.cursor == self._total:
            return None
        self.cursor += 1
        return self.problem(f"p{(self.cursor - 1) % self.num_problems}")

    def problem(self, id: str) -> Problem | None:
        return make_problem(id) if id.startswith("p") else None


@dataclass(frozen=True)
class Load:
    seconds: float = 0.0
    stall_s: float = 0.0
    prepare_s: float = 0.0
    in_flight: int = 0


@dataclass(frozen=True)
class Stats:
    stalled_s: float = 0.0


@dataclass(frozen=True)
class Metrics:
    skipped: bool = False
    diverged: bool = False


class Generator:
    """Settles every ticket at once; ``accepted(ticket)`` of its samples are right."""

    def __init__(self, queue: Any, log: list[str], accepted: Any = lambda ticket: 1) -> None:
        self.queue = queue
        self.log = log
        self.accepted = accepted
        self.version = 0

    async def start(self) -> None: ...

    async def stats(self) -> Stats:
        return Stats()

    async def evaluate(self, problem: Problem, count: int, sampling: Any) -> tuple[Any, ...]:
        return ()

    async def generate(self, ticket: Ticket) -> None:
        number, version = ticket.number, self.version
        await asyncio.sleep(0)
        self.log.append(f"write {number} at {version}")
        await self.queue.settle(
            settlement(
                number, version=version, accepted=self.accepted(number), attempt=ticket.attempt
            )
        )

    async def load_weights(self, weights: PublishedWeights) -> Load:
        self.version = weights.version
        self.log.append(f"load {weights.version}")
        return Load()


@dataclass
class Learner:
    log: list[str]
    delay_s: float = 0.0
    skip: bool = False
    bad: Collection[int] = ()
    fail_at: int | None = None
    dies_at: list[int] = field(default_factory=list)
    """Steps before which it dies, once each."""
    dies_after: list[int] = field(default_factory=list)
    """Steps that it takes and dies of, once each."""
    dies_at_publishing: list[int] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    async def step(self, lease: Lease) -> Metrics:
        if lease.step == self.fail_at:
            raise RuntimeError("the device is gone")
        _die_once(self.dies_at, lease.step)
        self.leases.append(lease)
        self.log.append(f"step {lease.step}")
        await asyncio.sleep(self.delay_s)
        _die_once(self.dies_after, lease.step)
        is_bad = lease.step in self.bad
        return Metrics(skipped=self.skip or is_bad, diverged=is_bad)

    async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
        _die_once(self.dies_at_publishing, version)
        return PublishedWeights(version=version, fingerprint="", num_tensors=0, num_bytes=0)

    async def send(self, engines: int) -> None:
        raise AssertionError("nothing is streamed here")


def _die_once(when: list[int], now: int) -> None:
    if now in when:
        when.remove(now)
        raise LearnerLost("the process is gone")


class Reports:
    def __init__(self) -> None:
        self.hungry: list[Lease] = []
        self.why: list[str] = []
        self.alarms: list[tuple[int, str]] = []
        self.engines: list[tuple[str, dict[str, Any]]] = []

    async def changed(self, kind: str, note: str, **fields: Any) -> None:
        assert "\n" not in note
        self.engines.append((kind, fields))

    async def waiting(self, lease: Lease) -> None:
        self.hungry.append(lease)

    async def alarm(self, step: int, text: str) -> None:
        self.alarms.append((step, text))

    async def stepped(self, lease: Lease, metrics: Any, times: Any) -> None:
        assert times.asked_us <= times.leased_us <= times.stepped_us <= times.published_us

    async def synced(self, weights: PublishedWeights, loads: Sequence[Any]) -> None: ...

    async def heartbeat(self) -> None: ...

    async def ended(self, why: str) -> None:
        self.why.append(why)


class Guard:
    """Looks at every second version; ``bad`` ones are worse, and the ``last_back``-th time that it
    says so is the end."""

    def __init__(self, log: list[str], bad: Collection[int] = (), last_back: int = 99) -> None:
        self.log, self.bad = log, bad
        self.is_on = bool(bad)
        self.wants_back = False
        self.backs, self.last_back = 0, last_back

    @property
    def is_over(self) -> bool:
        return self.backs >= self.last_back and not self.wants_back

    def is_point(self, version: int) -> bool:
        return self.is_on and version % 2 == 0

    async def look(self, version: int) -> None:
        if not self.is_on or self.wants_back or self.is_over:
            return
        self.log.append(f"look {version}")
        self.wants_back = version in self.bad
        self.backs += self.wants_back


class Staff:
    """Nobody else is to be had."""

    def hire(self, number: int, seat: int) -> Any:
        raise RuntimeError("no engine is to be had")

    async def pid(self, engine: Any) -> int:
        return 1

    async def dismiss(self, engine: Any) -> None: ...

    def require_room(self, engines: int) -> None:
        raise UserError("there is no room")


class World:
    """A whole run in one process; only engine and learner are fakes."""

    def __init__(
        self,
        folder: Path,
        *settings: str,
        source: Source | None = None,
        writer: Callable[..., Any] | None = None,
        reader: Callable[..., Learner] | None = None,
        staff: Any = None,
        **fakes: Any,
    ) -> None:
        small = ["batch.problems=2", "sampling.group_size=2", "debug=true", "checkpoint.every=2"]
        self.config = load("tiny", [*small, *settings])
        self.folder = folder
        self.log: list[str] = []
        self.guard = Guard(self.log, **fakes.pop("guard", {}))
        self.fates = Fates()
        self.queue = ReplayQueue(str(folder), self.config, self.fates)
        self.learner = (reader or Learner)(self.log, **fakes.pop("learner", {}))
        self.generators = [
            (writer or Generator)(self.queue, self.log, **fakes)
            for _ in range(self.config.engine.num_engines)
        ]
        self.reports = Reports()
        self.save_s = 0.0
        self.unsaved: list[int] = []
        """Versions of which one checkpoint fails."""
        self.curriculum = Curriculum(source or Source(), self.config)
        self.fleet = Fleet(self.config, staff or Staff(), self.reports, self.generators)
        self.parts = Parts(
            config=self.config,
            source=self.curriculum,
            queue=self.queue,
            engines=self.fleet,
            learner=self.learner,
            reports=self.reports,
            checkpoint=self.checkpoint,
            roll_back=self.roll_back,
            revive=self.revive,
            look=self.look,
            evaluate=self.evaluate,
            guard=self.guard,
            wanted_engines=lambda: None,
        )

    async def checkpoint(self, version: int, end_ticket: int) -> Awaitable[bool]:
        learned = json.dumps(self.curriculum.state())

        async def keep() -> bool:
            await asyncio.sleep(self.save_s)
            if version in self.unsaved:
                self.unsaved.remove(version)
                return False
            self.log.append(f"commit {version} below {end_ticket}")
            (self.folder / f"{version}.json").write_text(learned)
            await self.queue.commit(version, 0)
            return True

        return keep()

    async def revive(self, loss: LearnerLost) -> int:
        steps = [int(path.stem) for path in self.folder.glob("*.json")]
        step = max(steps, default=0)
        self.log.append(f"revive at {step}")
        self.curriculum.unlearn(self.learned(step))
        await self.queue.take_back(step)
        return step

    async def look(self) -> None: ...

    async def roll_back(self, version: int) -> None:
        self.log.append(f"roll back for {version}")
        self.guard.wants_back = False

    async def evaluate(self, version: int) -> None:
        self.log.append(f"evaluate {version}")

    async def run(self, start: int = 0) -> int:
        opened = await self.queue.open(start)
        self.curriculum.restore(self.learned(start), opened.cursor)
        async with asyncio.timeout(10):
            return await loop.run(self.parts, start=start, reissue=opened.unsettled)

    def learned(self, start: int) -> dict[str, Any] | None:
        path = self.folder / f"{start}.json"
        return json.loads(path.read_text()) if path.exists() else None


async def test_exact_mode_never_writes_while_the_learner_steps(tmp_path: Path):
    world = World(tmp_path, "steps=3", "max_lag=0")

    assert await world.run() == 3

    assert [line for line in world.log if not line.startswith("commit")] == [
        "evaluate 0", "write 0 at 0", "write 1 at 0", "step 0",
        "load 1", "write 2 at 1", "write 3 at 1", "step 1",
        "load 2", "write 4 at 2", "write 5 at 2", "step 2",
        "load 3",
    ]  # fmt: skip


async def test_with_lag_allowed_the_next_batch_is_written_while_the_learner_steps(tmp_path: Path):
    world = World(tmp_path, "steps=3", "max_lag=1", learner={"delay_s": 0.01})

    await world.run()

    assert world.log.index("write 3 at 0") < world.log.index("load 1")
    assert {lease.max_lag for lease in world.learner.leases} == {0, 1}
    assert max(row.lag or 0 for row in world.fates.rows) == 1


@pytest.mark.row(24)
async def test_a_slow_learner_bounds_what_is_written_and_nothing_is_dropped(tmp_path: Path):
    world = World(tmp_path, "steps=4", "max_lag=1", learner={"delay_s": 0.02})
    most = 0

    async def watch_queue() -> None:
        nonlocal most
        while True:
            counts = await world.queue.counts()
            most = max(most, counts.queued)
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch_queue())
    await world.run()
    watching.cancel()

    counts = await world.queue.counts()
    assert most <= (world.config.max_lag + 1) * world.config.batch.problems
    assert (counts.trained, counts.dropped, counts.queued) == (8, {}, 0)


async def test_a_batch_with_nothing_accepted_is_said_and_the_run_goes_on(tmp_path: Path):
    world = World(tmp_path, "steps=2", accepted=lambda ticket: 0 if ticket < 4 else 1)

    assert await world.run() == 2

    assert [lease.reasons for lease in world.reports.hungry] == [{"wrong": 4}, {"wrong": 8}]
    assert world.learner.leases[0].end_ticket == 6


async def test_the_end_of_the_data_ends_the_run_and_commits(tmp_path: Path):
    world = World(tmp_path, "steps=9", source=Source(total=3))

    assert await world.run() == 2

    assert world.reports.why == ["the data ended after 2 of 9 steps"]
    assert world.log[-1] == "load 2" or "commit 2 below 3" in world.log
    assert (await world.queue.counts()).trained == 3


async def test_the_last_version_is_published_and_committed_out_of_turn(tmp_path: Path):
    world = World(tmp_path, "steps=3", "max_lag=3", "sync_every=2", "checkpoint.every=2")

    await world.run()

    assert [line for line in world.log if line.startswith("load")] == ["load 2", "load 3"]
    assert [line for line in world.log if line.startswith("commit")] == [
        "commit 2 below 4",
        "commit 3 below 6",
    ]


async def test_a_stop_finishes_the_step_commits_and_ends(tmp_path: Path):
    world = World(tmp_path, "steps=9", learner={"delay_s": 0.01})

    async def stop_in_the_second_step() -> None:
        while len(world.learner.leases) < 2:
            await asyncio.sleep(0)
        world.parts.stop.set()

    stopping = asyncio.create_task(stop_in_the_second_step())
    version = await world.run()
    await stopping

    assert version == 2
    assert f"commit {version} below {2 * version}" in world.log


async def test_evaluations_on_the_way_see_the_version_they_are_asked_of(tmp_path: Path):
    world = World(tmp_path, "steps=4", "eval.every=2")

    await world.run()

    assert [line for line in world.log if line.startswith("evaluate")] == [
        "evaluate 0",
        "evaluate 2",
    ]
    assert world.log.index("load 2") < world.log.index("evaluate 2") < world.log.index("load 3")


async def test_a_part_that_fails_ends_the_run_with_its_own_words(tmp_path: Path):
    broken = World(tmp_path / "learner", "steps=4", learner={"fail_at": 1})
    with pytest.raises(RuntimeError, match="the device is gone"):
        await broken.run()

    def refuse(ticket: int) -> int:
        raise ValueError("the judge is gone")

    broken = World(tmp_path / "generator", "steps=4", accepted=refuse)
    with pytest.raises(ValueError, match="the judge is gone"):
        await broken.run()


async def test_a_learner_that_hangs_is_named(tmp_path: Path):
    world = World(tmp_path, "cluster.wait_timeout_s=0.4", learner={"delay_s": 60})

    with pytest.raises(TimeoutError, match=r"waited 0 s for optimizer step 0"):
        await world.run()


async def test_a_resumed_run_writes_again_what_was_out_and_skips_nothing(tmp_path: Path):
    first = World(tmp_path, "steps=9", "checkpoint.every=2", learner={"fail_at": 3})
    with pytest.raises(RuntimeError):
        await first.run()
    lost = replace(make_ticket(8, problem=make_problem("p8")), cursor=9)
    await first.queue.issue(lost)
    await first.queue.commit(2, 0)
    await first.queue.close()

    second = World(tmp_path, "steps=9", "checkpoint.every=2")
    second.generators[0].version = 2

    assert await second.run(start=2) == 9

    taken = [lease.first_ticket for lease in second.learner.leases]
    assert taken == list(range(4, 18, 2))
    counts = await second.queue.counts()
    assert (counts.issued_groups, counts.trained, counts.running_groups) == (18, 18, 0)
    assert counts.dropped == {}


@pytest.mark.row(28)
async def test_changed_data_is_found_when_a_ticket_is_written_again(tmp_path: Path):
    first = ReplayQueue(str(tmp_path), load("tiny", []), Fates())
    await first.open(0)
    await first.issue(make_ticket(0, problem=make_problem("another problem")))
    await first.close()
    world = World(tmp_path, "steps=2")

    with pytest.raises(UserError, match=r"'another problem'.*data\.train changed"):
        await world.run()


@pytest.mark.row(22)
async def test_bad_steps_in_a_row_take_the_learner_back_and_that_is_published(tmp_path: Path):
    world = World(
        tmp_path,
        "steps=6", "max_lag=1", "sync_every=2", "learner.rollback_after=2",
        learner={"bad": (1, 2)},
    )  # fmt: skip

    assert await world.run() == 6

    assert [line for line in world.log if line.startswith(("step", "roll"))] == [
        "step 0", "step 1", "step 2", "roll back for 3", "step 3", "step 4", "step 5",
    ]  # fmt: skip
    loads = [line for line in world.log if line.startswith("load")]
    assert loads == ["load 2", "load 3", "load 4", "load 6"]
    assert world.log.index("roll back for 3") < world.log.index("load 3")
    taken = [(lease.first_ticket, lease.end_ticket) for lease in world.learner.leases]
    assert taken == [(2 * step, 2 * step + 2) for step in range(6)]
    counts = await world.queue.counts()
    assert (counts.trained, counts.dropped) == (8, {"skipped": 4})


@pytest.mark.row(22)
async def test_a_good_step_between_bad_ones_starts_the_count_again(tmp_path: Path):
    world = World(tmp_path, "steps=6", "learner.rollback_after=2", learner={"bad": (0, 2, 4)})

    assert await world.run() == 6

    assert not [line for line in world.log if line.startswith("roll back")]


async def test_steps_without_tokens_take_nobody_back(tmp_path: Path):
    world = World(tmp_path, "steps=4", "learner.rollback_after=1", learner={"skip": True})

    assert await world.run() == 4

    assert not [line for line in world.log if line.startswith("roll back")]


def test_a_step_without_tokens_neither_counts_nor_forgives():
    bad_steps = BadSteps(limit=2)
    steps = [(True, True), (True, False), (True, True), (False, False), (True, True)]

    answers = [bad_steps.should_go_back(skipped=s, diverged=d) for s, d in steps]

    assert answers == [False, False, True, False, False]


@pytest.mark.row(22)
async def test_going_back_in_vain_ends_the_run_with_one_line(tmp_path: Path):
    world = World(tmp_path, "steps=9", "learner.rollback_after=2", learner={"bad": range(1, 9)})

    with pytest.raises(UserError, match=r"2 optimizer steps.*learner\.optimizer\.lr") as failure:
        await world.run()

    assert "\n" not in str(failure.value)
    assert [line for line in world.log if line.startswith("roll back")] == ["roll back for 3"]
    assert len(world.learner.leases) == 5


async def test_after_a_good_step_the_learner_may_go_back_again(tmp_path: Path):
    world = World(tmp_path, "steps=9", "learner.rollback_after=2", learner={"bad": (1, 2, 4, 5)})

    assert await world.run() == 9

    went = [line for line in world.log if line.startswith("roll back")]
    assert went == ["roll back for 3", "roll back for 6"]


@pytest.mark.row(22)
async def test_no_checkpoint_is_made_of_weights_that_just_failed(tmp_path: Path):
    world = World(
        tmp_path,
        "steps=6", "max_lag=0", "checkpoint.every=1", "learner.rollback_after=2",
        learner={"bad": (1, 2, 5)},
    )  # fmt: skip

    await world.run()

    commits = [line for line in world.log if line.startswith(("commit", "roll"))]
    assert commits == [
        "commit 1 below 2",
        "roll back for 3",
        "commit 3 below 6",
        "commit 4 below 8",
        "commit 5 below 10",
        "commit 6 below 12",  # the end of the run
    ]


DEATHS: dict[str, dict[str, list[int]]] = {
    "before a step": {"dies_at": [3]},
    "between a step and its acknowledgement": {"dies_after": [3]},
    "before anything was committed": {"dies_after": [0]},
    "when it is to publish": {"dies_at_publishing": [3]},
    "again and again": {"dies_at": [1, 3], "dies_after": [2, 4], "dies_at_publishing": [2]},
}


@pytest.mark.parametrize("max_lag", [0, 1])
@pytest.mark.parametrize("death", DEATHS)
async def test_a_learner_that_is_lost_goes_on_from_the_checkpoint_with_the_same_groups(
    tmp_path: Path, death: str, max_lag: int
):
    world = World(tmp_path, "steps=6", f"max_lag={max_lag}", learner=DEATHS[death])

    assert await world.run() == 6

    taken = {lease.step: (lease.first_ticket, lease.end_ticket) for lease in world.learner.leases}
    assert taken == {step: (2 * step, 2 * step + 2) for step in range(6)}
    for lease in world.learner.leases:
        assert (lease.first_ticket, lease.end_ticket) == taken[lease.step]
        assert lease.num_rollouts == 2, "what was trained before is to be had again"
    counts = await world.queue.counts()
    assert (counts.trained, counts.dropped, counts.issued_groups) == (12, {}, 12)
    written = [line.split()[1] for line in world.log if line.startswith("write")]
    assert sorted(map(int, written)) == list(range(12)), "nothing is written twice"
    loads = [int(line.split()[1]) for line in world.log if line.startswith("load")]
    assert loads == [1, 2, 3, 4, 5, 6], "engines never go back, and get each version once"


@pytest.mark.parametrize("dies_in", ["send", "whole"])
async def test_a_learner_that_dies_while_engines_wait_for_it_keeps_nobody_waiting(
    tmp_path: Path, dies_in: str
):
    """Weights are streamed: the loop waits for the engines, and they for a learner that is gone."""
    deaths = {"send", "whole"} if dies_in == "whole" else {"send"}

    class Learner(globals()["Learner"]):
        async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
            if whole and "whole" in deaths and version == 3:
                deaths.remove("whole")
                raise LearnerLost("the process is gone")
            weights = await super().publish(version)
            return replace(weights, is_streamed=not whole)

        async def send(self, engines: int) -> None:
            if "send" in deaths and self.leases[-1].step == 2:
                deaths.remove("send")
                raise LearnerLost("the process is gone")

    class Generator(globals()["Generator"]):
        async def load_weights(self, weights: PublishedWeights) -> Load:
            await asyncio.sleep(0.001)
            if weights.is_streamed and weights.version == 3 and 3 not in refused:
                refused.append(3)
                raise WeightsRefused("the stream broke")
            return await super().load_weights(weights)

    refused: list[int] = []
    world = World(tmp_path, "steps=6", reader=Learner, writer=Generator)

    assert await world.run() == 6

    assert refused == [3] and not deaths
    counts = await world.queue.counts()
    counts.check()
    assert (counts.running_groups, counts.queued) == (0, 0)
    assert counts.trained >= 6, "some of it may be stale by now"
    assert world.generators[0].version == 6


async def test_a_checkpoint_is_written_while_the_next_step_is_taken(tmp_path: Path):
    world = World(tmp_path, "steps=6", "checkpoint.every=2")
    world.save_s = 0.05

    await world.run()

    assert world.log.index("step 2") < world.log.index("commit 2 below 4")
    assert world.log.index("commit 2 below 4") < world.log.index("commit 4 below 8")
    assert "commit 6 below 12" in world.log, "the end waits for it"


async def test_a_checkpoint_that_failed_is_made_up_for_at_the_next_step(tmp_path: Path):
    world = World(tmp_path, "steps=9", "checkpoint.every=4", "max_lag=0")
    world.unsaved = [4, 9]

    await world.run()

    commits = [line for line in world.log if line.startswith("commit")]
    assert commits == ["commit 5 below 10", "commit 8 below 16", "commit 9 below 18"]


async def test_a_learner_lost_while_it_saves_leaves_the_checkpoint_before(tmp_path: Path):
    world = World(tmp_path, "steps=6", "checkpoint.every=2", learner={"dies_at": [4]})
    world.save_s = 0.2

    assert await world.run() == 6

    assert "revive at 2" in world.log or "revive at 0" in world.log


@pytest.mark.parametrize("lost_in", ["step", "ack"])
async def test_a_queue_that_starts_again_lends_the_same_once_more(tmp_path: Path, lost_in: str):
    """The real queue, rebuilt of its log at the worst moment."""

    class Learner(globals()["Learner"]):
        async def step(self, lease: Lease) -> Metrics:
            if lost_in == "step" and lease.step == 2 and await start_again():
                raise LeaseLost("lease 1 of step 2 is no longer open")
            metrics = await super().step(lease)
            if lost_in == "ack" and lease.step == 2:
                await start_again()
            return metrics

    restarts: list[int] = []

    async def start_again() -> bool:
        if not restarts:
            restarts.append(1)
            await world.queue.start_again()
            return True
        return False

    world = World(tmp_path, "steps=4", reader=Learner)
    assert await world.run() == 4

    assert [lease.step for lease in world.learner.leases] == [0, 1, 2, 3], "each step once"
    counts = await world.queue.counts()
    assert (counts.trained, counts.dropped, counts.queued) == (8, {}, 0)
    await world.queue.close()
    again = ReplayQueue(str(tmp_path), world.config, Fates())
    await again.start_again()
    assert await again.counts() == counts


async def test_when_nothing_is_ever_accepted_the_run_ends_with_the_reasons(tmp_path: Path):
    world = World(tmp_path, "steps=9", "cluster.batch_patience=3", accepted=lambda ticket: 0)

    with pytest.raises(NothingToLearn, match=r"0 of 12 rollouts accepted \(wrong 12\)") as end:
        await world.run()

    assert "\n" not in str(end.value)
    assert len(world.reports.hungry) == 3
    (await world.queue.counts()).check()


async def test_a_single_accepted_rollout_makes_a_step_however_late_it_comes(tmp_path: Path):
    world = World(
        tmp_path, "steps=1", "cluster.batch_patience=4", accepted=lambda ticket: int(ticket == 7)
    )

    assert await world.run() == 1

    [lease] = world.learner.leases
    assert (lease.num_rollouts, lease.end_ticket) == (1, 8)


async def test_a_version_that_was_found_worse_takes_the_learner_back_and_that_is_kept(
    tmp_path: Path,
):
    world = World(tmp_path, "steps=6", "max_lag=0", "checkpoint.every=100", guard={"bad": [2]})

    assert await world.run() == 6

    told = ("look", "step", "roll", "load")
    assert [line for line in world.log if line.startswith(told)] == [
        "look 0", "step 0", "load 1", "step 1", "load 2", "look 2",
        "step 2", "roll back for 3", "load 3", "step 3", "load 4", "look 4",
        "step 4", "load 5", "step 5", "load 6",
    ]  # fmt: skip
    commits = [line for line in world.log if line.startswith("commit")]
    ends = {0: 0, 2: 4, 3: 6, 4: 8, 6: 12}
    assert commits == [f"commit {step} below {end}" for step, end in ends.items()]


@pytest.mark.parametrize("max_lag", [0, 1])
async def test_the_guardrail_ends_a_run_with_what_it_went_back_to(tmp_path: Path, max_lag: int):
    world = World(
        tmp_path,
        "steps=9", f"max_lag={max_lag}",
        guard={"bad": [2, 4], "last_back": 2}, learner={"delay_s": 0.002},
    )  # fmt: skip

    version = await world.run()

    went_back = [line for line in world.log if line.startswith("roll back")]
    assert went_back == ["roll back for 3", f"roll back for {version}"]
    assert world.reports.why == [f"the guardrail ended it after {version} of 9 steps"]
    assert world.generators[0].version == version
    assert f"commit {version} below {2 * version}" in world.log
    counts = await world.queue.counts()
    assert counts.trained == 2 * version


async def test_a_model_of_which_nothing_is_accepted_any_more_is_taken_back_all_the_same(
    tmp_path: Path,
):
    """No step can be filled of what it writes, and the look that sees it comes meanwhile."""
    world = World(
        tmp_path,
        "steps=6", "max_lag=0",
        accepted=lambda ticket: 0 if world.generators[0].version == 2 else 1,
        guard={"bad": [2]},
    )  # fmt: skip

    assert await world.run() == 6

    steps = [line for line in world.log if line.startswith(("step", "roll"))]
    assert steps == ["step 0", "step 1", "roll back for 3", "step 3", "step 4", "step 5"]
    assert world.log.index("look 2") < world.log.index("roll back for 3")
    counts = await world.queue.counts()
    assert (counts.trained, counts.dropped, counts.queued) == (10, {}, 0)


async def test_starving_between_two_looks_is_a_look(tmp_path: Path):
    world = World(
        tmp_path,
        "steps=5", "max_lag=0",
        accepted=lambda ticket: 0 if world.generators[0].version == 3 else 1,
        guard={"bad": [3]},
    )  # fmt: skip

    assert await world.run() == 5

    looks = [line for line in world.log if line.startswith(("look", "roll"))]
    assert looks == ["look 0", "look 2", "look 3", "roll back for 4", "look 4"]
    assert len(world.reports.hungry) == loop.STARVED


async def test_starving_without_being_worse_ends_the_run_as_ever(tmp_path: Path):
    world = World(
        tmp_path,
        "steps=5",
        "cluster.batch_patience=6",
        accepted=lambda ticket: 0,
        guard={"bad": [9]},
    )

    with pytest.raises(NothingToLearn, match="given up after"):
        await world.run()
