"""The parts of a run as actors: started together, closed within one budget."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from actors.engine import make_vllm_engine
from actors.judges import Judges
from cluster.learner_group import LearnerGroup
from cluster.plan import Place, Plan
from cluster.prepare import Prepared
from cluster.ray_session import actor_environment
from cluster.run_dir import RunDir
from cluster.spawn import kill, spawn
from configs.schema import RunConfig

CLOSE_S = 20
"""The whole teardown may take this long; then what is left is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    generators: Sequence[Any]
    judges: Judges
    queue: Any
    recorder: Any
    ranks: Sequence[Any]
    learner: LearnerGroup

    @property
    def parts(self) -> list[Any]:
        return [*self.generators, *self.ranks, *self.judges.members, self.queue, self.recorder]

    async def close(self) -> None:
        # The files last: the others may still have something to say.
        await close_all([*self.generators, *self.ranks, *self.judges.members])
        await close_all([self.queue, self.recorder])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where actors go: the same environment and log folder for all of one run."""

    config: RunConfig
    plan: Plan
    log_dir: Path | None

    def place(self, where: Place, class_path: str, *args: Any) -> Any:
        return spawn(
            class_path,
            *args,
            name=where.name,
            num_cpus=where.cpus,
            num_gpus=where.gpus,
            turn=where.turn,
            environment=actor_environment(self.config, self.plan),
            log_dir=self.log_dir,
        )

    def place_judges(self, queue: Any, recorder: Any, *, keep_rejected: bool = False) -> Judges:
        arguments = (self.config, queue, recorder, keep_rejected)
        return Judges(
            [self.place(where, "actors.judge:Judge", *arguments) for where in self.plan.judges]
        )

    def place_generators(self, model_dir: str, judges: Judges) -> list[Any]:
        config = self.config
        generators = []
        for index, where in enumerate(self.plan.engines):
            make_engine = partial(
                make_vllm_engine,
                config.engine,
                model_dir=model_dir,
                device=self.plan.device,
                threads=config.cluster.threads,
                seed=config.seed + index,
                trust_remote_code=config.model.trust_remote_code,
                revision=config.model.revision,
                processed_logprobs=config.sampling.policy is not None,
                sync=config.sync,
            )
            generators.append(
                self.place(
                    where, "actors.generator:Generator", where.name, make_engine, judges, config
                )
            )
        return generators


def spawn_all(config: RunConfig, plan: Plan, run_dir: RunDir, prepared: Prepared) -> Actors:
    """Every part of a training run. The slow ones first: their processes start while others do."""
    stage = Stage(config=config, plan=plan, log_dir=run_dir.path / "logs")
    recorder = stage.place(
        plan.recorder, "actors.recorder:Recorder", str(run_dir.path), config.recorder
    )
    queue = stage.place(
        plan.queue,
        "actors.replay:ReplayQueue",
        str(run_dir.queue),
        config,
        recorder,
        prepared.keep_rejected,
    )
    judges = stage.place_judges(queue, recorder, keep_rejected=prepared.keep_rejected)
    generators = stage.place_generators(prepared.model_dir, judges)
    models = (prepared.model_dir, prepared.teacher_dir)
    ranks = [
        stage.place(where, "learner.trainer:LearnerRank", index, config, queue, *models)
        for index, where in enumerate(plan.ranks)
    ]
    return Actors(
        generators=generators,
        judges=judges,
        queue=queue,
        recorder=recorder,
        ranks=ranks,
        learner=LearnerGroup(ranks, run_dir.weights),
    )


async def close_all(parts: Sequence[Any]) -> None:
    """Everyone at once and within one budget; what is still there after it is killed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await asyncio.gather(*(part.close() for part in parts), return_exceptions=True)
    for part in parts:
        kill(part)
