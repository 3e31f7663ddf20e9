"""Which part runs where: configuration and resources in, a list of actors out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from configs.errors import UserError
from configs.schema import RunConfig

Device = Literal["cpu", "cuda"]


class PlanError(UserError):
    """The resources do not carry the plan; one line that says what is missing and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    cpus: float
    gpus: float


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
    pins = config.cluster.pin_cores and device == "cpu"
    shares = deal(cores, config.cluster.threads) if pins else None
    plan = Plan(
        device=device,
        shares=shares,
        engines=(Place(name="generator-0", cpus=1, gpus=gpu * config.engine.tensor_parallel),),
        ranks=tuple(
            Place(name=f"learner-{i}", cpus=1, gpus=gpu, cores=_nth(shares, i))
            for i in range(config.learner.world_size)
            if with_learner
        ),
        judges=tuple(
            Place(name=f"judge-{i}", cpus=0, gpus=0, turn=i) for i in range(config.judge.actors)
        ),
        queue=Place(name="queue", cpus=0, gpus=0),
        recorder=Place(name="recorder", cpus=0, gpus=0),
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


def require(plan: Plan, resources: Resources) -> None:
    """Raise unless the whole plan fits: a plan that half fits would wait for ever."""
    for what, needed, there in (
        ("GPUs", plan.gpus, resources.gpus),
        ("CPUs", plan.cpus, resources.cpus),
    ):
        if needed > there:
            raise PlanError(
                f"the plan needs {needed:g} {what} ({len(plan.engines)} engines, {len(plan.ranks)} "
                f"learner ranks) and Ray has {there:g}. Lower engine.num_engines, "
                f"engine.tensor_parallel or learner.world_size, or add nodes"
            )
    if plan.shares is not None and len(plan.shares) < len(plan.engines) + len(plan.ranks):
        raise PlanError(
            f"cluster.pin_cores=true needs a share of cluster.threads cores for each of "
            f"{len(plan.engines)} engines and {len(plan.ranks)} learner ranks, and the cores here "
            f"make {len(plan.shares)}. Lower engine.num_engines or cluster.threads, or set "
            f"cluster.pin_cores=false"
        )


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
