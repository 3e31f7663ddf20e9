"""Engines that die, hang, refuse, join and leave under the real loop and the real queue."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster import fleet
from configs.errors import PartDied, UserError
from tests.fakes import make_problem, make_ticket
from tests.unit import test_loop
from tests.unit.test_loop import Load, Stats
from verifiers.types import PublishedWeights, Ticket
from verifiers.weights_file import WeightsRefused


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fleet, "LISTEN_S", 0.002)
    monkeypatch.setattr(fleet, "BACK_OFF_S", 0.001)
    yield


class Engine(test_loop.Generator):
    """Does its work, until a test breaks one of its ways to answer."""

    def __init__(self, queue: Any, log: list[str], **_: Any) -> None:
        super().__init__(queue, log)
        self.name = "?"
        self.wrote: list[Ticket] = []
        self.loaded: list[int] = []
        self.fails: dict[str, BaseException] = {}
        self.hangs: set[str] = set()
        self.stalled_s = 0.0
        self.dismissed = False

    async def _do(self, what: str) -> None:
        if what in self.hangs:
            await asyncio.Event().wait()
        if what in self.fails:
            raise self.fails[what]

    async def start(self) -> None:
        await self._do("start")

    async def stats(self) -> Stats:
        await self._do("stats")
        return Stats(stalled_s=self.stalled_s)

    async def generate(self, ticket: Ticket) -> None:
        self.wrote.append(ticket)
        await asyncio.sleep(0.001)
        await self._do("generate")
        await super().generate(ticket)

    async def evaluate(self, problem: Any, count: int, sampling: Any) -> tuple[Any, ...]:
        await asyncio.sleep(0)
        await self._do("evaluate")
        return (problem.id, self.name)

    async def load_weights(self, weights: PublishedWeights) -> Load:
        await self._do("load")
        self.loaded.append(weights.version)
        return await super().load_weights(weights)


class Staff:
    def __init__(self) -> None:
        self.world: Any = None
        self.hired: list[tuple[int, int]] = []
        self.engines: list[Engine] = []
        self.prepare: Any = lambda engine: None
        self.room = 8

    def hire(self, number: int, seat: int) -> Engine:
        self.hired.append((number, seat))
        engine = Engine(self.world.queue, self.world.log)
        engine.name = f"generator-{number}"
        self.prepare(engine)
        self.engines.append(engine)
        return engine

    async def pid(self, engine: Engine) -> int:
        return 1

    async def dismiss(self, engine: Engine) -> None:
        engine.dismissed = True

    def require_room(self, engines: int) -> None:
        if engines > self.room:
            raise UserError(f"Ray has room for {self.room}")


class World(test_loop.World):
    def __init__(self, folder: Path, *settings: str, engines: int = 2, **fakes: Any) -> None:
        self.staff = Staff()
        wanted = [f"engine.num_engines={engines}", "cluster.engine_timeout_s=0.5"]
        fakes.setdefault("learner", {"delay_s": 0.005})
        super().__init__(
            folder, *wanted, *settings, staff=self.staff, writer=Engine, **fakes
        )  # fmt: skip
        self.staff.world = self
        for index, engine in enumerate(self.engines):
            engine.name = f"generator-{index}"

    @property
    def engines(self) -> list[Any]:
        return self.generators

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.reports.engines if name == kind]

    async def account(self) -> None:
        """Nothing lost, nothing twice, all in order."""
        counts = await self.queue.counts()
        counts.check()
        assert (counts.running_groups, counts.queued) == (0, 0)
        taken = [(lease.first_ticket, lease.end_ticket) for lease in self.learner.leases]
        assert taken == [(2 * step, 2 * step + 2) for step in range(self.config.steps)]


async def when(ready: Any) -> None:
    async with asyncio.timeout(5):
        while not ready():
            await asyncio.sleep(0.001)


BREAKS: dict[str, Any] = {
    "its engine dies while it writes": lambda e: e.fails.update(generate=PartDied("it died")),
    "it hangs while it writes": lambda e: e.hangs.update({"generate", "stats"}),
    "it computes nothing and goes on answering": lambda e: (
        e.hangs.add("generate"),
        setattr(e, "stalled_s", 9.0),
    ),
    "it dies when it is asked how it is": lambda e: e.fails.update(stats=PartDied("it died")),
    "it dies in a swap": lambda e: e.fails.update(load=PartDied("it died")),
    "it hangs in a swap": lambda e: e.hangs.add("load"),
    "it fails in a swap": lambda e: e.fails.update(load=RuntimeError("out of memory")),
}


@pytest.mark.row(1)
@pytest.mark.parametrize("max_lag", [0, 1])
@pytest.mark.parametrize("how", BREAKS)
async def test_a_lost_engine_is_dropped_and_replaced_and_nothing_is_lost(
    tmp_path: Path, how: str, max_lag: int
):
    world = World(tmp_path, "steps=8", f"max_lag={max_lag}", "sync.timeout_s=0.2")
    broken, sound = world.engines
    asyncio.get_running_loop().call_later(0.02, BREAKS[how], broken)

    assert await world.run() == 8

    await world.account()
    assert sound.loaded == list(range(1, 9))
    [lost], [joined] = world.events("engine_lost"), world.events("engine_joined")
    assert (lost["name"], joined["name"]) == ("generator-0", "generator-2")
    assert broken.dismissed
    assert world.staff.hired == [(2, 0)]
    assert joined["version"] >= max([0, *broken.loaded])
    assert world.staff.engines[0].loaded[0] == (joined["version"] or 1)


@pytest.mark.row(1)
async def test_tickets_of_a_lost_engine_go_out_as_a_further_attempt(tmp_path: Path):
    world = World(tmp_path, "steps=3", engines=1)
    [engine] = world.engines
    engine.hangs.add("generate")
    running = asyncio.create_task(world.run())
    await when(lambda: len(engine.wrote) == 4)

    engine.fails["stats"] = PartDied("it died")
    await running

    again = [t for t in world.staff.engines[0].wrote if t.attempt == 1]
    assert sorted(ticket.number for ticket in again) == [0, 1, 2, 3]
    assert [t.problem.id for t in sorted(again, key=lambda t: t.number)] == ["p0", "p1", "p2", "p3"]
    late = await world.queue.settle(test_loop.settlement(0, version=0, attempt=0))
    assert not late
    await world.account()


@pytest.mark.row(1)
async def test_a_ticket_that_was_settled_after_all_is_not_written_again(tmp_path: Path):
    world = World(tmp_path, "steps=2", "max_lag=0", engines=1)
    [engine] = world.engines
    engine.hangs.add("generate")
    running = asyncio.create_task(world.run())
    await when(lambda: len(engine.wrote) == 2)

    await world.queue.settle(test_loop.settlement(0, version=0))
    engine.fails["stats"] = PartDied("it died")
    await running

    assert 0 not in [ticket.number for ticket in world.staff.engines[0].wrote]
    await world.account()


async def test_a_deadline_behind_an_engine_ends_the_run_with_its_cause(tmp_path: Path):
    world = World(tmp_path, "steps=8")
    world.engines[1].fails["generate"] = TimeoutError("the queue")

    with pytest.raises(TimeoutError, match="the queue"):
        await world.run()

    assert world.reports.engines == []
    assert world.staff.hired == []


async def test_a_ticket_that_fails_is_tried_again_alone_and_then_is_a_dead_letter(tmp_path: Path):
    poison, together = 3, []

    class Engine(globals()["Engine"]):
        async def generate(self, ticket: Ticket) -> None:
            member = world.fleet.members[0]
            if ticket.number == poison:
                together.append(len(member.tickets))
                await asyncio.sleep(0.001)
                raise RuntimeError("it cannot be judged")
            await super().generate(ticket)

    world = World(tmp_path, "steps=6", "cluster.problem_attempts=3", engines=1)
    world.engines[0].__class__ = Engine

    assert await world.run() == 6

    [letter] = world.events("dead_letter")
    assert (letter["ticket"], letter["problem"]) == (poison, "p3")
    assert len(together) == 3 and together[-1] == 1
    assert world.staff.hired == []
    counts = await world.queue.counts()
    assert (counts.dead_groups, counts.running_groups, counts.trained) == (1, 0, 11)
    await world.account()


@pytest.mark.row(26)
@pytest.mark.parametrize("goes", ["it leaves", "it is lost"])
async def test_a_ticket_that_waits_to_be_alone_is_written_by_another_when_its_engine_goes(
    tmp_path: Path, goes: str
):
    """As the attempt that it is: nobody has begun to write it."""
    fails, release = 3, asyncio.Event()
    waiting = {0: 0, 1: 0, 2: 0, fails: 2}

    class Engine(globals()["Engine"]):
        async def generate(self, ticket: Ticket) -> None:
            if ticket.number == fails and ticket.attempt < 2:
                raise RuntimeError("it cannot be judged")
            if self.name == "generator-0":
                await release.wait()
            await super().generate(ticket)

    world = World(tmp_path, "steps=4", "cluster.problem_attempts=4", engines=1)
    world.engines[0].__class__ = Engine
    [member] = world.fleet.members
    running = asyncio.create_task(world.run())
    await when(lambda: {t.number: t.attempt for t in member.tickets.values()} == waiting)

    if goes == "it leaves":
        await world.fleet.resize(0)
        await world.fleet.resize(1)
        await when(lambda: world.staff.engines)
        release.set()
    else:
        world.engines[0].fails["stats"] = PartDied("it died")

    assert await running == 4
    await world.account()
    [other] = world.staff.engines
    assert [ticket.attempt for ticket in other.wrote if ticket.number == fails] == [2]
    assert [lost["tickets"] for lost in world.events("engine_lost")] == (
        [] if goes == "it leaves" else [3]
    )


async def test_a_ticket_that_never_comes_to_be_alone_says_what_it_waited_for(tmp_path: Path):
    world = World(tmp_path, "cluster.wait_timeout_s=0.02", engines=1)
    [member] = world.fleet.members
    member.tickets = {number: make_ticket(number) for number in range(2)}

    with pytest.raises(TimeoutError, match=r"for generator-0 to write nothing beside ticket 1$"):
        await world.fleet._alone(member, member.tickets[1])


async def test_a_ticket_that_kills_engines_takes_no_other_with_it(tmp_path: Path):
    poison = 2

    def poisoned(engine: Any) -> None:
        write = engine.generate

        async def generate(ticket: Ticket) -> None:
            if ticket.number == poison:
                raise PartDied("killed by a problem")
            await write(ticket)

        engine.generate = generate

    world = World(tmp_path, "steps=6", "cluster.problem_attempts=3", engines=1)
    world.staff.prepare = poisoned
    poisoned(world.engines[0])

    assert await world.run() == 6

    assert [letter["ticket"] for letter in world.events("dead_letter")] == [poison]
    assert len(world.staff.hired) == 3
    await world.account()


async def test_too_many_dead_letters_end_the_run_with_the_last_cause(tmp_path: Path):
    world = World(
        tmp_path, "steps=8", "cluster.problem_attempts=2", "cluster.max_dead_letters=2", engines=1
    )
    world.engines[0].fails["generate"] = RuntimeError("nothing can be judged")

    with pytest.raises(Exception, match=r"3 tickets are dead letters.*nothing can be judged"):
        await world.run()


@pytest.mark.row(1)
async def test_without_a_replacement_the_others_go_on(tmp_path: Path):
    world = World(tmp_path, "steps=4", "cluster.engine_restarts=0")
    world.engines[0].fails["generate"] = PartDied("it died")

    assert await world.run() == 4

    await world.account()
    assert world.staff.hired == []
    assert [row["state"] for row in world.fleet.rows()] == ["gone", "serving"]


async def test_when_no_engine_is_left_the_first_cause_is_told(tmp_path: Path):
    world = World(tmp_path, "steps=4", "cluster.engine_restarts=2", engines=1)
    world.engines[0].fails["generate"] = PartDied("the board burned")
    world.staff.prepare = lambda engine: engine.fails.update(start=RuntimeError("no memory"))

    with pytest.raises(RuntimeError, match=r"no engine is left, after 2 of .*the board burned"):
        await world.run()

    assert world.staff.hired == [(1, 0), (2, 0)]
    assert world.engines[0].dismissed
    assert world.staff.engines[0].dismissed
    assert len(world.events("engine_lost")) == 3


@pytest.mark.row(1)
async def test_each_replacement_waits_twice_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds >= 1:
            waits.append(seconds)
        await sleep(min(seconds, 0.001))

    monkeypatch.setattr(fleet, "BACK_OFF_S", 3.0)
    world = World(tmp_path, "steps=4", "cluster.engine_restarts=7", engines=1)
    world.engines[0].fails["generate"] = PartDied("it died")
    world.staff.prepare = lambda engine: engine.fails.update(start=OSError("full"))
    monkeypatch.setattr(fleet.asyncio, "sleep", noted)

    with pytest.raises(RuntimeError, match="no engine is left"):
        await world.run()

    assert [wait for wait in waits if wait >= 3] == [3, 6, 12, 24, 48, 60, 60]


async def test_of_many_that_are_gone_the_last_ones_are_shown_and_none_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def weak(engine: Engine) -> None:
        if len(world.staff.hired) <= 30:
            engine.fails["start"] = OSError("full")

    monkeypatch.setattr(fleet, "BACK_OFF_S", 0.0)
    world = World(tmp_path, "steps=500", "cluster.engine_restarts=40")
    world.staff.prepare = weak
    world.engines[0].fails["generate"] = PartDied("it died")
    running = asyncio.create_task(world.run())

    await when(lambda: len(world.staff.hired) == 31 and len(world.fleet.serving) == 2)
    rows = world.fleet.rows()

    assert [member.name for member in world.fleet.members] == ["generator-1", "generator-32"]
    assert [(row["name"], row["state"]) for row in rows] == [
        ("generator-1", "serving"),
        *((f"generator-{number}", "gone") for number in range(32 - fleet.GONE, 32)),
        ("generator-32", "serving"),
    ]
    assert all(engine.dismissed for engine in world.staff.engines[:30])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_while_nobody_serves_and_one_starts_everything_waits(tmp_path: Path):
    world = World(tmp_path, "steps=3", engines=1)
    world.staff.prepare = lambda engine: engine.hangs.add("start")
    world.engines[0].fails["load"] = PartDied("it died")
    running = asyncio.create_task(world.run())
    await when(lambda: world.staff.engines)
    await asyncio.sleep(0.05)

    assert not running.done()
    assert (await world.queue.counts()).running_groups == 0

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.row(2)
async def test_nobody_misses_a_version_while_it_joins(tmp_path: Path):
    world = World(tmp_path, "steps=12", learner={"delay_s": 0.002})
    world.engines[0].fails["generate"] = PartDied("it died")

    await world.run()

    [joiner] = world.staff.engines
    assert joiner.loaded == list(range(joiner.loaded[0], 13))


@pytest.mark.row(26)
async def test_engines_are_added_and_the_last_ones_leave_when_they_have_finished(tmp_path: Path):
    world = World(tmp_path, "steps=30", engines=1, learner={"delay_s": 0.004})
    running = asyncio.create_task(world.run())
    await when(lambda: world.learner.leases)

    await world.fleet.resize(3)
    await when(lambda: [bool(engine.wrote) for engine in world.staff.engines] == [True, True])
    assert world.staff.hired == [(1, 1), (2, 2)]
    last = world.staff.engines[1]
    await world.fleet.resize(2)
    await when(lambda: last.dismissed)
    wrote = len(last.wrote)
    await world.fleet.resize(3)
    await when(lambda: len(world.staff.engines) == 3)
    await running

    await world.account()
    assert world.staff.hired[2] == (3, 2)
    assert len(last.wrote) == wrote
    assert [event["name"] for event in world.events("engine_left")] == ["generator-2"]
    assert world.events("engine_lost") == []


@pytest.mark.row(26)
async def test_an_engine_that_is_not_needed_any_more_is_not_waited_for(tmp_path: Path):
    """It may be on a node that will never come."""
    world = World(tmp_path, "steps=12")
    world.staff.prepare = lambda engine: engine.hangs.add("start")
    running = asyncio.create_task(world.run())
    await when(lambda: world.learner.leases)
    await world.fleet.resize(3)
    await when(lambda: world.staff.engines)

    await world.fleet.resize(2)
    await when(lambda: world.staff.engines[0].dismissed)

    assert await running == 12
    assert [row["state"] for row in world.fleet.rows()] == ["serving", "serving", "gone"]
    [lost] = world.events("engine_lost")
    assert (lost["why"], lost["tickets"]) == ("it is not needed any more", 0)
    await world.account()


async def test_more_engines_than_there_is_room_for_are_refused_and_that_is_recorded(
    tmp_path: Path,
):
    world = World(tmp_path, "steps=4")

    await world.fleet.resize(9)

    assert world.events("scale_refused") == [{"wanted": 9}]
    assert len(world.fleet.members) == 2


@pytest.mark.row(23)
async def test_a_refused_file_comes_once_more_in_full_and_who_refuses_that_is_lost(tmp_path: Path):
    whole: list[int] = []

    class Learner(test_loop.Learner):
        async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
            if whole:
                wholes.append(version)
            published = await super().publish(version)
            return replace(published, fingerprint="whole" if whole else "")

    wholes = whole
    world = World(tmp_path, "steps=4", "max_lag=1", engines=3)
    world.parts.learner = world.learner = Learner(world.log)
    picky, stubborn, sound = world.engines

    def refusing(engine: Any, *, only_parts: bool) -> Any:
        load = engine.load_weights

        async def load_weights(weights: PublishedWeights) -> Load:
            if weights.version == 2 and not (only_parts and weights.fingerprint == "whole"):
                raise WeightsRefused("its base is missing")
            return await load(weights)

        return load_weights

    picky.load_weights = refusing(picky, only_parts=True)
    stubborn.load_weights = refusing(stubborn, only_parts=False)

    assert await world.run() == 4

    await world.account()
    assert whole in ([2], [3])
    assert set(range(1, 5)) - set(picky.loaded) <= {2}
    assert sound.loaded == [1, 2, 3, 4]
    refused = {event["name"] for event in world.events("weights_refused")}
    assert refused == {"generator-0", "generator-1"}


async def test_streamed_weights_are_sent_while_they_are_received_and_before_the_next_step(
    tmp_path: Path,
):
    class Learner(test_loop.Learner):
        async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
            self.log.append(f"publish {version}{' whole' if whole else ''}")
            self.published = await super().publish(version)
            return replace(self.published, is_streamed=not whole)

        async def send(self, engines: int) -> None:
            assert engines == 1
            self.log.append(f"send {self.published.version}")
            await asyncio.sleep(0.002)
            self.log.append(f"sent {self.published.version}")

    world = World(tmp_path, "steps=6", "max_lag=1", engines=1)
    world.parts.learner = world.learner = Learner(world.log)
    running = asyncio.create_task(world.run())
    await when(lambda: world.engines[0].loaded == [1, 2])
    world.engines[0].fails["load"] = PartDied("it died")

    assert await running == 6

    await world.account()
    log = [line for line in world.log if not line.startswith(("write", "commit"))]
    for version in range(1, 6):
        assert log.index(f"sent {version}") < log.index(f"step {version}")
    assert [line for line in log if line.endswith("whole")] == ["publish 3 whole"]
    assert world.staff.engines[0].loaded == [3, 4, 5, 6]


async def test_an_evaluation_asks_the_others_what_a_lost_engine_was_asked(tmp_path: Path):
    world = World(tmp_path, "steps=4")
    world.engines[0].fails["evaluate"] = PartDied("it died")
    sampling: Any = None

    answers = await asyncio.gather(
        *(world.fleet.evaluate(make_problem(f"p{number}"), 1, sampling) for number in range(6))
    )

    assert answers == [(f"p{number}", "generator-1") for number in range(6)]
    world.engines[1].fails["evaluate"] = PartDied("it died too")
    with pytest.raises(RuntimeError, match=r"no engine is left.*generator-0: it died"):
        await world.fleet.evaluate(make_problem("p0"), 1, sampling)


@pytest.mark.row(3)
async def test_a_silent_engine_shows_what_it_said_last_and_for_how_long_it_has_been_silent(
    tmp_path: Path,
):
    world = World(tmp_path, "cluster.engine_timeout_s=60", "steps=4", engines=1)
    running = asyncio.create_task(world.run())
    world.engines[0].hangs.update({"generate", "stats"})
    await asyncio.sleep(0.15)

    [row] = world.fleet.rows()

    assert (row["name"], row["state"], row["version"]) == ("generator-0", "serving", 0)
    assert row["silent_s"] >= 0.1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
