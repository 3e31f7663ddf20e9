"""The parts of a run as actors: started together, closed within one budget."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from actors.engine import make_vllm_engine
from actors.judges import Judges
from cluster.learner_group import LearnerGroup
from cluster.nodes import Layout
from cluster.plan import Place, Plan, engine_place, require, with_engines
from cluster.prepare import Prepared
from cluster.ray_session import actor_environment, registered
from cluster.run_dir import RunDir
from cluster.spawn import (
    Revival,
    are_alive,
    kill,
    node_here,
    node_of_turn,
    processes,
    release,
    reserve,
    spawn,
)
from configs.schema import RunConfig

CLOSE_S = 20
"""The whole teardown may take this long; then what is left is killed."""

DISMISS_S = 5
"""An engine that is given up may take this long to end its own processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    staff: "Staff"
    generators: Sequence[Any]
    """The first ones; later ``staff`` knows which there are."""
    judges: Judges
    queue: Any
    recorder: Any
    learner: LearnerGroup

    @property
    def served(self) -> list[Any]:
        """Those that start again by themselves."""
        return [*self.judges.members, self.queue, self.recorder]

    @property
    def parts(self) -> list[Any]:
        return [*self.generators, *self.learner.ranks, *self.served]

    @property
    def all(self) -> list[Any]:
        """The engines of this moment included."""
        return [*self.staff.engines, *self.learner.ranks, *self.served]

    async def close(self) -> None:
        # The files last: the others may still have something to say.
        await close_all([*self.staff.engines, *self.learner.ranks, *self.judges.members])
        await close_all([self.queue, self.recorder])

    def kill(self) -> None:
        """For when there is no time: what is to last is on disk at any time."""
        for part in self.all:
            kill(part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where actors go: the same environment and log folder for all of one run."""

    config: RunConfig
    plan: Plan
    log_dir: Path | None
    decodes: bool = False
    """Engines take ``Sampling.decoding``: never those of a training run."""

    def place(
        self,
        where: Place,
        class_path: str,
        *args: Any,
        revive: str | None = None,
        node: str | None = None,
        bundle: Any = None,
    ) -> Any:
        """``revive``: asked of the object when its process died and another one took its place."""
        cluster = self.config.cluster
        if where.turn is not None:
            node = node_of_turn(where.turn)
        elif where.with_driver:
            node = node_here()
        return spawn(
            class_path,
            *args,
            name=where.name,
            num_cpus=where.cpus,
            num_gpus=where.gpus,
            accelerator=where.accelerator,
            node=node,
            bundle=bundle,
            cores=where.cores,
            environment=actor_environment(self.config, self.plan),
            log_dir=self.log_dir,
            revival=None
            if revive is None
            else Revival(method=revive, times=cluster.part_restarts, wait_s=cluster.part_timeout_s),
        )

    def place_judges(self, queue: Any, recorder: Any, *, keep_rejected: bool = False) -> Judges:
        arguments = (self.config, queue, recorder, keep_rejected)
        return Judges(
            [
                self.place(where, "actors.judge:Judge", *arguments, revive="start")
                for where in self.plan.judges
            ]
        )

    def place_generator(
        self,
        number: int,
        seat: int,
        model_dir: str,
        judges: Judges,
        *,
        node: str | None = None,
        bundle: Any = None,
    ) -> Any:
        config, where = self.config, engine_place(self.plan, number, seat=seat)
        make_engine = partial(
            make_vllm_engine,
            config.engine,
            model_dir=model_dir,
            device=self.plan.device,
            threads=config.cluster.threads,
            seed=config.seed + number,
            trust_remote_code=config.model.trust_remote_code,
            revision=config.model.revision,
            cpu_cores=where.cores,
            processed_logprobs=config.sampling.policy is not None,
            decodes=self.decodes,
            sync=config.sync,
        )
        # What computes is a child, which pins itself; what collects may be anywhere.
        anywhere = replace(where, cores=())
        arguments = (where.name, make_engine, judges, config)
        generator = "actors.generator:Generator"
        return self.place(anywhere, generator, *arguments, node=node, bundle=bundle)

    def place_generators(self, model_dir: str, judges: Judges) -> list[Any]:
        """Of an evaluation, which has no learner to keep room for."""
        count = len(self.plan.engines)
        return [self.place_generator(i, i, model_dir, judges) for i in range(count)]


class Seats:
    """What is reserved for the learner, and for engines that share its GPUs."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self._plan = plan
        self._layout = layout
        self._nodes = layout.learner_nodes
        self._group = reserve(layout.learner, layout.learner_nodes)

    def of_rank(self, index: int) -> tuple[Any, int]:
        return self._group, index

    def of_engine(self, seat: int) -> tuple[Any, int] | None:
        """None: it has a GPU of its own."""
        return (self._group, seat) if self._plan.shares_gpus else None

    def node_of_engine(self, seat: int) -> str | None:
        """Where it begins; who comes later goes where there is room."""
        nodes = self._layout.engine_nodes
        return nodes[seat].id if seat < len(nodes) else None

    def renew(self) -> None:
        """For a learner that starts again: elsewhere, when a node of its is gone."""
        if are_alive(self._nodes):
            return
        release(self._group)
        self._nodes = ()
        self._group = reserve(self._layout.learner, None)


class Staff:
    """Starts engines and ends them while the run goes on; knows whose process may be there."""

    def __init__(self, stage: Stage, seats: Seats, model_dir: str, judges: Judges) -> None:
        self._stage = stage
        self._seats = seats
        self._model_dir = model_dir
        self._judges = judges
        self.engines = [
            self._place(i, i, node=seats.node_of_engine(i)) for i in range(len(stage.plan.engines))
        ]

    def hire(self, number: int, seat: int) -> Any:
        engine = self._place(number, seat)
        self.engines.append(engine)
        return engine

    def _place(self, number: int, seat: int, *, node: str | None = None) -> Any:
        return self._stage.place_generator(
            number,
            seat,
            self._model_dir,
            self._judges,
            node=node,
            bundle=self._seats.of_engine(seat),
        )

    async def pid(self, engine: Any) -> int:
        (pid,) = (await processes([engine])).values()
        return pid

    async def dismiss(self, engine: Any) -> None:
        with suppress(RuntimeError, TimeoutError):
            async with asyncio.timeout(DISMISS_S):
                await engine.close()
        kill(engine)
        self.engines.remove(engine)

    def require_room(self, engines: int) -> None:
        require(with_engines(self._stage.plan, engines), registered())


def spawn_all(
    config: RunConfig, plan: Plan, layout: Layout, run_dir: RunDir, prepared: Prepared
) -> Actors:
    """Every part of a training run. The slow ones first: their processes start while others do."""
    stage = Stage(config=config, plan=plan, log_dir=run_dir.path / "logs")
    recorder = stage.place(
        plan.recorder,
        "actors.recorder:Recorder",
        str(run_dir.path),
        config.recorder,
        prepared.model_dir,
        revive="start",
    )
    queue = stage.place(
        plan.queue,
        "actors.replay:ReplayQueue",
        str(run_dir.queue),
        config,
        recorder,
        prepared.keep_rejected,
        revive="start_again",
    )
    judges = stage.place_judges(queue, recorder, keep_rejected=prepared.keep_rejected)
    seats = Seats(plan, layout)
    staff = Staff(stage, seats, prepared.model_dir, judges)
    models = (prepared.model_dir, prepared.teacher_dir)

    def place_ranks() -> list[Any]:
        seats.renew()
        arguments = (config, queue, *models)
        return [
            stage.place(
                where,
                "learner.trainer:LearnerRank",
                index,
                *arguments,
                bundle=seats.of_rank(index),
            )
            for index, where in enumerate(plan.ranks)
        ]

    return Actors(
        staff=staff,
        generators=tuple(staff.engines),
        judges=judges,
        queue=queue,
        recorder=recorder,
        learner=LearnerGroup(place_ranks, run_dir.weights, plan.device),
    )


async def close_all(parts: Sequence[Any]) -> None:
    """Everyone at once and within one budget; what is still there after it is killed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await asyncio.gather(*(part.close() for part in parts), return_exceptions=True)
    for part in parts:
        kill(part)
