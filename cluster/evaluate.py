"""``laconic eval``: engines and a judge without a learner."""

import asyncio
import sys
from pathlib import Path
from typing import Any

from cluster.export import find_checkpoint
from cluster.live import open_live
from cluster.loop import within
from cluster.plan import Plan, make_plan, require, with_types
from cluster.prepare import prepare
from cluster.ray_session import connect, cores_here, disconnect
from cluster.session import Stage, close_all
from configs.errors import UserError
from configs.load import load
from configs.processor import computes_bfloat16
from configs.run_files import RESOLVED
from configs.schema import RunConfig
from evaluation.evaluator import evaluate
from learner.made_folder import RECIPES
from verifiers.types import Problem


def configure(model: str, preset: str | None, settings: list[str]) -> RunConfig:
    """A run brings its own settings; a made model its preset; anything else needs ``--preset``."""
    run = _run_of(Path(model))
    if run is not None:
        weights = find_checkpoint(Path(model)) / "model"
        return load(str(run / RESOLVED), [*settings, f"model.path={weights}"])
    preset = preset or (model if model in RECIPES else None)
    if preset is None:
        raise UserError(f"--preset is needed to evaluate {model!r}: it says which data and limits")
    return load(preset, [*settings, f"model.path={model}"])


def _run_of(path: Path) -> Path | None:
    """The run directory that ``path`` is, or is a checkpoint of."""
    candidates = (path, path.parent.parent)
    return next((folder for folder in candidates if (folder / RESOLVED).is_file()), None)


def evaluate_model(config: RunConfig) -> dict[str, Any]:
    """The summary of one evaluation."""
    if config.data.heldout is None:
        raise UserError("data.heldout names no problems to evaluate on; set data.heldout=FILE")
    with open_live(sys.stderr) as display:
        prepared = prepare(config, lambda line: display.progress("preparing", line))
        try:
            display.progress("starting", "Ray")
            resources = connect(config)
            plan = make_plan(
                config, gpus_seen=resources.gpus, cores=cores_here(), with_learner=False
            )
            require(plan, resources)
            config = with_types(config, plan.device, has_bfloat16=computes_bfloat16())
            display.progress("starting", "engines and judges")
            problems = prepared.source.heldout(config.eval.problems)
            return asyncio.run(_evaluate(config, plan, prepared.model_dir, problems))
        finally:
            disconnect()


async def _evaluate(
    config: RunConfig, plan: Plan, model_dir: str, problems: list[Problem]
) -> dict[str, Any]:
    stage = Stage(config=config, plan=plan, log_dir=None)
    judges = stage.place_judges(queue=None, recorder=None)
    generators = stage.place_generators(model_dir, judges)
    try:
        await within(
            asyncio.gather(judges.start(), *(generator.start() for generator in generators)),
            config.cluster.start_timeout_s,
            "engines and judges to start",
        )
        _, summary = await within(
            evaluate(generators, problems, config),
            config.cluster.wait_timeout_s,
            "the evaluation",
        )
        return summary.as_dict()
    finally:
        await close_all([*generators, *judges.members])
