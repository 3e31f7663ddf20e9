"""The command line. Heavy imports wait until a command needs them: a typo must be told at once."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster import capacity_command, job_commands
from configs.errors import UserError
from configs.load import dump, load
from configs.processor import computes_bfloat16
from configs.schema import RunConfig
from configs.secrets import redact, secrets_of

RESUMABLE = 75
"""Exit code of a run that was stopped after a commit."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Teach a reasoning model to say less and still be right.",
)

ckpt = typer.Typer(no_args_is_help=True, help="List, verify and remove the checkpoints of a run.")
app.add_typer(ckpt, name="ckpt")

app.add_typer(job_commands.job, name="job")
app.command()(job_commands.submit)
app.command()(capacity_command.plan)

RunDir = Annotated[Path, typer.Argument(help="A run directory.")]
Preset = Annotated[str, typer.Argument(help="A preset's name or a YAML file.")]
Settings = Annotated[
    list[str] | None, typer.Argument(help="key=value, or further YAML files; the later wins.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@app.command()
def train(
    preset: Preset,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run name=….")] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="The same if there is one, else begin it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan; start nothing.")
    ] = False,
    on: Annotated[
        str | None, typer.Option(help="With --dry-run: nodes to plan for, such as 2x8:H100+1x0/16.")
    ] = None,
) -> None:
    """Train a model on its own answers that are right and short enough."""
    config = load(preset, settings or [])
    if on is not None and not dry_run:
        raise UserError("--on is for --dry-run: a run takes the nodes that Ray has")
    if dry_run:
        _print_plan(config, on)
        return
    if resume_or_start:
        from cluster.run_dir import holds_run  # noqa: PLC0415  only then

        resume = resume or holds_run(config)
    _train(config, preset, resume=resume)


@app.command()
def demo() -> None:
    """Train the made model for a few minutes and show what became of it."""
    summary, run_dir = _train(load("tiny", []), "demo", resume=False)
    from cluster.before_after import show  # noqa: PLC0415  rich is not for a typo

    show(summary, run_dir)


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A run, a checkpoint, a model folder or name.")],
    settings: Settings = None,
    preset: Annotated[str | None, typer.Option(help="Settings to start from.")] = None,
    as_json: Json = False,
) -> None:
    """Accuracy and length of a model on held-out problems."""
    from cluster.evaluate import configure, evaluate_model  # noqa: PLC0415  heavy

    config = configure(model, preset, settings or [])
    summary = evaluate_model(config)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    low, high = summary["accuracy_ci"]
    typer.echo(
        f"accuracy {100 * summary['accuracy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], "
        f"mean {summary['mean_tokens']:.1f} tokens, p90 {summary['p90_tokens']:.0f}, "
        f"truncated {100 * summary['truncated']:.1f} % "
        f"({summary['problems']} problems x {summary['samples']})"
    )


@app.command()
def validate(preset: Preset, settings: Settings = None) -> None:
    """Check configuration, model, data and every reference answer; exit 2 when a run could not
    start."""
    config = load(preset, settings or [])
    from cluster.validate import validate as check  # noqa: PLC0415  heavy

    typer.echo(f"ok: {check(config, _say)}")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices, disk and settings of this machine, with advice."""
    from cluster.doctor import checks, render  # noqa: PLC0415  only this command needs it

    found = checks()
    typer.echo(render(found, as_json))
    raise typer.Exit(1 if any(check.ok is False for check in found) else 0)


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A run directory or one of its checkpoints.")],
    target: Annotated[Path, typer.Argument(help="The folder to write.")],
) -> None:
    """Write a plain Hugging Face folder that transformers and vLLM load."""
    from cluster.export import export_model  # noqa: PLC0415  only this command needs it

    typer.echo(f"wrote {target} from {export_model(source, target)}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="JSONL rows {id, answer, response}.")],
    settings: Annotated[list[str] | None, typer.Argument(help="judge.key=value.")] = None,
    verifier: Annotated[str, typer.Option(help="Judge for rows that name none.")] = "math",
    compare: Annotated[
        str | None, typer.Option(help="A second judge: print only the rows it judges otherwise.")
    ] = None,
) -> None:
    """Judge answers that are already written: one JSON line each."""
    from cluster.verify import verify as judge  # noqa: PLC0415  only this command needs it

    judge(file, verifier, compare, settings or [], typer.echo, _say)


@app.command()
def replay(
    run: RunDir,
    settings: Settings = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="filter.key=value; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What another filter would have kept of the rollouts that a run recorded."""
    from cluster.replay import lines  # noqa: PLC0415  only this command needs it
    from cluster.replay import replay as decide_again  # noqa: PLC0415

    found = decide_again(run, [*(changes or []), *(settings or [])])
    typer.echo(json.dumps(found.as_dict()) if as_json else "\n".join(lines(found)))


@app.command()
def confounders(run: RunDir, as_json: Json = False) -> None:
    """Whether what was trained is as long as what was written, stage by stage, beyond chance."""
    from cluster.confounders import find, lines  # noqa: PLC0415  only this command needs it

    found = find(run)
    typer.echo(json.dumps(found.as_dict()) if as_json else "\n".join(lines(found)))


@app.command()
def scale(
    run: Annotated[Path, typer.Argument(help="The run directory of a run that is training.")],
    engines: Annotated[int | None, typer.Argument(help="How many engines it is to have.")] = None,
) -> None:
    """Show the engines of a run, or add some, or let the last ones leave."""
    from cluster.scale import ask, describe  # noqa: PLC0415  only this command needs it

    typer.echo(describe(run) if engines is None else ask(run, engines))


@app.command()
def check(run: RunDir, as_json: Json = False) -> None:
    """Prove from its files that a run lost nothing, doubled nothing and trained nothing too old."""
    from cluster.check import check as account  # noqa: PLC0415  only this command needs it
    from cluster.check import lines  # noqa: PLC0415

    found = account(run)
    typer.echo(json.dumps(found.as_dict()) if as_json else "\n".join(lines(found)))
    if found.violations:
        raise typer.Exit(_failed(RuntimeError(found.violations[0]), 1))


@ckpt.command("list")
def ckpt_list(run: RunDir, as_json: Json = False) -> None:
    """Step, size and time of every checkpoint."""
    from cluster.ckpt import lines, rows  # noqa: PLC0415  only this command needs it

    found = rows(run)
    typer.echo(json.dumps(found) if as_json else "\n".join(lines(found)))


@ckpt.command("verify")
def ckpt_verify(
    run: RunDir, step: Annotated[int | None, typer.Argument(help="Only that of this step.")] = None
) -> None:
    """Compare every file with the hash in its manifest; exit 1 at the first damage."""
    from cluster.ckpt import verify as damages  # noqa: PLC0415  only this command needs it

    for name, damage in damages(run, step):
        if damage is not None:
            raise typer.Exit(_failed(RuntimeError(f"{name} is damaged: {damage}"), 1))
        typer.echo(f"{name} is whole")


@ckpt.command("prune")
def ckpt_prune(
    run: RunDir, keep: Annotated[int, typer.Option(help="How many of the newest whole ones stay.")]
) -> None:
    """Remove all but the newest checkpoints of a run that is not going on."""
    from cluster.ckpt import prune  # noqa: PLC0415  only this command needs it

    for folder in prune(run, keep):
        typer.echo(f"removed {folder}")


def main() -> None:
    """``python -m cluster.main tiny steps=3`` is ``train tiny steps=3``."""
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in _commands():
        arguments = ["train", *arguments]
    try:
        app(arguments)
    except UserError as error:
        sys.exit(_failed(error, 2))


def _commands() -> list[str]:
    return [
        "train",
        "demo",
        "eval",
        "validate",
        "doctor",
        "export",
        "verify",
        "replay",
        "confounders",
        "scale",
        "check",
        "ckpt",
        "submit",
        "job",
        "plan",
    ]


def _train(config: RunConfig, preset: str, *, resume: bool) -> tuple[dict[str, Any], Path]:
    from cluster.launch import launch  # noqa: PLC0415  heavy
    from cluster.spawn import ActorFailed  # noqa: PLC0415  heavy
    from cluster.train import Stopped  # noqa: PLC0415  heavy

    try:
        return launch(config, preset, resume=resume)
    except Stopped as stopped:
        raise typer.Exit(_failed(stopped, RESUMABLE)) from None
    except (ActorFailed, TimeoutError, RuntimeError, OSError) as error:
        raise typer.Exit(_failed(error, 1)) from None


def _print_plan(config: RunConfig, on: str | None) -> None:
    from cluster.memory import memory_lines  # noqa: PLC0415
    from cluster.nodes import parse_shape  # noqa: PLC0415
    from cluster.plan import batch_arithmetic, fit, make_plan, with_types  # noqa: PLC0415
    from cluster.ray_session import cores_here, this_machine  # noqa: PLC0415  heavy

    resources = this_machine(config) if on is None else parse_shape(on)
    cores = cores_here() if on is None else ()
    plan = make_plan(config, gpus_seen=resources.gpus, cores=cores)
    config = with_types(config, plan.device, has_bfloat16=computes_bfloat16())
    plan, layout = fit(plan, config, resources)
    typer.echo(dump(config))
    typer.echo(f"# placement on {plan.device}: {resources}")
    for line in layout.draw():
        typer.echo(f"#   {line}")
    for place in plan.places:
        if place.cores:
            typer.echo(f"#   {place.name} on cores {','.join(map(str, place.cores))}")
    for line in [*batch_arithmetic(config), *memory_lines(config, plan.device)]:
        typer.echo(f"# {line}")


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _failed(error: Exception, code: int) -> int:
    """One line, whatever went wrong: the log files have the rest. A cause may quote what it was
    given, secrets too."""
    cause = redact(" ".join(str(error).split()), secrets_of(os.environ))
    _say(f"laconic: {cause or type(error).__name__}")
    return code


if __name__ == "__main__":
    from laconic_cli import put_root_first

    put_root_first()
    main()
