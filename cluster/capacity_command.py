"""The command line of ``laconic plan``: from a configuration, a cluster and perhaps a run to a
forecast."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.capacity import (
    Assumptions,
    Forecast,
    Model,
    Workload,
    accelerator_of,
    best,
    learner_gib,
    model_of,
    sequences_that_fit,
    tail,
)
from cluster.nodes import parse_shape
from configs.errors import UserError
from configs.load import load
from configs.run_files import read_jsonl
from configs.schema import RunConfig

SHOWN = 6

LEAST_WAIT = 0.05
"""Of its time a learner must wait for rollouts, or its engines are not what held it up."""


def plan(
    preset: Annotated[str, typer.Argument(help="A preset's name or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value, or further YAML files.")
    ] = None,
    gpus: Annotated[
        str, typer.Option(help="The cluster: 2x8:H100 is two nodes with eight each.")
    ] = ...,  # pyright: ignore[reportArgumentType]  how typer says that it must be given
    model: Annotated[
        str | None, typer.Option(help="A folder with config.json. Else model.path, if it is one.")
    ] = None,
    parameters: Annotated[
        float | None, typer.Option(help="Weights of the model, such as 1.5e9.")
    ] = None,
    kv_bytes: Annotated[
        float | None, typer.Option(help="Cache of one token in bytes, such as 28672.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(help="Mean of a response. Else 0.6 of the length budget.")
    ] = None,
    spread: Annotated[
        float, typer.Option(help="Standard deviation of a response's tokens over their mean.")
    ] = 0.7,
    kept: Annotated[
        float, typer.Option(min=0.001, max=1, help="Share of generated tokens that is trained.")
    ] = 0.3,
    run: Annotated[
        Path | None, typer.Option(help="A run to take rates, lengths and yield from.")
    ] = None,
    written: Annotated[
        float | None, typer.Option(help="Tokens a second that one engine writes; measured.")
    ] = None,
    learned: Annotated[
        float | None, typer.Option(help="Tokens a second that one rank learns; measured.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="Of one GPU for an hour.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Forecast throughput, memory, split and cost of a run on a cluster."""
    config = load(preset, settings or [])
    resources = parse_shape(gpus)
    shape = _model(config, model, parameters, kv_bytes)
    work = _workload(config, tokens, spread, kept)
    given = Assumptions(written_per_s=written, learned_per_s=learned, price=price)
    if run is not None:
        work, given = measured(run, work, given)
    found = best(resources, shape, work, given)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    gpu = accelerator_of(resources)
    typer.echo(f"{resources}; {shape.parameters / 1e9:.2f}B weights")
    typer.echo("\n".join(table(found[:SHOWN])))
    first = found[0]
    typer.echo(
        f"an engine has room for {sequences_that_fit(shape, gpu, work)} of engine.max_num_seqs="
        f"{work.sequences} sequences; a rank of {first.ranks} holds "
        f"{learner_gib(shape, first.ranks):.1f} of {gpu.memory_gib:g} GiB before activations "
        f"(zero_stage 3)"
    )
    for line in _said(work, given):
        typer.echo(line)


def table(found: Sequence[Forecast]) -> list[str]:
    """Best first."""
    lines = [
        f"{'engines':>8} {'ranks':>6} {'step':>8} {'written/s':>11} {'accepted/s':>11} "
        f"{'engines use':>12} {'learner use':>12} {'cost/M':>8}"
    ]
    for one in found:
        cost = "-" if one.cost_per_million is None else f"{one.cost_per_million:.2f}"
        lines.append(
            f"{one.engines:>8} {one.ranks:>6} {one.step_s:>6.1f} s {one.generated_per_s:>11,.0f} "
            f"{one.accepted_per_s:>11,.0f} {one.engine_use:>12.0%} {one.learner_use:>12.0%} "
            f"{cost:>8}"
        )
    return lines


def _said(work: Workload, given: Assumptions) -> list[str]:
    """What the forecast stands on, so that nobody takes it for a measurement."""
    rates = [
        f"engines reach {given.bandwidth_share:.0%} of the memory's bandwidth"
        if given.written_per_s is None
        else f"an engine writes {given.written_per_s:,.0f} tokens/s",
        f"learners reach {given.flops_share:.0%} of the peak"
        if given.learned_per_s is None
        else f"a rank learns {given.learned_per_s:,.0f} tokens/s",
    ]
    lag = "nothing overlaps" if work.max_lag == 0 else "writing and learning overlap"
    return [
        f"assumed: {'; '.join(rates)}; {work.tokens:,.0f} tokens a response (spread "
        f"{work.spread:g}), {work.kept:.0%} of them trained; max_lag {work.max_lag}: {lag}",
        "a forecast, not a measurement: docs/operations.md says what it is made of",
    ]


def _model(
    config: RunConfig, folder: str | None, parameters: float | None, kv_bytes: float | None
) -> Model:
    if parameters is not None and kv_bytes is not None:
        return Model(parameters=parameters, kv_bytes=kv_bytes)
    path = Path(folder or config.model.path) / "config.json"
    try:
        return model_of(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}): give --model FOLDER, or "
            f"--parameters and --kv-bytes"
        ) from error


def _workload(config: RunConfig, tokens: float | None, spread: float, kept: float) -> Workload:
    return Workload(
        problems=config.batch.problems,
        group_size=config.group_size,
        prompt_tokens=config.data.max_prompt_tokens / 2,
        tokens=tokens or 0.6 * config.filter.length_budget,
        spread=spread,
        kept=kept,
        max_lag=config.max_lag,
        sequences=config.engine.max_num_seqs,
        tensor_parallel=config.engine.tensor_parallel,
        utilization=config.engine.gpu_memory_utilization,
    )


def measured(run: Path, work: Workload, given: Assumptions) -> tuple[Workload, Assumptions]:
    """Of its steps but the first, which waits for everything to start."""
    from configs.load import load_resolved  # noqa: PLC0415  only with a run
    from configs.run_files import RESOLVED  # noqa: PLC0415

    try:
        every: list[dict[str, Any]] = list(read_jsonl(run / "metrics.jsonl"))
        config = load_resolved(run / RESOLVED)
    except OSError as error:
        raise UserError(f"--run {run} holds no run: {error}") from error
    rows = every[1:]
    if not rows:
        raise UserError(f"--run {run} has not taken two steps: there is nothing to measure")
    generated = rows[-1]["generated_tokens"]
    work = replace(
        work,
        tokens=statistics.fmean(row["mean_tokens"] for row in rows),
        kept=max(1e-6, rows[-1]["trained_tokens"] / max(1, generated)),
    )
    learns = statistics.median(
        row["accepted_tokens_mean"] * row["accepted"] / max(1e-9, row["train_s"]) for row in rows
    )
    return work, replace(
        given,
        written_per_s=given.written_per_s or _writes(run, every, work, config),
        learned_per_s=given.learned_per_s or learns / config.learner.world_size,
    )


def _writes(run: Path, rows: Sequence[dict[str, Any]], work: Workload, config: RunConfig) -> float:
    """Tokens of one engine a second, while it has enough to write."""
    engine = config.engine
    if config.max_lag == 0:
        # Engines write only while the learner waits, and end with slots that may not be filled.
        ran = replace(work, problems=config.batch.problems, group_size=config.group_size)
        rate = statistics.median(
            (row["generated_tokens"] - before["generated_tokens"]) / max(1e-9, row["wait_s"])
            for before, row in pairwise(rows)
        )
        return rate * (1 + tail(ran, engine.num_engines * engine.max_num_seqs)) / engine.num_engines
    waited = statistics.median(
        row["wait_s"] / max(1e-9, row["wait_s"] + row["train_s"] + row["publish_s"])
        for row in rows[1:]
    )
    if waited < LEAST_WAIT:
        raise UserError(
            f"--run {run}: its learner waited for rollouts in {waited:.0%} of its time, so its "
            f"engines wrote what was asked for, not what they can: give --written"
        )
    return statistics.median(row["generated_tokens_per_s"] for row in rows[1:]) / engine.num_engines
