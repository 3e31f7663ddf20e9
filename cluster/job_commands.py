"""``laconic submit`` and ``laconic job``: the command line of runs on a cluster elsewhere."""

import json
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import UserError
from configs.load import load

job = typer.Typer(no_args_is_help=True, help="Look after what laconic submit sent to a cluster.")

Preset = Annotated[str, typer.Argument(help="A preset's name or a YAML file.")]
Settings = Annotated[
    list[str] | None, typer.Argument(help="key=value, or further YAML files; the later wins.")
]
Address = Annotated[
    str | None, typer.Option(help="Of Ray's dashboard; else RAY_API_SERVER_ADDRESS.")
]
Job = Annotated[str, typer.Argument(metavar="ID", help="What submit printed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def submit(
    preset: Preset,
    settings: Settings = None,
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run name=….")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show its log until it ends; exit as it does.")
    ] = False,
    attempts: Annotated[
        int, typer.Option(min=1, help="With --follow: submit again so often when preempted.")
    ] = 10,
    include: Annotated[
        list[Path] | None, typer.Option(help="A file or folder that goes along; may be repeated.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="NAME=value for the job; no secrets; may be repeated.")
    ] = None,
    runtime_env: Annotated[
        Path | None, typer.Option(help="A YAML file with Ray's runtime environment.")
    ] = None,
    dashboard_url: Annotated[
        str | None, typer.Option(help="Where the run's page is, for Ray's list of jobs.")
    ] = None,
) -> None:
    """Train on a Ray cluster elsewhere, as a job that outlives this terminal."""
    config = load(preset, settings or [])
    from cluster import jobs  # noqa: PLC0415  heavy
    from cluster import submit as work  # noqa: PLC0415  heavy

    if resume and config.name is None:
        raise UserError("--resume needs name=… : which run is to go on")
    address = jobs.address_of(address)
    config, page = work.with_page(work.named(config, preset), address)
    environment, packages = work.variables_of(env or []), work.runtime_env_of(runtime_env)

    def make(goes_on: work.Resume) -> jobs.Submission:
        return work.submission(
            config,
            resume=goes_on,
            include=include or [],
            environment=environment,
            runtime_env=packages,
            dashboard_url=dashboard_url or page,
        )

    code = work.run(
        config,
        make,
        address=address,
        resume="yes" if resume else "no",
        watch=follow,
        attempts=attempts,
        say=typer.echo,
    )
    raise typer.Exit(code)


@job.command("list")
def job_list(address: Address = None, as_json: Json = False) -> None:
    """Jobs of a cluster, newest first."""
    from cluster import jobs  # noqa: PLC0415  heavy

    found = jobs.rows(jobs.connect(jobs.address_of(address)))
    typer.echo(json.dumps(found) if as_json else jobs.table(found) or "no jobs")


@job.command("status")
def job_status(name: Job, address: Address = None, as_json: Json = False) -> None:
    """Whether it runs, and how it ended."""
    from cluster import jobs  # noqa: PLC0415  heavy

    found = jobs.row(jobs.connect(jobs.address_of(address)), name)
    typer.echo(json.dumps(found) if as_json else jobs.table([found]))


@job.command("logs")
def job_logs(
    name: Job,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", help="Until it ends.")] = False,
) -> None:
    """What its driver has printed."""
    from cluster import jobs  # noqa: PLC0415  heavy

    client = jobs.connect(jobs.address_of(address))
    if not follow:
        typer.echo(jobs.logs(client, name))
        return
    jobs.row(client, name)
    raise typer.Exit(jobs.follow(client, name, typer.echo).code)


@job.command("stop")
def job_stop(name: Job, address: Address = None) -> None:
    """Let it commit its step and end; laconic submit … --resume goes on with the run."""
    from cluster import jobs  # noqa: PLC0415  heavy

    found = jobs.stop(
        jobs.connect(jobs.address_of(address)), name, lambda line: typer.echo(line, err=True)
    )
    typer.echo(jobs.table([found]))
