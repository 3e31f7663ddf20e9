"""``laconic submit``: a run as a Ray job on a cluster elsewhere, submitted again when it is
preempted."""

import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from cluster import jobs
from cluster.job_folder import CONFIG, fill
from configs.errors import UserError
from configs.schema import RunConfig
from configs.secrets import is_secret_name, redact, redact_values

WEBHOOK = "LACONIC_WEBHOOK_URL"
"""Whoever knows this address may post to it, and its name does not say so."""

READ_HERE = ("pip", "uv", "conda")
"""Of a runtime environment: may name a file, whose lines Ray reads here and sends."""

Resume = Literal["no", "yes", "if there is one"]

RESUME: dict[Resume, list[str]] = {
    "no": [],
    "yes": ["--resume"],
    "if there is one": ["--resume-or-start"],
}
"""What a second attempt says: the first may have been lost before it made a folder."""

PAGE_PORT = 8421

STOP_MARGIN_S = 10.0
"""Between what a run may take to commit after SIGTERM and the SIGKILL that follows."""


def named(config: RunConfig, preset: str) -> RunConfig:
    """A run that is to be resumed needs a name before it starts."""
    if config.name is not None:
        return config
    name = f"{Path(preset).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    return config.model_copy(update={"name": name})


def with_page(config: RunConfig, address: str) -> tuple[RunConfig, str | None]:
    """Where the run's page will be, if the run is to have one; its port must be known before."""
    if not config.dashboard.enabled:
        return config, None
    port = config.dashboard.port or PAGE_PORT
    page = config.dashboard.model_copy(update={"port": port})
    host = urlsplit(address).hostname or ""
    host = f"[{host}]" if ":" in host else host
    return config.model_copy(update={"dashboard": page}), f"http://{host}:{port}"


def submission(
    config: RunConfig,
    *,
    resume: Resume,
    include: list[Path],
    environment: Mapping[str, str],
    runtime_env: Mapping[str, Any],
    dashboard_url: str | None,
) -> jobs.Submission:
    """``config`` has a name. What is wrong with it is told before anything is sent."""
    command = ["python", "-m", "cluster.main", "train", CONFIG]
    metadata = {"laconic_run": str(config.name), "laconic_runs_dir": config.runs_dir}
    if dashboard_url is not None:
        metadata["dashboard_url"] = dashboard_url
    stop_s = config.cluster.grace_s + STOP_MARGIN_S
    variables = {
        "PYTHONUNBUFFERED": "1",
        # Read by Ray's supervisor of the job: its own default would end a step after 3 s.
        "RAY_JOB_STOP_WAIT_TIME_S": str(round(stop_s)),
        **runtime_env.get("env_vars", {}),
        **environment,
    }

    def put(folder: Path) -> None:
        fill(folder, config, include)

    return jobs.Submission(
        entrypoint=shlex.join([*command, *RESUME[resume]]),
        fill=put,
        runtime_env={**runtime_env, "env_vars": variables},
        metadata=metadata,
    )


def variables_of(given: list[str]) -> dict[str, str]:
    """``["HF_HUB_OFFLINE=1"]``. Secrets are refused, by their name or by their looks: everybody who
    sees the job would see them."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--env reads NAME=value, got {text.split('=')[0]!r}")
        if is_secret_name(name.lower()) or name == WEBHOOK or redact(value) != value:
            raise _secret(f"--env {name}")
        found[name] = value
    return found


def runtime_env_of(path: Path | None) -> dict[str, Any]:
    """A YAML file with what Ray is to install or set (``pip``, ``conda``, ``env_vars`` …)."""
    if path is None:
        return {}
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--runtime-env {path}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise UserError(f"--runtime-env {path} holds no keys with values")
    if "working_dir" in found:
        raise UserError(
            f"--runtime-env {path}: working_dir is what we send; add files to it by --include"
        )
    variables = found.get("env_vars", {})
    if not isinstance(variables, dict):
        raise UserError(f"--runtime-env {path}: env_vars holds names with values")
    variables_of([f"{name}={value}" for name, value in variables.items()])
    for key, value in found.items():
        if redact_values(value, name=key) != value or _file_has_secrets(key, value):
            raise _secret(f"--runtime-env {path}: {key}")
    found["env_vars"] = {name: str(value) for name, value in variables.items()}
    return found


def _file_has_secrets(key: str, value: Any) -> bool:
    if key not in READ_HERE or not isinstance(value, str):
        return False
    try:
        text = Path(value).read_text(errors="replace")
    except OSError:  # conda's may be a name; what must be a file and is none, Ray refuses
        return False
    return redact(text) != text


def _secret(where: str) -> UserError:
    return UserError(
        f"{where} is or holds a secret, and what a job brings stands in Ray's dashboard for all to "
        f"read; set it on the cluster's nodes, in their environment (as a Kubernetes secret for "
        f"example) or in a file such as pip.conf"
    )


def run(
    config: RunConfig,
    make: Callable[[Resume], jobs.Submission],
    *,
    address: str,
    resume: Resume,
    watch: bool,
    attempts: int,
    say: jobs.Say,
) -> int:
    """Submit, and with ``watch`` stay until it has ended: up to ``attempts`` times when it was
    stopped after a commit or its driver's node was lost. Returns the exit code."""
    client = jobs.connect(address)
    for attempt in range(1, attempts + 1):
        job = jobs.submit(client, make(resume))
        say(f"job {job} of run {config.name}, at {address}")
        if not watch:
            for verb in ("logs --follow", "stop", "status"):
                say(f"  laconic job {verb} {job} --address {address}")
            return 0
        try:
            end = jobs.follow(client, job, say)
        except KeyboardInterrupt:
            say(
                f"no longer following; the job goes on: laconic job logs --follow {job}, or "
                f"laconic job stop {job}"
            )
            return 130
        say(f"job {job} {end.status.lower()}{_why(end)}")
        if not end.is_resumable or attempt == attempts:
            return end.code
        resume = "if there is one"
        say(f"submitting it again, {attempt + 1} of {attempts}")
    return 1


def _why(end: jobs.End) -> str:
    if end.status == "SUCCEEDED":
        return ""
    if end.exit_code == jobs.RESUMABLE:
        return " with exit code 75: stopped after a commit"
    code = f" with exit code {end.exit_code}" if end.exit_code is not None else ""
    return f"{code}: {end.message}" if end.message else code
