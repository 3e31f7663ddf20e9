"""Which part runs where: configuration and resources in, a list of actors out. Pure."""

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    device: Device
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


def make_plan(config: RunConfig, *, gpus_seen: float, with_learner: bool = True) -> Plan:
    """Engines and learner on devices of their own; judges, queue and recorder need only a share."""
    wanted = config.cluster.device
    device: Device = wanted if wanted != "auto" else ("cuda" if gpus_seen else "cpu")
    gpu = 1.0 if device == "cuda" else 0.0
    return Plan(
        device=device,
        engines=tuple(
            Place(name=f"generator-{i}", cpus=1, gpus=gpu * config.engine.tensor_parallel)
            for i in range(config.engine.num_engines)
        ),
        ranks=tuple(
            Place(name=f"learner-{i}", cpus=1, gpus=gpu)
            for i in range(config.learner.world_size)
            if with_learner
        ),
        judges=tuple(
            Place(name=f"judge-{i}", cpus=0, gpus=0, turn=i) for i in range(config.judge.actors)
        ),
        queue=Place(name="queue", cpus=0, gpus=0),
        recorder=Place(name="recorder", cpus=0, gpus=0),
    )


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
