"""Which part runs where: configuration and resources in, a list of actors out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cluster.nodes import Bundle, Layout, PlanError, Resources
from cluster.seating import missing, most_engines, seat
from configs.schema import RunConfig

Device = Literal["cpu", "cuda"]

HALF = 0.5
"""Of a GPU, for each of two that share it: Ray only counts, who takes how much of its memory is
``engine.gpu_memory_utilization``'s to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One actor."""

    name: str
    cpus: float
    gpus: float
    turn: int | None = None
    """The nodes take turns: this one's position. None: wherever there is room."""
    cores: tuple[int, ...] = ()
    """Of its node, for it alone (``cluster.pin_cores``); empty: all."""
    accelerator: str | None = None
    """The only kind of GPU that it may have."""
    with_driver: bool = False
    """On the driver's node, which is where the run's folder is for sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    device: Device
    shares: tuple[tuple[int, ...], ...] | None
    """Cores for ranks and then engines to be pinned to; None: nothing is pinned."""
    engines: tuple[Place, ...]
    ranks: tuple[Place, ...]
    judges: tuple[Place, ...]
    queue: Place
    recorder: Place
    shares_gpus: bool = False
    """Engine *i* and rank *i* are on one GPU."""

    @property
    def learner_bundles(self) -> tuple[Bundle, ...]:
        """What is reserved for the learner, and stays so while its ranks die and start again."""
        if not self.shares_gpus:
            return tuple(map(_bundle, self.ranks))
        engines = [*self.engines, *([None] * (len(self.ranks) - len(self.engines)))]
        return tuple(
            _bundle(rank, engine) for rank, engine in zip(self.ranks, engines, strict=True)
        )

    @property
    def engine_bundles(self) -> tuple[Bundle, ...]:
        return () if self.shares_gpus else tuple(map(_bundle, self.engines))

    @property
    def places(self) -> tuple[Place, ...]:
        return (*self.engines, *self.ranks, *self.judges, self.queue, self.recorder)

    @property
    def cpus(self) -> float:
        return sum(place.cpus for place in self.places)

    @property
    def gpus(self) -> float:
        return sum(place.gpus for place in self.places)


def make_plan(
    config: RunConfig, *, gpus_seen: float, cores: Sequence[int] = (), with_learner: bool = True
) -> Plan:
    """Engines and learner on devices of their own; judges, queue and recorder need only a share.

    ``cores``: those that may be pinned to, if the configuration says so and the device is a CPU.
    """
    wanted = config.cluster.device
    device: Device = wanted if wanted != "auto" else ("cuda" if gpus_seen else "cpu")
    gpu = 1.0 if device == "cuda" else 0.0
    shares_gpus = config.cluster.placement == "shared" and with_learner
    part = HALF if shares_gpus else 1.0
    pins = config.cluster.pin_cores and device == "cpu"
    shares = deal(cores, config.cluster.threads) if pins else None
    plan = Plan(
        device=device,
        shares=shares,
        engines=(
            Place(
                name="generator-0",
                cpus=1,
                gpus=gpu * part * config.engine.tensor_parallel,
                accelerator=config.cluster.engine_accelerator,
            ),
        ),
        ranks=tuple(
            Place(
                name=f"learner-{i}",
                cpus=1,
                # Alone it takes all of its GPU: NCCL refuses two ranks on one.
                gpus=gpu * (part if i < config.engine.num_engines else 1),
                cores=_nth(shares, i),
                accelerator=config.cluster.learner_accelerator,
            )
            for i in range(config.learner.world_size)
            if with_learner
        ),
        judges=tuple(
            Place(name=f"judge-{i}", cpus=0, gpus=0, turn=i) for i in range(config.judge.actors)
        ),
        queue=Place(name="queue", cpus=0, gpus=0, with_driver=True),
        recorder=Place(name="recorder", cpus=0, gpus=0, with_driver=True),
        shares_gpus=shares_gpus,
    )
    return with_engines(plan, config.engine.num_engines)


def with_types(config: RunConfig, device: Device, *, has_bfloat16: bool) -> RunConfig:
    """The same run with no number type left to choose. ``has_bfloat16``: of the processor."""
    chosen = "float32" if device == "cpu" and not has_bfloat16 else "bfloat16"
    engine, learner = config.engine, config.learner
    if engine.dtype == "auto":
        engine = engine.model_copy(update={"dtype": chosen})
    if learner.dtype == "auto":
        kept = learner.weights == "bfloat16"
        learner = learner.model_copy(update={"dtype": "bfloat16" if kept else chosen})
    return config.model_copy(update={"engine": engine, "learner": learner})


def with_engines(plan: Plan, count: int) -> Plan:
    """The same plan for another number of engines; those that stay keep their cores."""
    return replace(plan, engines=tuple(engine_place(plan, i, seat=i) for i in range(count)))


def engine_place(plan: Plan, number: int, *, seat: int) -> Place:
    """For engine ``number``, on the cores of this seat."""
    cores = _nth(plan.shares, len(plan.ranks) + seat)
    return replace(plan.engines[0], name=f"generator-{number}", cores=cores)


def deal(cores: Sequence[int], threads: int) -> tuple[tuple[int, ...], ...]:
    """Whole shares of ``threads`` cores: ``deal([4, 5, 6], 2) == ((4, 5),)``."""
    ordered = sorted(cores)
    last = len(ordered) - threads
    return tuple(tuple(ordered[i : i + threads]) for i in range(0, last + 1, threads))


def _nth(shares: tuple[tuple[int, ...], ...] | None, index: int) -> tuple[int, ...]:
    return shares[index] if shares is not None and index < len(shares) else ()


def fit(plan: Plan, config: RunConfig, resources: Resources) -> tuple[Plan, Layout]:
    """The plan with as many engines as there is room for, between ``engine.min_engines`` and
    ``engine.max_engines``, and who sits where. Raises ``PlanError`` when those are too few."""
    count = max(_least(config), engines_that_fit(plan, config, resources))
    plan = with_engines(plan, count)
    return plan, require(plan, resources)


def engines_that_fit(plan: Plan, config: RunConfig, resources: Resources) -> int:
    """At most ``engine.max_engines``; 0 when the learner has no room of its own."""
    high = config.engine.max_engines or config.engine.num_engines
    if plan.shares_gpus:
        return high
    room = most_engines(plan.learner_bundles, _bundle(plan.engines[0]), resources, high)
    if plan.shares is not None:
        room = min(room, len(plan.shares) - len(plan.ranks))
    return max(room, 0)


def _least(config: RunConfig) -> int:
    return config.engine.min_engines or config.engine.num_engines


def _bundle(place: Place, guest: Place | None = None) -> Bundle:
    there = (place,) if guest is None else (place, guest)
    gpus = sum(one.gpus for one in there)
    kinds = [one.accelerator for one in there if one.accelerator is not None]
    return Bundle(
        parts=tuple(one.name for one in there),
        cpus=sum(one.cpus for one in there),
        gpus=gpus,
        accelerator=kinds[0] if kinds and gpus else None,
    )


def require(plan: Plan, resources: Resources) -> Layout:
    """Who sits where; raises unless the whole plan fits: one that half fits would wait for ever."""
    layout = seat(plan.learner_bundles, plan.engine_bundles, resources)
    if layout is None:
        raise missing(plan.learner_bundles, plan.engine_bundles, resources)
    if plan.shares is not None and len(plan.shares) < len(plan.engines) + len(plan.ranks):
        raise PlanError(
            f"cluster.pin_cores=true needs a share of cluster.threads cores for each of "
            f"{len(plan.engines)} engines and {len(plan.ranks)} learner ranks, and the cores here "
            f"make {len(plan.shares)}. Lower engine.num_engines or cluster.threads, or set "
            f"cluster.pin_cores=false"
        )
    return layout


def batch_arithmetic(config: RunConfig) -> list[str]:
    """What one optimizer step asks for, in words, for ``--dry-run``."""
    groups = config.batch.problems
    size = config.group_size + (config.data.responses == "beside")
    most = (config.max_lag + 1) * groups
    return [
        f"a step takes {groups} problems x {size} rollouts = {groups * size} rollouts, "
        f"of which at least {config.batch.min_rollouts} must be accepted",
        f"at most {most} problems ({most * size} rollouts) are out at once "
        f"(max_lag {config.max_lag})",
        f"an engine decodes {config.engine.max_num_seqs} rollouts at once; a response stops at "
        f"{config.max_response_tokens} tokens and is accepted up to {config.filter.length_budget}",
        f"{config.steps} steps write {config.steps * groups * size} rollouts, at most "
        f"{config.steps * groups * size * config.max_response_tokens:,} tokens",
        f"weights go to the engines every {config.sync_every} step(s), to disk every "
        f"{config.checkpoint.every}",
    ]
