"""The command line. Heavy imports wait until a command needs them: a typo must be told at once."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from cluster import capacity_command, job_commands
from configs.errors import UserError
from configs.load import dump, load, sources
from configs.processor import computes_bfloat16
from configs.schema import RunConfig
from configs.secrets import redact, secrets_of

T = TypeVar("T")

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
    _train(config, preset, resume=resume, given=sources(preset, settings or []))


@app.command()
def pipeline(
    pipeline: Annotated[str, typer.Argument(help="A pipeline's name or a YAML file.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value, such as stages.rlvr.set.steps=50.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the pipeline name=….")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show stages, data and settings; start nothing.")
    ] = False,
) -> None:
    """Run after run, each from what the one before ended with: SFT, RLVR, compaction."""
    from cluster import pipeline as stages  # noqa: PLC0415  only this command needs it
    from configs.pipeline import load_pipeline  # noqa: PLC0415

    config = load_pipeline(pipeline, settings or [])
    if dry_run:
        typer.echo("\n".join(stages.plan_lines(config)))
        return
    from cluster.launch import launch  # noqa: PLC0415  heavy
    from cluster.models import resolve_model  # noqa: PLC0415

    composed = stages.compose(config)
    stages.require_objectives(composed)
    resolve_model(composed[0].config.model.path, _say)  # the made model brings its problems
    _stopping_plainly(
        lambda: stages.run_pipeline(config, pipeline, resume=resume, launch=launch, say=typer.echo)
    )


@app.command()
def demo() -> None:
    """Train the made model for a few minutes and show what became of it."""
    summary, run_dir = _train(load("tiny", []), "demo", resume=False, given=sources("tiny", []))
    from cluster.before_after import show  # noqa: PLC0415  rich is not for a typo

    show(summary, run_dir)


@app.command("demo-data")
def demo_data(
    folder: Annotated[Path, typer.Argument(help="The run directory to write; must not exist.")],
    rollouts: Annotated[int, typer.Option(help="About how many.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 0,
    hostile: Annotated[
        bool, typer.Option("--hostile", help="With texts that attack a page which trusts them.")
    ] = False,
) -> None:
    """Write a run that nobody ran, marked as synthetic: for tests and screenshots of the page."""
    from dashboard.demo.write import write_demo  # noqa: PLC0415  only this command needs it

    write_demo(folder, rollouts, seed=seed, hostile=hostile, report=_say)
    typer.echo(f"wrote {folder}, a synthetic run")


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A run, a checkpoint, a model folder or name.")],
    settings: Settings = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="[LABEL=]FILE, hub data set or preset; may be repeated."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Settings to start from.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the responses; one that was begun goes on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Accuracy and length of a model on held-out problems, with plots."""
    from cluster.evaluate import configure, evaluate_model  # noqa: PLC0415  heavy
    from evaluation.report import report_lines  # noqa: PLC0415

    config = configure(model, preset, settings or [], data or [])
    report = _failing_plainly(lambda: evaluate_model(config, data or [], out, model))
    typer.echo(json.dumps(report) if as_json else "\n".join(report_lines(report)))


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help="An evaluation, or RUN[@LABEL].")],
    others: Annotated[list[str], typer.Argument(help="What stands beside it.")],
    out: Annotated[Path | None, typer.Option(help="Folder for flips, plot and JSON.")] = None,
    show: Annotated[int, typer.Option(help="Print the texts of so many changed answers.")] = 0,
    as_json: Json = False,
) -> None:
    """Evaluations of the same problems beside each other: paired tests, and what changed."""
    from cluster import compare as work  # noqa: PLC0415  only this command needs it

    sources = [work.open_source(text) for text in (base, *others)]
    rows = work.compare_all(sources[0], sources[1:])
    warnings = work.notes(sources[0], sources[1:])
    found = work.as_dict(sources[0], rows, warnings)
    if out is not None:
        work.write(out, sources, rows, found)
    typer.echo(json.dumps(found) if as_json else "\n".join(work.lines(sources[0], rows, show)))
    for warning in warnings:
        _say(f"note: {warning}")


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
def dashboard(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or a folder of them.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="8421, else the next free one.")] = None,
    token: Annotated[bool, typer.Option("--token", help="Ask for a token here as well.")] = False,
    token_file: Annotated[Path | None, typer.Option(help="A file with the token.")] = None,
    unsafe_no_auth: Annotated[
        bool, typer.Option("--unsafe-no-auth", help="Let everybody in who can reach the host.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name under which a browser may call it.")
    ] = None,
    root_path: Annotated[str, typer.Option(help="Prefix that a proxy does not strip.")] = "",
    memory_gib: Annotated[float, typer.Option(help="Memory for the rows of a run.")] = 1.0,
    no_sql: Annotated[bool, typer.Option("--no-sql", help="Answer no SQL.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
) -> None:
    """Show runs in a browser, while they train and after: docs/dashboard.md."""
    from dashboard.server.serve import Wanted, serve  # noqa: PLC0415  only this command needs it

    serve(
        Wanted(
            runs=runs,
            host=host,
            port=port,
            root_path=root_path,
            token=token,
            token_file=token_file,
            unsafe_no_auth=unsafe_no_auth,
            allow_host=allow_host or [],
            memory_gib=memory_gib,
            no_sql=no_sql,
            no_open=no_open,
        )
    )


@app.command()
def query(
    run: RunDir,
    question: Annotated[str, typer.Argument(help="One SELECT, such as: SELECT * FROM evals")],
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask a run in SQL: its rollouts, fates, texts, problems and evaluations."""
    from cluster.query import query as ask  # noqa: PLC0415  only this command needs it

    form = "json" if as_json else "csv" if as_csv else "table"
    typer.echo(ask(run, question, form, _say))


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML file with the plots and tables of runs: for a paper, a colleague, a ticket."""
    from dashboard.server.report import write_report  # noqa: PLC0415  only this command needs it

    write_report(runs, out, _say)
    typer.echo(f"wrote {out}")


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


@ckpt.command("mirror")
def ckpt_mirror(
    run: RunDir,
    url: Annotated[str, typer.Argument(help="As mirror.url: s3://bucket/folder, file:///folder.")],
) -> None:
    """Copy a run's newest checkpoint and what it has written to URL/NAME, as mirror.url does."""
    from cluster.ckpt import mirror  # noqa: PLC0415  only this command needs it

    typer.echo(_failing_plainly(lambda: mirror(run, url)))


@ckpt.command("fetch")
def ckpt_fetch(
    url: Annotated[str, typer.Argument(help="mirror.url and the run's name.")],
    run: Annotated[Path, typer.Argument(help="The folder to make; it must not exist.")],
    step: Annotated[int | None, typer.Option(help="This checkpoint, not the newest.")] = None,
) -> None:
    """A run's folder again, from its copy: every file is compared with its hash."""
    from cluster.fetch import fetch  # noqa: PLC0415  only this command needs it

    found = fetch(url, run, step)
    for complaint in found.complaints:
        _say(complaint)
    typer.echo(f"{run} stands at {found.checkpoint}; go on with --resume")


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
        "pipeline",
        "demo",
        "demo-data",
        "eval",
        "compare",
        "validate",
        "doctor",
        "export",
        "verify",
        "replay",
        "confounders",
        "scale",
        "dashboard",
        "query",
        "report",
        "check",
        "ckpt",
        "submit",
        "job",
        "plan",
    ]


def _train(
    config: RunConfig, preset: str, *, resume: bool, given: dict[str, str]
) -> tuple[dict[str, Any], Path]:
    from cluster.launch import launch  # noqa: PLC0415  heavy

    return _stopping_plainly(lambda: launch(config, preset, resume=resume, sources=given))


def _stopping_plainly(work: Callable[[], T]) -> T:
    from cluster.train import Stopped  # noqa: PLC0415  heavy

    try:
        return _failing_plainly(work)
    except Stopped as stopped:
        raise typer.Exit(_failed(stopped, RESUMABLE)) from None


def _failing_plainly(work: Callable[[], T]) -> T:
    from cluster.spawn import ActorFailed  # noqa: PLC0415  heavy

    try:
        return work()
    except KeyboardInterrupt:
        raise typer.Exit(_failed(RuntimeError("interrupted"), 130)) from None
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
