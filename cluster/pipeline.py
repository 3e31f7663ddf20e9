"""``laconic pipeline``: runs one after the other, each from the weights that the one before ended
with, on problems of its own.

    runs/<name>/
      pipeline.json           what it is, as it began
      data/<stage>.jsonl      the problems of a stage
      1-<stage>/ 2-<stage>/ … run directories like any other
      report.json .md .html   after every stage

Nothing but these files says how far it is, so it may die anywhere and go on.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.one_writer import InUse, hold
from actors.problem_rows import DataError
from cluster.export import find_checkpoint
from cluster.pipeline_report import Done, write_report
from cluster.run_dir import RunDirError, replace_file, runs_folder
from cluster.stage_data import Part, deal, seen_by_both, write
from configs.errors import UserError
from configs.load import ConfigError, leaves, load_layers
from configs.pipeline import PipelineConfig, validate_pipeline
from configs.run_files import RUN, SUMMARY
from configs.schema import RunConfig

PIPELINE = "pipeline.json"

Launch = Callable[..., tuple[dict[str, Any], Path]]
"""``cluster.launch.launch``."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    number: int
    """From 1."""
    name: str
    recipe: str
    config: RunConfig
    """But for the model and the data, which are known when it starts."""

    @property
    def folder(self) -> str:
        return f"{self.number}-{self.name}"


def compose(pipeline: PipelineConfig) -> list[Stage]:
    """Every stage's configuration, checked before the first one starts."""
    return [
        Stage(
            number=number,
            name=name,
            recipe=stage.recipe or "-",
            config=_compose(pipeline, name),
        )
        for number, (name, stage) in enumerate(pipeline.run_stages.items(), start=1)
    ]


def _compose(pipeline: PipelineConfig, name: str) -> RunConfig:
    stage = pipeline.stages[name]
    recipe = [stage.recipe] if stage.recipe is not None else []
    try:
        return load_layers(pipeline.run, [*recipe, pipeline.set, stage.set])
    except ConfigError as error:
        raise ConfigError(f"stage {name}: {error}") from error


def dealt(pipeline: PipelineConfig, stages: Sequence[Stage]) -> dict[str, Part]:
    """The problems of every stage."""
    return deal(
        {stage.name: stage.config for stage in stages},
        {name: stage.share for name, stage in pipeline.run_stages.items()},
        pipeline.overlap,
    )


def plan_lines(pipeline: PipelineConfig) -> Iterator[str]:
    """What would run, for people."""
    stages = compose(pipeline)
    try:
        parts = dealt(pipeline, stages)
    except DataError as error:
        parts = {}
        yield f"the problems are not there to be counted: {error}"
    shared = seen_by_both(parts)
    for stage, before in zip(stages, [None, *stages], strict=False):
        config = stage.config
        model = config.model.path if before is None else f"what {before.name} ends with"
        yield f"stage {stage.number}/{len(stages)} {stage.name}: {stage.recipe}, from {model}"
        problems = f"{len(parts[stage.name].rows):,} problems" if parts else "problems"
        yield f"  {problems} of {config.data.train}; objective {config.learner.objective}"
        for other, share in shared.get(stage.name, {}).items():
            if other != stage.name:
                yield f"  {100 * share:.1f} % of them are also seen by {other}"
        yield (
            f"  {config.steps} steps of {config.batch.problems} x {config.group_size} rollouts, "
            f"length budget {config.filter.length_budget}, lr {config.learner.optimizer.lr:g}, "
            f"max_lag {config.max_lag}"
        )
        values = {**pipeline.set, **pipeline.stages[stage.name].set}
        yield f"  set: {json.dumps(values)}"


def run_pipeline(
    pipeline: PipelineConfig, label: str, *, resume: bool, launch: Launch, say: Say
) -> Path:
    """Every stage to its end, and the report. Returns the pipeline's folder.

    Raises what ``launch`` does; whatever was raised, ``resume`` goes on from there."""
    folder = _locate(pipeline, label, resume=resume)
    stages = compose(pipeline)
    parts = dealt(pipeline, stages)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        hold(folder)
    except InUse as error:
        raise RunDirError(f"{error}: the pipeline goes on there; stop it first") from None
    _keep(folder, pipeline, label)
    done: list[Done] = []
    for stage in stages:
        part = parts[stage.name]
        config = _ready(stage, part, folder, done)
        say(f"stage {stage.number}/{len(stages)} {stage.name}: {len(part.rows):,} problems")
        summary = _run(stage, config, folder / stage.folder, launch)
        done.append(
            Done(
                name=stage.name,
                recipe=stage.recipe,
                folder=stage.folder,
                model=config.model.path,
                problems=len(part.rows),
                steps=config.steps,
                length_budget=config.filter.length_budget,
                objective=config.learner.objective,
                lr=config.learner.optimizer.lr,
                summary=summary,
            )
        )
        write_report(
            folder,
            name=folder.name,
            stages=done,
            planned=[each.name for each in stages],
            overlap=pipeline.overlap,
            shared=seen_by_both(parts),
        )
    say(f"report: {folder / 'report.md'}")
    return folder


def _locate(pipeline: PipelineConfig, label: str, *, resume: bool) -> Path:
    if resume and pipeline.name is None:
        raise RunDirError("--resume needs name=… : which pipeline under runs_dir is to go on")
    name = pipeline.name or f"{Path(label).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = (runs_folder(pipeline.runs_dir) / name).resolve()
    is_there = (folder / PIPELINE).is_file()
    if resume and not is_there:
        raise RunDirError(f"{folder} holds no pipeline; leave --resume out to start it")
    if not resume and folder.exists() and any(folder.iterdir()):
        raise RunDirError(f"{folder} exists; add --resume to go on, or choose another name=…")
    if resume:
        _require_same(folder, pipeline)
    return folder


def _require_same(folder: Path, pipeline: PipelineConfig) -> None:
    try:
        began = json.loads((folder / PIPELINE).read_text())["pipeline"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirError(f"{folder / PIPELINE} is damaged; start a new pipeline") from error
    before, now = validate_pipeline(began).model_dump(), pipeline.model_dump()
    for key in before:
        if key not in ("name", "runs_dir") and before[key] != now[key]:
            raise RunDirError(
                f"--resume with another {key}: the pipeline began with {_short(before[key])}, the "
                f"command says {_short(now[key])}. Give the same, or start a new one"
            )


def _keep(folder: Path, pipeline: PipelineConfig, label: str) -> None:
    if not (folder / PIPELINE).is_file():
        values = {"label": label, "pipeline": pipeline.model_dump(mode="json")}
        replace_file(folder / PIPELINE, json.dumps(values, indent=1))


def _ready(stage: Stage, part: Part, folder: Path, done: Sequence[Done]) -> RunConfig:
    """The stage with its problems written down and the model that it starts from."""
    path = folder / "data" / f"{stage.name}.jsonl"
    write(part, path)
    config = stage.config
    model = config.model
    if done:
        weights = find_checkpoint(folder / done[-1].folder) / "model"
        model = model.model_copy(update={"path": str(weights), "revision": None})
    return config.model_copy(
        update={
            "name": stage.folder,
            "runs_dir": str(folder),
            "model": model,
            "data": config.data.model_copy(update={"train": str(path)}),
        }
    )


def _run(stage: Stage, config: RunConfig, folder: Path, launch: Launch) -> dict[str, Any]:
    if (folder / SUMMARY).is_file():  # it may have ended before its last step, for good
        return json.loads((folder / SUMMARY).read_text())
    has_begun = (folder / RUN).is_file()
    if folder.exists() and not has_begun:
        shutil.rmtree(folder)  # it died before it was a run
    given = dict.fromkeys(leaves(config.model_dump(exclude_defaults=True)), "pipeline")
    summary, _ = launch(config, stage.recipe, resume=has_begun, sources=given)
    return summary


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def require_objectives(stages: Sequence[Stage]) -> None:
    """What a stage's objective lacks is told before the first stage has trained for hours."""
    from learner.provided import bound_objective  # noqa: PLC0415  heavy

    for stage in stages:
        try:
            bound_objective(stage.config)
        except UserError as error:
            raise UserError(f"stage {stage.name}: {error}") from error
