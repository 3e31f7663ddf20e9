"""The pipeline, written once against protocols: no Ray, no torch, no vLLM.

    source ─ tickets ─► generators ─► judge ─► queue ─ lease ─► learner
               ▲            ▲                    │                 │
               └── room ────┼────────────────────┘                 │
                            └────── weights, version v+1 ◄─────────┘

This process only says *when*. Tokens go from generator to judge to queue to learner, and weights
from learner to generators, without passing through here.

    loop       waits for                                   is released by
    feed       an engine that wants a ticket;              generate;
               room at the gate of the queue               a lease taken, a version published
    generate   a ticket; a free slot of its engine         feed; a group settled
    learn      groups settled, in ticket order             the judge
    sync       published weights                           learn
    watch      the clock                                   the clock
    supervise  the clock; an answer of each part           the clock

``learn`` is the finite clock: it ends the run. Any other loop that ends is a failure. ``generate``
is one loop for each engine there is just now; cluster/fleet.py has them, and what becomes of
engines that die.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from cluster.bad_steps import BadSteps
from cluster.neighbours import (
    Desk,
    Draws,
    Engines,
    Guards,
    Issued,
    LearnerLost,
    Learns,
    NothingToLearn,
    Queues,
    Reports,
    Stepped,
    StepTimes,
)
from cluster.tickets import Tickets
from configs.errors import LeaseLost
from configs.schema import RunConfig
from verifiers.types import Lease, PublishedWeights, Ticket

T = TypeVar("T")

TOGETHER = 256
"""Tickets that go into the log at once: whoever settles a group meanwhile waits for all of them."""

STARVED = 4
"""Batches without an accepted rollout after which the guardrail looks at once."""


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that the loops wire together."""

    config: RunConfig
    source: Draws
    queue: Queues
    engines: Engines
    learner: Learns
    reports: Reports
    checkpoint: Callable[[int, int], Awaitable[Awaitable[bool]]]
    """Take a copy of this version, in which every ticket below the second number is trained; what
    it returns is the rest of the work, and says at last whether the version is committed."""
    roll_back: Callable[[int], Awaitable[None]]
    """Give the learner the newest checkpoint's weights, as this version; the newest good ones, if
    the guardrail wants that."""
    revive: Callable[[LearnerLost], Awaitable[int]]
    """Start the learner again, with the newest checkpoint; returns the version it holds."""
    evaluate: Callable[[int], Awaitable[None]]
    """Evaluate the version that the engines hold."""
    guard: Guards
    look: Callable[[], Awaitable[None]]
    """See to the parts that may hang, every second."""
    wanted_engines: Callable[[], int | None]
    """How many engines somebody has asked for since it was last asked."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: finish the step under way, commit it, and end."""
    tickets: Tickets = field(default_factory=Tickets)
    outbox: asyncio.Queue[PublishedWeights] = field(default_factory=lambda: asyncio.Queue(1))
    version: int = 0
    """What the learner holds."""
    published: int = 0
    """The newest version that was given to the engines."""
    committed: int = 0
    """The newest version that is on disk for good."""
    committing: asyncio.Task[None] | None = None
    """The checkpoint that is being written."""
    must_commit: bool = False
    """The last one could not be: the next step tries again."""
    learner_is_there: asyncio.Event = field(default_factory=asyncio.Event)
    loss: asyncio.Future[LearnerLost] | None = None
    """Done by whoever else finds out that the learner is gone."""
    learner_turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Whoever asks the learner for anything has it: one call at a time, and of a known version."""
    whole: PublishedWeights | None = None
    """The last weights that were published in full because an engine could use nothing else."""


async def run(parts: Parts, *, start: int, reissue: Sequence[Issued]) -> int:
    """Train from version ``start``; returns the version reached. ``reissue``: tickets left over."""
    parts.version = parts.published = parts.committed = start
    parts.learner_is_there.set()
    desk = Desk(
        tickets=parts.tickets,
        issue=parts.queue.issue,
        give_up=parts.queue.give_up,
        whole=partial(_whole, parts),
        send=partial(_send, parts),
    )
    clock = asyncio.create_task(learn(parts, start), name="learn")
    others = [
        asyncio.create_task(parts.engines.generate(desk), name="generate"),
        asyncio.create_task(feed(parts, reissue), name="feed"),
        asyncio.create_task(sync(parts, start), name="sync"),
        asyncio.create_task(watch(parts), name="watch"),
        asyncio.create_task(supervise(parts), name="supervise"),
    ]
    try:
        done, _ = await asyncio.wait([clock, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {clock}:
            task.result()
            raise RuntimeError(f"the {task.get_name()} loop ended before the learner did")
        return clock.result()
    finally:
        if parts.committing is not None:
            others.append(parts.committing)
        for task in (clock, *others):
            task.cancel()
        await asyncio.gather(clock, *others, return_exceptions=True)


async def feed(parts: Parts, reissue: Sequence[Issued]) -> None:
    """Hand out the tickets a crash left over, then new ones, as the queue's gate allows. What a
    ticket asks is decided when there is room for it, and not before: then most is known."""
    for record in reissue:
        ticket = parts.source.again(record)
        await parts.tickets.wanted()
        await parts.queue.room(ticket.number)
        await _hand_out(parts, [ticket])
    number = await parts.queue.num_issued()
    while True:
        await parts.tickets.wanted()
        room = await parts.queue.room(number)
        # As many as somebody waits for: they share one wait for the disk, and none is decided
        # earlier than it would be alone.
        count = min(max(1, parts.tickets.num_wanted), room.below - number, TOGETHER)
        drawn = [parts.source.draw(number + ahead, room.version) for ahead in range(count)]
        tickets = [ticket for ticket in drawn if ticket is not None]
        await _hand_out(parts, tickets)
        number += len(tickets)
        if len(tickets) < count:
            break
    await parts.queue.end_of_data(number)
    await asyncio.Event().wait()  # learn ends the run, not the end of the data


async def _hand_out(parts: Parts, tickets: Sequence[Ticket]) -> None:
    attempts = await parts.queue.issue_all(tickets)
    for ticket, attempt in zip(tickets, attempts, strict=True):
        if attempt is not None:  # None: somebody has settled it
            parts.tickets.put(replace(ticket, attempt=attempt))


async def learn(parts: Parts, start: int) -> int:
    """Train to the last version, published and committed; a learner that is lost begins once more
    with the newest checkpoint, and the same groups."""
    while True:
        try:
            return await _one_life(parts, start)
        except LearnerLost as loss:
            parts.learner_is_there.clear()
            await _drop_commit(parts)
            start = parts.version = parts.committed = await parts.revive(loss)
            parts.whole = None
            parts.learner_is_there.set()


async def _one_life(parts: Parts, start: int) -> int:
    parts.loss = asyncio.get_running_loop().create_future()
    training = asyncio.create_task(_train(parts, start))
    try:
        await asyncio.wait({training, parts.loss}, return_when=asyncio.FIRST_COMPLETED)
        if not training.done():  # it waits for engines that wait for the learner
            raise parts.loss.result()
        return training.result()
    finally:
        training.cancel()
        await asyncio.gather(training, return_exceptions=True)


async def _train(parts: Parts, version: int) -> int:
    """One optimizer step after another."""
    config = parts.config
    bad_steps = BadSteps(config.learner.rollback_after)
    end_ticket = 0
    if version == 0 and parts.guard.is_on:  # the first good version to go back to
        await _commit(parts, version, end_ticket)
    while version < config.steps and not (parts.stop.is_set() or parts.guard.is_over):
        asked = now_us()
        lease = await _lease(parts, version)
        end_ticket = lease.end_ticket
        await _tell_source(parts, lease)
        is_worse = parts.guard.wants_back
        if lease.num_rollouts == 0 and not is_worse:
            await _acknowledge(parts, lease, skipped=True)
            await parts.reports.ended(f"the data ended after {version} of {config.steps} steps")
            break
        leased = now_us()
        async with parts.learner_turn:
            metrics = await _step(parts, lease) if lease.num_rollouts else None
            await _acknowledge(parts, lease, skipped=metrics is None or metrics.skipped)
            stepped = now_us()
            version = parts.version = version + 1
            goes_back = metrics is not None and bad_steps.should_go_back(
                skipped=metrics.skipped, diverged=metrics.diverged
            )
            is_worse = parts.guard.wants_back
            if goes_back or is_worse:
                await parts.roll_back(version)
        # A learner that began once more has published this version before, in its former life.
        is_due = goes_back or is_worse or version % config.sync_every == 0
        if is_due and version > parts.published:
            await _publish(parts, version)
        times = StepTimes(
            asked_us=asked, leased_us=leased, stepped_us=stepped, published_us=now_us()
        )
        if metrics is not None:
            await parts.reports.stepped(lease, metrics, times)
        is_due = parts.must_commit or is_worse or parts.guard.is_point(version)
        if (is_due or version % config.checkpoint.every == 0) and bad_steps.in_a_row == 0:
            await _commit(parts, version, end_ticket)
    if parts.guard.is_over:
        await parts.reports.ended(f"the guardrail ended it after {version} of {config.steps} steps")
    if parts.published < version:
        await _publish(parts, version)
    await _finish_commit(parts)
    while parts.committed < version:
        await _commit(parts, version, end_ticket)
        await _finish_commit(parts)
    await within(parts.outbox.join(), config.cluster.wait_timeout_s, "the engines' last weights")
    return version


async def _lease(parts: Parts, step: int) -> Lease:
    """Enough accepted groups for one step. A batch without any is normal: take the next as well."""
    patience = parts.config.cluster.batch_patience
    for turn in range(patience):
        # Of a model that is to be taken back nothing more need be accepted, and perhaps nothing is.
        lease = await parts.queue.lease(step, as_it_is=parts.guard.wants_back)
        if lease.is_ready:
            return lease
        await parts.reports.waiting(lease)
        if lease.num_accepted == 0 and turn + 1 == STARVED < patience:
            await _look_now(parts)
    why = ", ".join(f"{reason} {count}" for reason, count in lease.reasons.items())
    raise NothingToLearn(
        f"step {step + 1}: {lease.num_accepted} of {lease.num_written} rollouts accepted ({why}) "
        f"and batch.min_rollouts={parts.config.batch.min_rollouts}: given up after "
        f"cluster.batch_patience={patience} batches; raise filter.length_budget, look at what was "
        "rejected, or give easier problems"
    )


async def _look_now(parts: Parts) -> None:
    """So little is right that the next point to look at may never come."""
    limit = parts.config.cluster.wait_timeout_s
    await within(parts.outbox.join(), limit, "the engines to take their weights")
    await parts.guard.look(parts.published)


async def _step(parts: Parts, lease: Lease) -> Stepped:
    limit, what = parts.config.cluster.wait_timeout_s, f"optimizer step {lease.step}"
    while True:
        try:
            return await within(parts.learner.step(lease), limit, what)
        except LeaseLost:  # before the learner had its rollouts
            lease = await _same(parts, lease)


async def _acknowledge(parts: Parts, lease: Lease, *, skipped: bool) -> None:
    """However often the queue starts again meanwhile: the step was taken, once."""
    while True:
        try:
            return await parts.queue.ack(lease, skipped=skipped)
        except LeaseLost:
            lease = await _same(parts, lease)


async def _same(parts: Parts, lost: Lease) -> Lease:
    """The lease anew: a queue that starts again lends what it lent before, in ticket order."""
    lease = await _lease(parts, lost.step)
    if (lease.end_ticket, lease.num_rollouts) != (lost.end_ticket, lost.num_rollouts):
        raise RuntimeError(f"the queue lent {lost} for a step, and {lease} after it started again")
    return lease


async def _tell_source(parts: Parts, lease: Lease) -> None:
    """What became of the groups of a step, before it is taken: the next tickets may wait for it."""
    for text in parts.source.learn(lease.groups):
        await parts.reports.alarm(lease.step, text)


async def _publish(parts: Parts, version: int) -> None:
    limit = parts.config.cluster.wait_timeout_s
    await within(parts.outbox.join(), limit, "the engines to take the weights before these")
    async with parts.learner_turn:
        weights = parts.whole
        if weights is None or weights.version < version:
            weights = await within(
                parts.learner.publish(version), limit, f"version {version} to be written"
            )
    await parts.outbox.put(weights)
    parts.published = version
    if weights.is_streamed:  # they lie nowhere but in the learner, which must not change them
        await within(parts.outbox.join(), limit, f"the engines to receive version {version}")


async def _commit(parts: Parts, version: int, end_ticket: int) -> None:
    """Returns when the learner may go on; the files are written beside."""
    await _finish_commit(parts)
    async with parts.learner_turn:
        rest = await parts.checkpoint(version, end_ticket)
    parts.committing = asyncio.create_task(_see_through(parts, version, rest))


async def _see_through(parts: Parts, version: int, rest: Awaitable[bool]) -> None:
    parts.must_commit = not await rest
    if not parts.must_commit:
        parts.committed = version


async def _finish_commit(parts: Parts) -> None:
    if parts.committing is not None:
        await parts.committing
        parts.committing = None


async def _drop_commit(parts: Parts) -> None:
    """Of a learner that is gone: what was not written is not to be had any more."""
    if parts.committing is not None:
        parts.committing.cancel()
        await asyncio.gather(parts.committing, return_exceptions=True)
        parts.committing = None


async def _whole(parts: Parts) -> PublishedWeights:
    """Between two steps of the learner, which may be one ahead of what was published last."""
    while True:
        await parts.learner_is_there.wait()
        try:
            async with parts.learner_turn:
                version = parts.version
                if parts.whole is None or parts.whole.version < version:
                    parts.whole = await within(
                        parts.learner.publish(version, whole=True),
                        parts.config.cluster.wait_timeout_s,
                        f"version {version} to be written in full",
                    )
                    # One that began once more is behind: these engines need what comes then.
                    parts.published = min(parts.published, version)
                return parts.whole
        except LearnerLost as loss:
            parts.learner_is_there.clear()
            if parts.loss is not None and not parts.loss.done():
                parts.loss.set_result(loss)


async def _send(parts: Parts, engines: int) -> None:
    async with parts.learner_turn:
        await within(
            parts.learner.send(engines),
            parts.config.cluster.wait_timeout_s,
            f"the learner to send its weights to {engines} engines",
        )


async def sync(parts: Parts, start: int) -> None:
    """Bring every published version to every engine while they write; evaluate where it is due."""
    if start == 0:
        await parts.evaluate(0)
    await parts.guard.look(start)
    while True:
        weights = await parts.outbox.get()
        loads = await within(
            parts.engines.load(weights),
            parts.config.cluster.wait_timeout_s,
            f"the engines to load version {weights.version}",
        )
        await parts.queue.published(weights.version)
        await parts.reports.synced(weights, loads)
        every = parts.config.eval.every
        if every and weights.version % every == 0 and weights.version < parts.config.steps:
            await parts.evaluate(weights.version)
        if parts.guard.is_point(weights.version) and weights.version < parts.config.steps:
            await parts.guard.look(weights.version)
        parts.outbox.task_done()


async def watch(parts: Parts) -> None:
    while True:
        await parts.reports.heartbeat()
        if (wanted := parts.wanted_engines()) is not None:
            await parts.engines.resize(wanted)
        await asyncio.sleep(1)


async def supervise(parts: Parts) -> None:
    """Apart from ``watch``, which may wait for the very part that hangs."""
    while True:
        await parts.look()
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
