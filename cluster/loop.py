"""The pipeline, written once against protocols: no Ray, no torch, no vLLM.

    source ─ tickets ─► generators ─► judge ─► queue ─ lease ─► learner
               ▲            ▲                    │                 │
               └── room ────┼────────────────────┘                 │
                            └────── weights, version v+1 ◄─────────┘

This process only says *when*. Tokens go from generator to judge to queue to learner, and weights
from learner to generators, without passing through here.

    loop       waits for                                   is released by
    feed       room at the gate of the queue               a lease taken, a version published
    generate   a ticket; a free slot of its engine         feed; a group settled
    learn      groups settled, in ticket order             the judge
    sync       published weights                           learn
    watch      the clock                                   the clock

``learn`` is the finite clock: it ends the run. Any other loop that ends is a failure.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cluster.bad_steps import BadSteps
from configs.errors import UserError
from configs.schema import RunConfig
from verifiers.types import Lease, Problem, PublishedWeights, Ticket

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Draws(Protocol):
    def draw(self) -> Problem | None: ...
    def seek(self, cursor: int) -> None: ...


class Queues(Protocol):
    async def num_issued(self) -> int: ...
    async def issue(self, number: int, problem_id: str) -> int: ...
    async def end_of_data(self, number: int) -> None: ...
    async def lease(self, step: int) -> Lease: ...
    async def ack(self, lease: Lease, *, skipped: bool) -> None: ...
    async def published(self, version: int) -> None: ...


class Generates(Protocol):
    async def generate(self, ticket: Ticket) -> None: ...
    async def load_weights(self, weights: PublishedWeights) -> "Loaded": ...


class Loaded(Protocol):
    """What an engine says of a swap of its weights."""

    @property
    def stall_s(self) -> float: ...
    @property
    def prepare_s(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def in_flight(self) -> int: ...


class Stepped(Protocol):
    """What the learner says of one optimizer step."""

    @property
    def skipped(self) -> bool: ...
    @property
    def diverged(self) -> bool: ...


class Learns(Protocol):
    async def step(self, lease: Lease) -> Stepped: ...
    async def publish(self, version: int) -> PublishedWeights: ...


class Reports(Protocol):
    async def waiting(self, lease: Lease) -> None: ...
    async def stepped(self, lease: Lease, metrics: Stepped, times: "StepTimes") -> None: ...
    async def synced(self, weights: PublishedWeights, loads: Sequence[Loaded]) -> None: ...
    async def heartbeat(self) -> None: ...
    async def ended(self, why: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Microseconds since the epoch: the phases of one turn of ``learn``, end to end."""

    asked_us: int
    leased_us: int
    stepped_us: int
    published_us: int


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that the loops wire together."""

    config: RunConfig
    source: Draws
    queue: Queues
    generators: Sequence[Generates]
    learner: Learns
    reports: Reports
    checkpoint: Callable[[int, int], Awaitable[None]]
    """Commit this version, in which every ticket below the second number is trained."""
    roll_back: Callable[[int], Awaitable[None]]
    """Give the learner the newest checkpoint's weights, as this version."""
    evaluate: Callable[[int], Awaitable[None]]
    """Evaluate the version that the engines hold."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: finish the step under way, commit it, and end."""
    tickets: asyncio.Queue[Ticket] = field(default_factory=lambda: asyncio.Queue(maxsize=1))
    outbox: asyncio.Queue[PublishedWeights] = field(default_factory=lambda: asyncio.Queue(1))


async def run(parts: Parts, *, start: int, reissue: dict[int, str]) -> int:
    """Train from version ``start``; returns the version reached. ``reissue``: tickets left over."""
    clock = asyncio.create_task(learn(parts, start), name="learn")
    others = [
        asyncio.create_task(feed(parts, reissue), name="feed"),
        asyncio.create_task(sync(parts, start), name="sync"),
        asyncio.create_task(watch(parts), name="watch"),
        *(
            asyncio.create_task(generate(parts, generator), name=f"generate {index}")
            for index, generator in enumerate(parts.generators)
        ),
    ]
    try:
        done, _ = await asyncio.wait([clock, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {clock}:
            task.result()
            raise RuntimeError(f"the {task.get_name()} loop ended before the learner did")
        return clock.result()
    finally:
        for task in (clock, *others):
            task.cancel()
        await asyncio.gather(clock, *others, return_exceptions=True)


async def feed(parts: Parts, reissue: dict[int, str]) -> None:
    """Hand out the tickets a crash left over, then new ones, as the queue's gate allows."""
    for number, problem_id in sorted(reissue.items()):
        parts.source.seek(number)
        problem = parts.source.draw()
        if problem is None or problem.id != problem_id:
            raise UserError(
                f"ticket {number} was problem {problem_id!r} and is now "
                f"{problem and problem.id!r}: data.train changed since the run began"
            )
        await _hand_out(parts, number, problem)
    number = await parts.queue.num_issued()
    parts.source.seek(number)
    while (problem := parts.source.draw()) is not None:
        await _hand_out(parts, number, problem)
        number += 1
    await parts.queue.end_of_data(number)
    await asyncio.Event().wait()  # learn ends the run, not the end of the data


async def _hand_out(parts: Parts, number: int, problem: Problem) -> None:
    attempt = await parts.queue.issue(number, problem.id)
    await parts.tickets.put(
        Ticket(
            number=number,
            attempt=attempt,
            problem=problem,
            size=parts.config.group_size,
            budget=parts.config.filter.length_budget,
        )
    )


async def generate(parts: Parts, generator: Generates) -> None:
    """Keep one engine full: as many groups as it decodes at once, and as many again waiting."""
    per_engine = parts.config.engine.max_num_seqs / parts.config.group_size
    slots = asyncio.Semaphore(max(2, round(2 * per_engine)))
    try:
        async with asyncio.TaskGroup() as groups:
            while True:
                await slots.acquire()
                ticket = await parts.tickets.get()
                group = groups.create_task(
                    within(
                        generator.generate(ticket),
                        parts.config.cluster.wait_timeout_s,
                        f"the group of ticket {ticket.number}",
                    )
                )
                group.add_done_callback(lambda _: slots.release())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def learn(parts: Parts, start: int) -> int:
    """One optimizer step after another; returns the last version, published and committed."""
    config = parts.config
    version = published = committed = start
    bad_steps = BadSteps(config.learner.rollback_after)
    end_ticket = 0
    while version < config.steps and not parts.stop.is_set():
        asked = now_us()
        lease = await _lease(parts, version)
        end_ticket = lease.end_ticket
        if lease.num_rollouts == 0:
            await parts.queue.ack(lease, skipped=True)
            await parts.reports.ended(f"the data ended after {version} of {config.steps} steps")
            break
        leased = now_us()
        metrics = await within(
            parts.learner.step(lease), config.cluster.wait_timeout_s, f"optimizer step {version}"
        )
        await parts.queue.ack(lease, skipped=metrics.skipped)
        stepped = now_us()
        version += 1
        goes_back = bad_steps.should_go_back(skipped=metrics.skipped, diverged=metrics.diverged)
        if goes_back:
            await parts.roll_back(version)
        if goes_back or version % config.sync_every == 0:
            await _publish(parts, version)
            published = version
        times = StepTimes(
            asked_us=asked, leased_us=leased, stepped_us=stepped, published_us=now_us()
        )
        await parts.reports.stepped(lease, metrics, times)
        if version % config.checkpoint.every == 0 and bad_steps.in_a_row == 0:
            await parts.checkpoint(version, end_ticket)
            committed = version
    if published < version:
        await _publish(parts, version)
    if committed < version:
        await parts.checkpoint(version, end_ticket)
    await within(parts.outbox.join(), config.cluster.wait_timeout_s, "the engines' last weights")
    return version


async def _lease(parts: Parts, step: int) -> Lease:
    """Enough accepted groups for one step. A batch without any is normal: take the next as well."""
    while not (lease := await parts.queue.lease(step)).is_ready:
        await parts.reports.waiting(lease)
    return lease


async def _publish(parts: Parts, version: int) -> None:
    limit = parts.config.cluster.wait_timeout_s
    await within(parts.outbox.join(), limit, "the engines to take the weights before these")
    weights = await within(
        parts.learner.publish(version), limit, f"version {version} to be written"
    )
    await parts.outbox.put(weights)


async def sync(parts: Parts, start: int) -> None:
    """Bring every published version to every engine while they write; evaluate where it is due."""
    if start == 0:
        await parts.evaluate(0)
    while True:
        weights = await parts.outbox.get()
        loads = await within(
            asyncio.gather(*(g.load_weights(weights) for g in parts.generators)),
            parts.config.cluster.wait_timeout_s,
            f"the engines to load version {weights.version}",
        )
        await parts.queue.published(weights.version)
        await parts.reports.synced(weights, loads)
        every = parts.config.eval.every
        if every and weights.version % every == 0 and weights.version < parts.config.steps:
            await parts.evaluate(weights.version)
        parts.outbox.task_done()


async def watch(parts: Parts) -> None:
    while True:
        await parts.reports.heartbeat()
        await asyncio.sleep(1)


async def within(awaitable: Awaitable[T], seconds: float, what: str) -> T:
    """Every wait has a deadline, and says what it waited for.

    Not ``asyncio.wait_for``: before Python 3.12 it loses a cancellation that comes with the result.
    """
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError as error:
        if str(error):
            raise  # a deadline below this one, with its own words
        raise TimeoutError(f"waited {seconds:.0f} s for {what}") from None


def now_us() -> int:
    return time.time_ns() // 1000
