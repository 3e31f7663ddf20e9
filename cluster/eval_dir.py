"""The folder of one evaluation: made once, gone on with by the same command, read by others.

run.json resolved.yaml   what was asked of which model
rollouts/manifest.jsonl evals/ problems/   the recorder's files, as in a run's folder
report.json problems.parquet *.png *.svg   once all responses are there
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.one_writer import LOCK, InUse, hold
from cluster.run_dir import replace_file
from configs.errors import UserError
from configs.load import dump
from configs.run_files import FORMAT, RESOLVED, RUN
from configs.schema import RunConfig
from evaluation.evaluator import eval_sampling

REPORT = "report.json"
KIND = "evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalDir:
    path: Path

    def begin(self, config: RunConfig, identity: dict[str, Any]) -> None:
        """Make it, or take it up again where the same was asked; UserError otherwise."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            hold(self.path)
            before = self.run
            if before is None and any(entry.name != LOCK for entry in self.path.iterdir()):
                raise UserError(f"{self.path} exists and is no evaluation; name another --out")
            if before is not None:
                self._require_same(before, identity)
            run = {
                "format": FORMAT, "kind": KIND, "name": self.path.name, "preset": "eval",
                **identity,
                "starts": [*(before or {}).get("starts", []), {"at": _utc(), "pid": os.getpid()}],
            }  # fmt: skip
            replace_file(self.path / RESOLVED, dump(config))
            replace_file(self.path / RUN, json.dumps(run, indent=1))
        except InUse as error:
            raise UserError(f"{error}: that evaluation goes on there") from None
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error}; name another --out") from error

    @property
    def run(self) -> dict[str, Any] | None:
        return _read(self.path / RUN)

    @property
    def report(self) -> dict[str, Any] | None:
        """None until all responses are there."""
        return _read(self.path / REPORT)

    def finish(self, report: dict[str, Any]) -> None:
        replace_file(self.path / REPORT, json.dumps(report, indent=1))

    def _require_same(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for key, value in now.items():
            if before.get(key) != value:
                raise UserError(
                    f"{self.path} holds an evaluation with other {key}: {_shown(before.get(key))}, "
                    f"and now it would be {_shown(value)}. Name another --out"
                )


def identity_of(config: RunConfig, labels: dict[str, str], fingerprint: str) -> dict[str, Any]:
    """What must be the same for responses to belong together."""
    values = config.model_dump(mode="json")
    evaluation = values["eval"]
    return {
        "model": config.model.path,
        "revision": config.model.revision,
        "sets": labels,
        "problems": fingerprint,
        "sampling": {k: v for k, v in evaluation.items() if k != "every"},
        "judge": {k: values["judge"][k] for k in ("part", "strictness", "guards")},
        "dtype": config.engine.dtype,
        "max_model_len": config.engine.max_model_len,
        # Also where eval.max_tokens is unset: then it is what the longest prompt leaves.
        "max_tokens": eval_sampling(config).max_tokens,
    }


def default_path(config: RunConfig, model: str) -> Path:
    """A new one for every command."""
    name = Path(model.rstrip("/")).name.replace(":", "-") or "model"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path(config.runs_dir).expanduser() / f"eval-{name}-{stamp}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
