"""The engines of a run: they start, write, are lost, are replaced and leave, while the run goes on.

    starting ─► serving ─► leaving ─► gone
        └──────────┴──────────┴──► lost: gone, its tickets go out again, another one starts

A member is lost when its process or its engine died, when it says nothing, or computes nothing, for
``cluster.engine_timeout_s``, and when it takes longer than ``sync.timeout_s`` for new weights. What
fails behind an engine, in a judge or in the queue, is no loss of an engine.

A ticket is tried ``cluster.problem_attempts`` times when engines die of it or it cannot be written
or judged; from the second time on alone, so that no other ticket is taken for the cause. Then it is
a dead letter. Too many of those end the run, and so does a deadline.

Whoever joins loads the newest published weights before its first ticket, under the lock that every
publication takes, so that nobody misses a version. Nothing here knows Ray or vLLM.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from typing import Any, Literal, Protocol, TypeVar

from cluster.back_off import BackOff
from cluster.loop import within
from cluster.neighbours import Desk, Loaded
from configs.errors import PartDied, UserError
from configs.schema import RunConfig
from verifiers.types import EvalSample, Problem, PublishedWeights, Sampling, Ticket
from verifiers.weights_file import WeightsRefused

T = TypeVar("T")
State = Literal["starting", "serving", "leaving", "gone"]

LISTEN_S = 1.0
"""How often a member is asked how it is."""

BACK_OFF_S = 1.0
"""Before the first replacement; see cluster/back_off.py for the further ones."""

GONE = 16
"""Members that are gone and are still shown, the last ones."""


class Lost(Exception):
    """A member is; only what was asked of the member itself raises it."""


class TooManyDeadLetters(Exception):
    """What fails so often is no fault of a problem."""


class Engine(Protocol):
    """``PartDied``, of any of these, says that this engine is gone."""

    async def start(self) -> None: ...
    async def generate(self, ticket: Ticket) -> None: ...
    async def evaluate(
        self, problem: Problem, count: int, sampling: Sampling
    ) -> tuple[EvalSample, ...]: ...
    async def load_weights(self, weights: PublishedWeights) -> Loaded: ...
    async def stats(self) -> Any:
        """A dataclass; its ``stalled_s`` says for how long it has computed nothing."""
        ...


class Staff(Protocol):
    def hire(self, number: int, seat: int) -> Engine:
        """A process for engine ``number``, where the one that had this seat before was."""
        ...

    async def pid(self, engine: Engine) -> int: ...

    async def dismiss(self, engine: Engine) -> None:
        """End its process, whatever state that is in."""
        ...

    def require_room(self, engines: int) -> None:
        """Raise ``UserError`` unless there is room for so many."""
        ...


class Reports(Protocol):
    async def changed(self, kind: str, note: str, **fields: Any) -> None: ...


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    number: int
    """Never given to another one."""
    seat: int
    engine: Engine | None = None
    state: State = "starting"
    version: int = 0
    stats: Any = None
    heard: float = field(default_factory=time.monotonic)
    """When it last answered."""
    tickets: dict[int, Ticket] = field(default_factory=dict)
    """What it is writing."""
    asked: int = 0
    """Problems of an evaluation that it has to answer."""
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Done: nobody waits for its answers any more; why that is."""
    is_replaced: bool = False

    @property
    def name(self) -> str:
        return f"generator-{self.number}"

    @property
    def at_work(self) -> Engine:
        assert self.engine is not None, f"{self.name} has not been hired"
        return self.engine

    def lose(self, why: str) -> None:
        self.state = "gone"
        if not self.lost.done():
            self.lost.set_result(why)

    async def answer(self, call: Coroutine[Any, Any, T]) -> T:
        """What it says, unless it is lost before."""
        answer = asyncio.create_task(call)
        try:
            await asyncio.wait([answer, self.lost], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Lost(self.lost.result())
            return answer.result()
        except PartDied as error:
            raise Lost(str(error)) from error
        finally:
            answer.cancel()

    def row(self) -> dict[str, Any]:
        """As ``state.json`` has it; of a silent one what it said last."""
        return {
            "name": self.name,
            "state": self.state,
            **(asdict(self.stats) if self.stats is not None else {}),
            "version": self.version,
            "silent_s": 0.0 if self.state == "gone" else round(time.monotonic() - self.heard, 1),
        }


class Fleet:
    def __init__(
        self, config: RunConfig, staff: Staff, reports: Reports, engines: Sequence[Engine]
    ) -> None:
        """``engines``: have started, with the model's own weights."""
        self._config = config
        self._staff = staff
        self._reports = reports
        self.members = [
            Member(number=index, seat=index, engine=engine, state="serving")
            for index, engine in enumerate(engines)
        ]
        """But for those that are gone and have been seen to."""
        self._gone: deque[tuple[int, dict[str, Any]]] = deque(maxlen=GONE)
        """Their numbers and last rows."""
        self._hired = len(self.members)
        self._restarts = 0
        self._back_off = BackOff(BACK_OFF_S)
        self._first_loss: str | None = None
        self._failures: Counter[int] = Counter()
        """By ticket: how often it was not written, or not judged."""
        self._newest: PublishedWeights | None = None
        self._lives: asyncio.TaskGroup | None = None
        """While there are tickets to write: what every member does."""
        self._swapping = asyncio.Lock()
        self._joined = asyncio.Event()

    @property
    def serving(self) -> list[Member]:
        return [member for member in self.members if member.state == "serving"]

    @property
    def active(self) -> list[Member]:
        """Those that write, or will."""
        return [member for member in self.members if member.state in ("starting", "serving")]

    async def generate(self, desk: Desk) -> None:
        """Write what the tickets ask for, for ever. Raises when no engine is left."""
        self._desk = desk
        try:
            async with asyncio.TaskGroup() as self._lives:
                for member in self.members:
                    self._lives.create_task(self._live(member))
                await asyncio.Event().wait()
        except ExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            self._lives = None
            for member in self.members:
                if member.state == "starting":
                    member.lose("the run has ended")

    async def begin(self, weights: PublishedWeights) -> None:
        """The weights that a resumed run goes on with, before there is anything to write."""
        self._newest = weights
        await asyncio.gather(*(self._swap(member, weights) for member in self.serving))

    async def load(self, weights: PublishedWeights) -> list[Loaded]:
        """To every member that serves, at once; returns when all that are left serve with them, and
        at least one does."""
        async with self._swapping:
            self._newest = weights
            sending = [self._send(weights, len(self.serving))] if weights.is_streamed else []
            loads = [self._load(member, weights) for member in self.serving]
            reports = (await asyncio.gather(*loads, *sending))[: len(loads)]
        done = [report for report in reports if report is not None]
        if self._config.max_lag == 0:
            assert not any(report.in_flight for report in done), "exact mode: nothing is in flight"
        await self._someone_serves()
        return done

    async def resize(self, wanted: int) -> None:
        """Add engines, or let the last ones leave: they finish what they write."""
        active = self.active
        try:
            self._staff.require_room(wanted)
        except UserError as error:
            await self._reports.changed(
                "scale_refused", f"still {len(active)} engines: {error}", wanted=wanted
            )
            return
        for member in active[wanted:]:
            is_here = member.state == "serving"
            member.state = "leaving"
            member.leave.set()
            if not is_here:  # it may wait for a node that will never come
                member.lose("it is not needed any more")
        for _ in range(len(active), wanted):
            taken = {member.seat for member in self.active}
            self._add(seat=next(seat for seat in range(wanted) if seat not in taken))

    async def evaluate(
        self, problem: Problem, count: int, sampling: Sampling
    ) -> tuple[EvalSample, ...]:
        """Of the member with the least to answer; when that is lost, of another one."""
        while True:
            await self._someone_serves()
            member = min(self.serving, key=lambda member: member.asked)
            member.asked += 1
            try:
                return await member.answer(member.at_work.evaluate(problem, count, sampling))
            except Lost as loss:
                self._lose(member, str(loss))
            finally:
                member.asked -= 1

    def rows(self) -> list[dict[str, Any]]:
        here = [(member.number, member.row()) for member in self.members]
        return [row for _, row in sorted([*self._gone, *here], key=itemgetter(0))]

    # One member's life.

    async def _live(self, member: Member, delay_s: float = 0.0) -> None:
        try:
            async with asyncio.TaskGroup() as duties:
                besides = [duties.create_task(_until_lost(member))]
                if member.state == "starting":
                    await asyncio.sleep(delay_s)
                    await self._join(member)
                besides.append(duties.create_task(self._listen(member)))
                await self._write(member)
                for duty in besides:
                    duty.cancel()
        except ExceptionGroup as failures:
            if not isinstance(failure := _first(failures), Lost):
                raise failure from None
            self._lose(member, str(failure))
            await self._bury(member)
        else:
            member.lose("it has left")
            await self._reports.changed("engine_left", f"{member.name} has left", name=member.name)
            await self._dismiss(member)

    async def _join(self, member: Member) -> None:
        began = time.monotonic()
        try:
            member.engine = self._staff.hire(member.number, member.seat)
            limit = self._config.cluster.start_timeout_s
            starting = member.answer(member.engine.start())
            await within(starting, limit, f"{member.name} to start")
            pid = await self._staff.pid(member.engine)
        except (RuntimeError, OSError, ValueError) as error:
            raise Lost(str(error)) from error
        async with self._swapping:
            if self._newest is not None:
                streamed = self._newest.is_streamed  # to others: it comes too late for them
                weights = await self._desk.whole() if streamed else self._newest
                await self._take_over(member, weights)
            if not member.leave.is_set():
                member.state = "serving"
                self._joined.set()
        seconds = round(time.monotonic() - began, 2)
        await self._reports.changed(
            "engine_joined",
            f"{member.name} has joined at version {member.version}",
            name=member.name, version=member.version, seconds=seconds, pid=pid,
        )  # fmt: skip

    async def _write(self, member: Member) -> None:
        """Until it is told to leave, and has finished what it began."""
        async with asyncio.TaskGroup() as groups:
            taking = groups.create_task(self._take_tickets(member, groups))
            await member.leave.wait()
            taking.cancel()

    async def _take_tickets(self, member: Member, groups: asyncio.TaskGroup) -> None:
        """Keep it full: as many groups as it decodes at once, and as many again waiting."""
        per_engine = self._config.engine.max_num_seqs / self._config.group_size
        slots = asyncio.Semaphore(max(2, round(2 * per_engine)))
        while True:
            await slots.acquire()
            ticket = await self._desk.tickets.get()
            member.tickets[ticket.number] = ticket
            if self._failures[ticket.number] > 1:
                await self._alone(member, ticket)
            group = groups.create_task(self._group(member, ticket))
            group.add_done_callback(lambda _: slots.release())
            if self._failures[ticket.number] > 1:
                await asyncio.wait([group])

    async def _alone(self, member: Member, ticket: Ticket) -> None:
        """Until the member writes nothing else; if it is to go meanwhile, others get the ticket."""

        async def until_alone() -> None:
            while set(member.tickets) != {ticket.number}:
                await asyncio.sleep(LISTEN_S / 10)

        limit = self._config.cluster.wait_timeout_s
        what = f"{member.name} to write nothing beside ticket {ticket.number}"
        try:
            await within(until_alone(), limit, what)
        except asyncio.CancelledError:
            self._desk.tickets.put(member.tickets.pop(ticket.number))
            raise

    async def _group(self, member: Member, ticket: Ticket) -> None:
        try:
            await within(
                member.answer(member.at_work.generate(ticket)),
                self._config.cluster.wait_timeout_s,
                f"the group of ticket {ticket.number}",
            )
        except RuntimeError as error:  # of this group: what is behind the engine says so
            await self._write_again(ticket, str(error))
        del member.tickets[ticket.number]

    async def _listen(self, member: Member) -> None:
        limit = self._config.cluster.engine_timeout_s
        while True:
            try:
                async with asyncio.timeout(limit):
                    member.stats = await member.answer(member.at_work.stats())
            except TimeoutError:
                raise Lost(f"it has said nothing for {limit:.0f} s") from None
            member.heard = time.monotonic()
            if member.stats.stalled_s > limit:
                raise Lost(f"it has computed nothing for {limit:.0f} s")
            await asyncio.sleep(LISTEN_S)

    # When one is lost.

    def _lose(self, member: Member, why: str) -> None:
        """At once there is another one in its place, so that whoever waits knows for whom."""
        if member.lost.done():
            return
        member.lose(why)
        self._first_loss = self._first_loss or f"{member.name}: {why}"
        may_restart = self._restarts < self._config.cluster.engine_restarts
        if may_restart and not member.leave.is_set():
            self._add(seat=member.seat, delay_s=self._back_off.next_s())
            self._restarts += 1
            member.is_replaced = True

    async def _bury(self, member: Member) -> None:
        why, what_now = member.lost.result(), "another one starts"
        if not member.is_replaced:
            what_now = "it is not replaced"
        tickets, member.tickets = list(member.tickets.values()), {}
        await self._reports.changed(
            "engine_lost",
            f"{member.name} is lost: {why}; {what_now}, {len(tickets)} groups are written again",
            name=member.name, why=why, tickets=len(tickets),
        )  # fmt: skip
        if not self.active:
            raise RuntimeError(self._nobody_left())
        assert self._lives is not None
        for ticket in tickets:
            self._lives.create_task(self._write_again(ticket, f"{member.name} is lost: {why}"))
        await self._dismiss(member)

    async def _dismiss(self, member: Member) -> None:
        if member.engine is not None:
            await self._staff.dismiss(member.engine)
        self.members.remove(member)
        self._gone.append((member.number, member.row()))

    def _add(self, *, seat: int, delay_s: float = 0.0) -> None:
        member = Member(number=self._hired, seat=seat)
        self._hired += 1
        self.members.append(member)
        if self._lives is not None:
            self._lives.create_task(self._live(member, delay_s))

    async def _write_again(self, ticket: Ticket, why: str) -> None:
        """A late result of the attempt before is refused by the queue from now on."""
        self._failures[ticket.number] += 1
        if self._failures[ticket.number] >= self._config.cluster.problem_attempts:
            await self._give_up(ticket, why)
            return
        attempt = await self._desk.issue(ticket)
        if attempt is not None:
            self._desk.tickets.put(replace(ticket, attempt=attempt))

    async def _give_up(self, ticket: Ticket, why: str) -> None:
        problem, limit = ticket.problem.id, self._config.cluster.max_dead_letters
        cause = f"problem {problem!r} failed {self._failures.pop(ticket.number)} times: {why}"
        num_dead = await self._desk.give_up(ticket, why)
        await self._reports.changed(
            "dead_letter",
            f"ticket {ticket.number} is a dead letter: {cause}",
            ticket=ticket.number, problem=problem, why=why,
        )  # fmt: skip
        if num_dead > limit:
            raise TooManyDeadLetters(
                f"{num_dead} tickets are dead letters, above cluster.max_dead_letters={limit}; "
                f"the last: {cause}"
            )

    def _nobody_left(self) -> str:
        return (
            f"no engine is left, after {self._restarts} of cluster.engine_restarts="
            f"{self._config.cluster.engine_restarts} replacements; first: {self._first_loss}"
        )

    async def _someone_serves(self) -> None:
        while not self.serving:
            if not self.active or self._lives is None:
                raise RuntimeError(self._nobody_left())
            self._joined.clear()
            # A start has a deadline of its own, and then says more.
            limit = 2 * self._config.cluster.start_timeout_s
            await within(self._joined.wait(), limit, "an engine to replace the one that was lost")

    # Weights.

    async def _load(self, member: Member, weights: PublishedWeights) -> Loaded | None:
        """What it said of it; None: it is lost."""
        try:
            return await self._take_over(member, weights)
        except Lost as loss:
            self._lose(member, str(loss))
            return None

    async def _take_over(self, member: Member, weights: PublishedWeights) -> Loaded:
        """What an engine refuses comes once more in full; who refuses that is lost."""
        try:
            return await self._swap(member, weights)
        except WeightsRefused as refusal:
            await self._reports.changed(
                "weights_refused", f"{member.name}: {refusal}", name=member.name
            )
        self._newest = await self._desk.whole()
        try:
            return await self._swap(member, self._newest)
        except WeightsRefused as refusal:
            raise Lost(str(refusal)) from refusal

    async def _swap(self, member: Member, weights: PublishedWeights) -> Loaded:
        limit = self._config.sync.timeout_s
        what = f"{member.name} to load version {weights.version}"
        try:
            loading = member.answer(member.at_work.load_weights(weights))
            report = await within(loading, limit, what)
        except (RuntimeError, OSError) as error:  # it has no third way to fail, beside refusing
            raise Lost(str(error)) from error
        member.version = weights.version
        return report

    async def _send(self, weights: PublishedWeights, engines: int) -> None:
        """When it fails the engines refuse what they got of it, and ask for it in full."""
        try:
            await self._desk.send(engines)
        except (RuntimeError, OSError) as error:
            await self._reports.changed(
                "sending_failed", f"version {weights.version} was not sent: {error}"
            )


async def _until_lost(member: Member) -> None:
    raise Lost(await asyncio.shield(member.lost))  # whoever gives up waiting does not undo it


def _first(failures: BaseExceptionGroup) -> BaseException:
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
