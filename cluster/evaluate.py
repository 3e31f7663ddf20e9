"""``laconic eval``: engines and a judge without a learner, and every response kept at once."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import configs
from actors.heldout import EvalSet, Loaded, NamedData, fingerprint, load_sets
from actors.problem_files import MADE_MODELS
from actors.recorder import Recorder
from cluster.checkpoint import read
from cluster.eval_dir import EvalDir, default_path, identity_of
from cluster.eval_rows import samples_of
from cluster.export import find_checkpoint
from cluster.live import Display, open_live
from cluster.loop import within
from cluster.models import models_dir, resolve_model
from cluster.plan import Plan, make_plan, require, with_types
from cluster.ray_session import connect, cores_here, disconnect
from cluster.session import Stage, close_all
from configs.errors import UserError
from configs.load import load, preset_names
from configs.processor import computes_bfloat16
from configs.run_files import RESOLVED
from configs.schema import RunConfig
from evaluation.evaluator import Wanted, collect, eval_sampling
from evaluation.figures import figures
from learner.made_folder import RECIPES
from verifiers.types import EvalSample

BARE = Path(configs.__file__).parent / "bare_eval.yaml"
"""Settings of an evaluation without a task."""

IN_FLIGHT = 2
"""Responses asked of an engine at a time, as a multiple of those that it decodes."""

EVENT_LABEL = "eval"
"""What the page calls an evaluation that belongs to no training."""

SAID = (
    "version", "problems", "samples", "accuracy", "accuracy_ci", "mean_tokens", "mean_tokens_ci",
    "p90_tokens", "truncated", "max_tokens", "temperature",
)  # fmt: skip
"""What the event of an evaluation says: that of one during training has the same."""

SAY_S = 1.0
"""How often the progress is brought up to date."""

Samples = dict[str, list[EvalSample]]


def configure(
    model: str, preset: str | None, settings: list[str], data: Sequence[str] = ()
) -> RunConfig:
    """A run brings its own settings; a made model its preset. For anything else ``--preset`` says
    what is usual, or ``--data`` what is asked."""
    run = _run_of(Path(model))
    if run is not None:
        weights = find_checkpoint(Path(model)) / "model"
        return load(str(run / RESOLVED), [*settings, f"model.path={weights}"])
    preset = preset or (model if model in RECIPES else None) or (str(BARE) if data else None)
    if preset is None:
        raise UserError(
            f"what {model!r} is to be asked is not known: name problems with --data FILE, or the "
            "settings of a task with --preset"
        )
    return load(preset, [*settings, f"model.path={model}"])


def named_data(config: RunConfig, names: Sequence[str]) -> list[NamedData]:
    """Each of ``--data [LABEL=]NAME``; none: ``data.heldout``."""
    if not names and config.data.heldout is None:
        raise UserError(
            "there is nothing to evaluate on: name problems with --data FILE, or set data.heldout"
        )
    found = [_named(config, name) for name in names or [str(config.data.heldout)]]
    labels = [each.label for each in found]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UserError(f"two of --data are called {twice!r}; name one with --data LABEL=FILE")
    return found


def evaluate_model(
    config: RunConfig, data: Sequence[str] = (), out: Path | None = None, model: str | None = None
) -> dict[str, Any]:
    """The report of one evaluation. An ``out`` that was begun with the same is gone on with.

    ``model``: as the user named it.
    """
    named = named_data(config, data)
    with open_live(sys.stderr) as display:
        display.progress("preparing", "model and problems")
        loaded, model_dir = _load(config, named, display)
        folder = EvalDir(path=(out or default_path(config, model or config.model.path)).resolve())
        labels = {each.label: each.path for each in named}
        folder.begin(config, identity_of(config, labels, fingerprint(loaded.sets)))
        display.note(f"in {folder.path}")
        if (report := folder.report) is not None:
            return report
        return _run(config, loaded, model_dir, folder, display)


def _named(config: RunConfig, name: str) -> NamedData:
    label, equals, path = name.partition("=")
    if not equals:
        label, path = Path(name.partition(":")[0]).stem, name
    if not label or not path:
        raise UserError(f"--data reads NAME or LABEL=NAME, got {name!r}")
    if path in preset_names() and not Path(path).is_file():
        preset = load(path, [])
        if preset.data.heldout is None:
            raise UserError(f"--data {path}: that preset has no data.heldout; name a file")
        return NamedData(label=label, path=preset.data.heldout, data=preset.data)
    return NamedData(label=label, path=path, data=config.data)


def _run_of(path: Path) -> Path | None:
    """The run directory that ``path`` is, or is a checkpoint of."""
    candidates = (path, path.parent.parent)
    return next((folder for folder in candidates if (folder / RESOLVED).is_file()), None)


def _load(config: RunConfig, named: list[NamedData], display: Display) -> tuple[Loaded, str]:
    def say(line: str) -> None:
        display.progress("preparing", line)

    model_dir = resolve_model(config.model.path, say)
    for each in named:
        if each.path in MADE_MODELS:
            resolve_model(each.path, say)  # its problems are made together with it
    loaded = load_sets(named, config, model_dir, models_dir())
    for each in loaded.sets:
        if len(each.problems) < each.num_there:
            display.note(
                f"{each.label}: the first {len(each.problems)} of {each.num_there} problems "
                "(eval.problems)"
            )
    return loaded, model_dir


def _run(
    config: RunConfig, loaded: Loaded, model_dir: str, folder: EvalDir, display: Display
) -> dict[str, Any]:
    try:
        display.progress("starting", "Ray")
        resources = connect(config)
        plan = make_plan(config, gpus_seen=resources.gpus, cores=cores_here(), with_learner=False)
        require(plan, resources)
        config = with_types(config, plan.device, has_bfloat16=computes_bfloat16())
        return asyncio.run(_evaluate(config, plan, loaded, model_dir, folder, display))
    finally:
        disconnect()


async def _evaluate(
    config: RunConfig,
    plan: Plan,
    loaded: Loaded,
    model_dir: str,
    folder: EvalDir,
    display: Display,
) -> dict[str, Any]:
    recorder = Recorder(str(folder.path), config.recorder)
    await recorder.start()
    stage = Stage(config=config, plan=plan, log_dir=folder.path / "logs", decodes=True)
    judges = stage.place_judges(queue=None, recorder=None)
    generators = stage.place_generators(model_dir, judges)
    try:
        await recorder.problems([problem for each in loaded.sets for problem in each.problems])
        await recorder.flush()
        kept = Kept(recorder, samples_of(folder.path), _step_of(config.model.path), display)
        await recorder.state({"phase": "evaluating"})
        display.progress("starting", "engines and judges")
        await within(
            asyncio.gather(judges.start(), *(generator.start() for generator in generators)),
            config.cluster.start_timeout_s,
            "engines and judges to start",
        )
        await _collect_missing(config, loaded, generators, kept)
        _require_obedience(loaded, kept)
        report = _report(config, loaded, kept)
        for benchmark, found in report["sets"].items():
            said = {name: found[name] for name in SAID}
            await recorder.event("evaluated", label=EVENT_LABEL, benchmark=benchmark, **said)
        await recorder.state({"phase": "finished", "seconds": report["seconds"]})
    finally:
        await close_all([*generators, *judges.members])
        await recorder.close()
    from evaluation.report import write_report  # noqa: PLC0415  plots: not for a typo

    samples = {each.label: kept.samples[each.label] for each in loaded.sets}
    return write_report(folder.path, report, samples, folder.finish)


async def _collect_missing(
    config: RunConfig, loaded: Loaded, generators: Sequence[Any], kept: "Kept"
) -> None:
    sampling = replace(eval_sampling(config), logprobs=True, decoding=loaded.decoding)
    wanted = missing(loaded.sets, kept.samples, config.eval.samples)
    kept.expects(len(wanted))
    in_flight = IN_FLIGHT * config.engine.max_num_seqs
    await collect(generators, wanted, sampling, kept.keep, in_flight=in_flight)


def _require_obedience(loaded: Loaded, kept: "Kept") -> None:
    """Engines have been known to take a budget and not to keep to it."""
    rule = loaded.decoding
    if rule is None or rule.thinking_budget is None:
        return
    most = rule.thinking_budget + len(rule.forced_end_ids)
    over = sum((s.num_think or 0) > most for group in kept.samples.values() for s in group)
    if over:
        raise RuntimeError(
            f"{over} responses think for more than {most} tokens, which "
            f"eval.decode.thinking_budget={rule.thinking_budget} forbids: the engine does not obey"
        )


class Kept:
    """The responses that are there, on disk and here."""

    def __init__(
        self, recorder: Recorder, samples: Samples, version: int, display: Display
    ) -> None:
        self._recorder = recorder
        self._version = version
        self._display = display
        self._began = time.monotonic()
        self._said = 0.0
        self._expected = 0
        self._new = 0
        self._new_tokens = 0
        self.samples: Samples = defaultdict(list, samples)

    def expects(self, count: int) -> None:
        self._expected, self._began = count, time.monotonic()
        there = sum(map(len, self.samples.values()))
        if there:
            self._display.note(f"{there} responses are there already, {count} are missing")
        self._say()

    async def keep(self, label: str, sample: EvalSample) -> None:
        sample = replace(sample, version=self._version)
        await self._recorder.evals(EVENT_LABEL, self._version, [sample], benchmark=label)
        self.samples[label].append(sample)
        self._new += 1
        self._new_tokens += sample.num_tokens
        if time.monotonic() - self._said > SAY_S:
            self._say()

    @property
    def seconds(self) -> float:
        """Of asking, in this process."""
        return time.monotonic() - self._began

    @property
    def tokens_per_s(self) -> float | None:
        return self._new_tokens / self.seconds if self._new_tokens else None

    def _say(self) -> None:
        self._said = time.monotonic()
        rate = f", {self.tokens_per_s:.0f} tok/s" if self.tokens_per_s else ""
        self._display.progress("evaluating", f"{self._new} of {self._expected} responses{rate}")


def missing(sets: Sequence[EvalSet], there: Samples, count: int) -> list[Wanted]:
    """What is still to be asked, problem by problem: its prompt stays in the engine's cache."""
    known = {(label, s.problem_id, s.sample) for label, group in there.items() for s in group}
    return [
        Wanted(label=each.label, problem=problem, sample=number)
        for each in sets
        for problem in each.problems
        for number in range(count)
        if (each.label, problem.id, number) not in known
    ]


def _report(config: RunConfig, loaded: Loaded, kept: Kept) -> dict[str, Any]:
    sampling = eval_sampling(config)
    return {
        "model": config.model.path,
        "step": _step_of(config.model.path),
        "sampling": {k: v for k, v in config.eval.model_dump(mode="json").items() if k != "every"},
        "seconds": round(kept.seconds, 2),
        "tokens_per_s": kept.tokens_per_s,
        "sets": {
            each.label: figures(
                kept.samples[each.label],
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
            )
            for each in loaded.sets
        },
    }


def _step_of(model_path: str) -> int:
    """Optimizer steps of a checkpoint's model; 0 for any other."""
    folder = Path(model_path).parent
    return read(folder).state.step if (folder / "manifest.json").is_file() else 0
