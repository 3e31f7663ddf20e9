"""A run's folder: made whole before anything starts, found again by ``--resume``."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.one_writer import InUse, hold
from cluster.ray_job import is_ray_job
from configs.errors import UserError
from configs.load import dump, load_resolved
from configs.run_files import FORMAT, RESOLVED, RUN, SOURCES, STATE, SUMMARY
from configs.schema import RunConfig
from configs.secrets import redact, redact_values, secrets_of

MAY_CHANGE = (
    *("steps", "debug", "runs_dir", "name"),
    *("checkpoint", "mirror", "recorder", "dashboard", "wandb", "cluster"),
)
"""Keys and sections that a resumed run may set anew; the rest decides what is learned."""

SHARDING = ("world_size", "zero_stage", "offload_optimizer")
"""Of ``learner``: who computes it, which changes no more than the rounding."""

ENGINES = ("num_engines", "min_engines", "max_engines")
"""Of ``engine``: they come and go while a run goes on as well."""


class RunDirError(UserError):
    """The folder cannot be used; one line with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDir:
    path: Path
    is_resumed: bool

    @property
    def queue(self) -> Path:
        return self.path / "queue"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    def hold(self) -> None:
        """Nobody else goes on with this run while this process lives."""
        try:
            hold(self.path)
        except InUse as error:
            raise RunDirError(f"{error}: the run goes on there; stop it before --resume") from None

    def require_readable(self) -> None:
        """A version that is older than the one which wrote the run would misread it."""
        written = self._read(RUN).get("format", FORMAT)
        if written > FORMAT:
            raise RunDirError(
                f"{self.path} was written by a newer version (format {written}, this one knows "
                f"{FORMAT}): go on with that version, or start a new run"
            )

    def require_same(self, fingerprints: Mapping[str, str]) -> None:
        """A run goes on with the problems and the tokenizer that it began with: names may stay and
        files change."""
        before = self._read(RUN).get("fingerprints", {}) if self.is_resumed else {}
        for what, was in before.items():
            if fingerprints[what] != was:
                raise RunDirError(
                    f"--resume with other {what}: the run began with {was[:12]}, and what is there "
                    f"now is {fingerprints[what][:12]}. Put back what it was, or start a new run"
                )

    def create(
        self,
        config: RunConfig,
        preset: str,
        fingerprints: Mapping[str, str] | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        """Write what is to run, and where its settings are from. A resumed run adds a start to its
        ``run.json``."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.hold()
            self.weights.mkdir(exist_ok=True)
            starts = self._read(RUN).get("starts", []) if self.is_resumed else []
            known = secrets_of(os.environ)
            command = [redact(argument, known) for argument in sys.argv]
            starts.append({"at": _utc(), "command": command, "pid": os.getpid()})
            run: dict[str, Any] = {"format": FORMAT, "name": self.path.name, "preset": preset}
            run |= {"starts": starts, "fingerprints": dict(fingerprints or {})}
            replace_file(self.path / RESOLVED, dump(config))
            replace_file(self.path / SOURCES, json.dumps(dict(sources or {}), indent=1))
            replace_file(self.path / RUN, json.dumps(run, indent=1))
        except OSError as error:
            raise RunDirError(f"cannot write the run directory {self.path}: {error}") from error

    def show_page(self, url: str) -> None:
        """Who reads ``run.json`` finds the page there."""
        replace_file(self.path / RUN, json.dumps(self._read(RUN) | {"dashboard": url}, indent=1))

    def seconds_before(self) -> float:
        """Wall time of this run's earlier processes, as far as they could still tell."""
        return float(self._read(STATE).get("seconds", 0.0))

    def summary_if_done(self, steps: int) -> dict[str, Any] | None:
        """What a run that has taken all its steps came to; None while it has not."""
        summary = self._read(SUMMARY)
        return summary if summary.get("steps", -1) >= steps else None

    def evaluation(self, label: str) -> dict[str, Any] | None:
        return self._read(f"evals/{label}.json") or None

    def keep_evaluation(self, label: str, summary: dict[str, Any]) -> None:
        (self.path / "evals").mkdir(exist_ok=True)
        replace_file(self.path / f"evals/{label}.json", json.dumps(summary, indent=1))

    def finish(self, summary: dict[str, Any]) -> None:
        replace_file(self.path / SUMMARY, json.dumps(summary, indent=1))

    def _read(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.path / name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}


def holds_run(config: RunConfig) -> bool:
    """Whether the run of this name has begun; it needs a name."""
    if config.name is None:
        raise RunDirError("--resume-or-start needs name=… : which run it is")
    return (runs_folder(config.runs_dir) / config.name / RUN).is_file()


def runs_folder(runs_dir: str) -> Path:
    """Where ``runs_dir`` is: inside a Ray job below ``~/laconic``."""
    runs = Path(runs_dir).expanduser()
    if not runs.is_absolute() and is_ray_job():
        return Path.home() / "laconic" / runs  # a job's working directory goes with the job
    return runs


def locate(config: RunConfig, preset: str, *, resume: bool) -> RunDir:
    """Where the run lives. Nothing is written yet."""
    if resume and config.name is None:
        raise RunDirError("--resume needs name=… : which run under runs_dir is to go on")
    name = config.name or f"{Path(preset).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    path = (runs_folder(config.runs_dir) / name).resolve()
    exists = (path / RUN).is_file()
    if resume and not exists:
        raise RunDirError(f"{path} holds no run to resume; leave --resume out to start it")
    if path.exists() and not resume and any(path.iterdir()):
        raise RunDirError(f"{path} exists; add --resume to go on with it, or choose another name=…")
    run = RunDir(path=path, is_resumed=resume)
    if resume:
        run.require_readable()
        _require_same(config, load_resolved(path / RESOLVED))
    return run


def require_space(path: Path, needed_bytes: int) -> None:
    """Refuse a run that would fill the disk with its checkpoints."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise RunDirError(
            f"{existing} has {free / 2**30:.1f} GiB free and the run needs about "
            f"{needed_bytes / 2**30:.1f} GiB; free some, or set runs_dir=… to another disk"
        )


def _require_same(config: RunConfig, before: RunConfig) -> None:
    # What looked like a secret was written down without it, so it cannot be told apart now.
    known = secrets_of(os.environ)
    old, new = (redact_values(each.model_dump(mode="json"), known) for each in (before, config))
    for each in (old, new):
        for key in SHARDING:
            del each["learner"][key]
        for key in ENGINES:
            del each["engine"][key]
    for key in old:
        if key not in MAY_CHANGE and old[key] != new[key]:
            where, was, now = _difference(key, old[key], new[key])
            raise RunDirError(
                f"--resume with another {where}: the run has {was!r}, the command says {now!r}. "
                f"Give the same value, or start a new run"
            )


def _difference(key: str, old: Any, new: Any) -> tuple[str, Any, Any]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old:
            if old[name] != new.get(name):
                return _difference(f"{key}.{name}", old[name], new.get(name))
    return key, old, new


def replace_file(path: Path, text: str) -> None:
    """Never half a file: a new one takes the old one's place."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
