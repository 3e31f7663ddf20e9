"""Clusters of up to ten thousand GPUs, in virtual time: does the coordinator keep them busy?

    python -m benchmarks.simulate [--gpus 126x8] [--ranks 8] [--slots 32] [--steps 12] [--json FILE]
    python -m benchmarks.simulate --sweep

What runs is the real planner, the real loop, the real queue with its log, and the real admission of
requests to an engine; only the clock is not real, and writing and learning are sleeps on it. A
rollout takes its tokens times the time of a decoding step, with lognormal lengths cut off at L, a
step of the learner its trained tokens over what its ranks learn. What the coordinator does costs
virtual time as well, as ``benchmarks.coordinator`` measured it, one thing after the other. Not
simulated: the network, faults, and the pause of a swap of weights.

Printed: share of all slots that wrote something, after the first two batches; that of the learner
and of the coordinator. Pass, at a thousand engines: 95 % of the slots.
"""

import argparse
import asyncio
import json
import math
import random
import selectors
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from actors.admission import Admission
from actors.replay import ReplayQueue
from benchmarks.overlap import NoGuard
from cluster.loop import Parts, run
from cluster.neighbours import Desk, Issued
from cluster.nodes import parse_shape
from cluster.plan import fit, make_plan
from configs.load import load
from configs.schema import RunConfig
from verifiers.types import (
    GroupOutcome,
    Lease,
    Outcome,
    Problem,
    PublishedWeights,
    Rollout,
    Settlement,
    Ticket,
    rollout_id,
)

PASS = 0.95
SWEEP = (("13x8", 8), ("126x8", 64), ("625x8", 320), ("1250x8", 640))
WARM_BATCHES = 2

SYNC_S = 0.0015
"""Of a disk that others use too; what goes into the log together waits for one."""

ISSUE_S = 0.0002
SETTLE_S = 0.0007
"""Of the coordinator, for a group."""


class VirtualTime(asyncio.SelectorEventLoop):
    """Sleeps take no time: when nobody is ready the clock jumps to whoever is next."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, clock: VirtualTime) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:  # only a thread can go on
            return super().select(10.0)
        self._clock.now += timeout
        return super().select(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is not decided by Laconic."""

    tokens: float = 2000.0
    """Mean of a response that nobody cuts off."""
    spread: float = 0.7
    limit: int = 3500
    """L: where every response ends (filter.length_budget)."""
    decode_s: float = 0.012
    """Of one token of one sequence."""
    kept: float = 0.5
    learned_per_s: float = 12_000.0
    """Trained tokens of one rank."""
    swap_s: float = 1.0

    def length(self, draw: random.Random) -> int:
        sigma = math.sqrt(math.log1p(self.spread**2))
        drawn = self.tokens * math.exp(draw.gauss(0, sigma) - sigma**2 / 2)
        return min(self.limit, max(1, round(drawn)))


@dataclass(slots=True, kw_only=True)
class Meter:
    """Slot-seconds, from the moment that everything runs."""

    began: float = 0.0
    busy: float = 0.0
    running: int = 0
    changed: float = 0.0
    learning: float = 0.0
    coordinating: float = 0.0

    def moved(self, now: float, by: int) -> None:
        self.busy += self.running * (now - self.changed)
        self.changed, self.running = now, self.running + by

    def restart(self, now: float) -> None:
        self.moved(now, 0)
        self.busy = self.learning = self.coordinating = 0.0
        self.began = now


class Engines:
    """All of them; each holds as many groups as it decodes at once, and as many again waiting, as
    cluster/fleet.py has it."""

    def __init__(
        self, count: int, config: RunConfig, queue: "Coordinator", world: World, meter: Meter
    ) -> None:
        self._config = config
        self._queue = queue
        self._world = world
        self._meter = meter
        self._slots = [
            Admission(config.engine.max_num_seqs, config.engine.eval_share) for _ in range(count)
        ]
        self._draw = random.Random(config.seed)
        self._version = 0

    async def generate(self, desk: Desk) -> None:
        async with asyncio.TaskGroup() as engines:
            for slots in self._slots:
                engines.create_task(self._write(desk, slots))

    async def _write(self, desk: Desk, slots: Admission) -> None:
        per_engine = self._config.engine.max_num_seqs / self._config.group_size
        room = asyncio.Semaphore(max(2, round(2 * per_engine)))
        async with asyncio.TaskGroup() as groups:
            while True:
                await room.acquire()
                ticket = await desk.tickets.get()
                task = groups.create_task(self._group(ticket, slots))
                task.add_done_callback(lambda _: room.release())

    async def _group(self, ticket: Ticket, slots: Admission) -> None:
        lengths = [self._world.length(self._draw) for _ in range(ticket.size)]
        version = self._version
        await asyncio.gather(*(self._rollout(ticket, length, slots) for length in lengths))
        await self._queue.settle(_settlement(ticket, version, lengths, self._world.kept))

    async def _rollout(self, ticket: Ticket, length: int, slots: Admission) -> None:
        clock = asyncio.get_running_loop()
        async with slots.slot("rollout", self._world.tokens, ticket.number):
            self._meter.moved(clock.time(), +1)
            await asyncio.sleep(length * self._world.decode_s)
            self._meter.moved(clock.time(), -1)

    async def load(self, weights: PublishedWeights) -> list[Any]:
        await asyncio.sleep(self._world.swap_s)
        self._version = weights.version
        return []

    async def resize(self, wanted: int) -> None: ...


class Coordinator:
    """The real queue, which does one thing after the other and takes its time for each."""

    def __init__(self, queue: ReplayQueue, meter: Meter) -> None:
        self._queue = queue
        self._meter = meter
        self._free_at = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def issue_all(self, tickets: Sequence[Ticket]) -> list[int | None]:
        await self._takes(SYNC_S + ISSUE_S * len(tickets))
        return await self._queue.issue_all(tickets)

    async def settle(self, settlement: Settlement) -> bool:
        await self._takes(SETTLE_S)
        return await self._queue.settle(settlement)

    async def _takes(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + seconds
        self._meter.coordinating += seconds
        await asyncio.sleep(self._free_at - now)


class Learner:
    def __init__(self, ranks: int, world: World, meter: Meter) -> None:
        self._rate = ranks * world.learned_per_s
        self._kept = world.kept
        self._meter = meter
        self.ended: list[float] = []

    async def step(self, lease: Lease) -> Any:
        seconds = lease.written_tokens * self._kept / self._rate
        await asyncio.sleep(seconds)
        self._meter.learning += seconds
        now = asyncio.get_running_loop().time()
        self.ended.append(now)
        if len(self.ended) == WARM_BATCHES:
            self._meter.restart(now)
        return Stepped()

    async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
        return PublishedWeights(version=version, fingerprint="", num_tensors=0, num_bytes=0)

    async def send(self, engines: int) -> None: ...


@dataclass(frozen=True)
class Stepped:
    skipped: bool = False
    diverged: bool = False


class Source:
    def __init__(self, size: int) -> None:
        self._size = size

    def draw(self, number: int, version: int) -> Ticket:
        problem = Problem(
            id=f"p{number}", messages=(), answer="", source="", verifier="", prompt_ids=(1,)
        )
        return Ticket(number=number, attempt=0, problem=problem, size=self._size, budget=1, seen=0)

    def again(self, record: Issued) -> Ticket:
        raise AssertionError("nothing was interrupted")

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        return []


class Quiet:
    """Records nothing and reports nothing."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        async def ignore(*args: Any, **kwargs: Any) -> None: ...

        return ignore

    async def checkpoint(self, version: int, end_ticket: int) -> Awaitable[bool]:
        return asyncio.sleep(0, result=True)


def _settlement(ticket: Ticket, version: int, lengths: Sequence[int], kept: float) -> Settlement:
    """The first of a group are right: lengths are drawn, not ordered."""
    accepted = round(kept * len(lengths))
    outcomes, rollouts = [], []
    for sample, length in enumerate(lengths):
        name, right = rollout_id(ticket.number, ticket.attempt, sample), sample < accepted
        outcomes.append(
            Outcome(
                rollout_id=name, status="correct" if right else "wrong",
                reason=None if right else "wrong", num_tokens=length,
                first_version=version, last_version=version,
            )
        )  # fmt: skip
        if right:
            rollouts.append(
                Rollout(
                    id=name, prompt_ids=(1,), response_ids=(2,),
                    first_version=version, last_version=version,
                )
            )  # fmt: skip
    return Settlement(
        ticket=ticket.number, attempt=ticket.attempt, outcomes=tuple(outcomes),
        rollouts=tuple(rollouts),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    gpus: int
    engines: int
    ranks: int
    virtual_s: float
    real_s: float
    rollouts_per_s: float
    engine_use: float
    learner_use: float
    coordinator_use: float
    step_s: float


def simulate(
    shape: str, ranks: int, slots: int, steps: int, lag: int, waves: float, world: World
) -> Seen:
    """A run of so many steps on a cluster of this shape."""
    resources = parse_shape(shape)
    group, engines = max(1, slots // 2), int(resources.gpus) - ranks
    problems = max(1, round(waves * engines * slots / group))
    config = load(
        "tiny",
        [
            f"engine.num_engines={engines}", f"learner.world_size={ranks}", f"max_lag={lag}",
            f"engine.max_num_seqs={slots}", f"sampling.group_size={group}",
            f"batch.problems={problems}", f"steps={steps}", "checkpoint.every=1000000",
            "cluster.wait_timeout_s=1000000",
        ],
    )  # fmt: skip
    plan, layout = fit(make_plan(config, gpus_seen=resources.gpus), config, resources)
    assert len(layout.engine_nodes) == engines
    began, loop = time.monotonic(), VirtualTime()
    with tempfile.TemporaryDirectory() as folder:
        try:
            seen = loop.run_until_complete(_run(folder, config, len(plan.engines), world))
        finally:
            loop.close()
    meter, num_steps, virtual_s = seen
    measured, counted = virtual_s - meter.began, num_steps - WARM_BATCHES
    return Seen(
        gpus=int(resources.gpus),
        engines=engines,
        ranks=ranks,
        virtual_s=virtual_s,
        real_s=time.monotonic() - began,
        rollouts_per_s=counted * problems * group / measured,
        engine_use=meter.busy / (engines * slots * measured),
        learner_use=meter.learning / measured,
        coordinator_use=meter.coordinating / measured,
        step_s=measured / counted,
    )


async def _run(
    folder: str, config: RunConfig, engines: int, world: World
) -> tuple[Meter, int, float]:
    meter, quiet = Meter(), Quiet()
    real: Any = quiet
    queue = ReplayQueue(folder, config, real)
    await queue.open(0)
    coordinator: Any = Coordinator(queue, meter)
    learner = Learner(config.learner.world_size, world, meter)
    parts = Parts(
        config=config,
        source=Source(config.group_size),
        queue=coordinator,
        engines=Engines(engines, config, coordinator, world, meter),
        learner=learner,
        reports=real,
        guard=NoGuard(),
        checkpoint=quiet.checkpoint,
        roll_back=real.roll_back,
        revive=real.revive,
        evaluate=real.evaluate,
        look=real.look,
        wanted_engines=lambda: None,
    )
    # The last steps ask for no further tickets, so what is measured ends before them.
    measuring = asyncio.create_task(_measured(parts, config, learner, meter))
    await run(parts, start=0, reissue=[])
    (await queue.counts()).check()
    await queue.close()
    return await measuring


async def _measured(
    parts: Parts, config: RunConfig, learner: Learner, meter: Meter
) -> tuple[Meter, int, float]:
    """While engines still have all that they are allowed to write: meter, steps, the time."""
    while len(learner.ended) < config.steps - config.max_lag - 1:
        await asyncio.sleep(0.5)
    now = asyncio.get_running_loop().time()
    meter.moved(now, 0)
    parts.stop.set()
    return replace(meter), len(learner.ended), now


def lines(found: Sequence[Seen]) -> list[str]:
    head = (
        f"{'GPUs':>6} {'engines':>8} {'ranks':>6} {'engine use':>11} {'learner use':>12} "
        f"{'coordinator':>12} {'rollouts/s':>11} {'step':>8} {'simulated in':>13}"
    )
    return [head] + [
        f"{one.gpus:>6} {one.engines:>8} {one.ranks:>6} {one.engine_use:>11.1%} "
        f"{one.learner_use:>12.1%} {one.coordinator_use:>12.1%} {one.rollouts_per_s:>11,.0f} "
        f"{one.step_s:>6.0f} s {one.real_s:>11.0f} s"
        for one in found
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--gpus", default="126x8", help="the cluster, such as 126x8")
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--slots", type=int, default=16, help="sequences that an engine decodes")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--lag", type=int, default=3, help="max_lag")
    parser.add_argument(
        "--waves", type=float, default=1.0, help="a batch, as a multiple of all slots"
    )
    parser.add_argument("--sweep", action="store_true", help="100 to 10,000 GPUs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    shapes = SWEEP if arguments.sweep else ((arguments.gpus, arguments.ranks),)
    one = partial(
        simulate,
        slots=arguments.slots,
        steps=arguments.steps,
        lag=arguments.lag,
        waves=arguments.waves,
        world=World(),
    )
    found = [one(shape, ranks) for shape, ranks in shapes]
    print("\n".join(lines(found)))
    if arguments.json is not None:
        ratios = {f"engine_use_{one.gpus}": one.engine_use for one in found}
        rows = [asdict(one) for one in found]
        arguments.json.write_text(json.dumps({"figures": rows, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
