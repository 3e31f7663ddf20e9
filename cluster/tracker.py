"""Mirrors scalars to Weights & Biases. Nothing depends on it: a failure is one warning."""

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.schema import WandbConfig
from configs.secrets import is_secret_name, redact, redact_values, secrets_of

logger = logging.getLogger(__name__)

INIT_TIMEOUT_S = 60.0
FINISH_TIMEOUT_S = 120.0

TABLE = (
    *("rollout_id", "problem_id", "first_version", "n_tokens", "budget"),
    *("verdict", "accepted", "reason", "answer", "text"),
)
"""Columns of the table of rollouts, as the recorder names them."""

CELL = 8_000
"""Characters of a text in it."""


class Tracker:
    """One wandb run for one run directory; after a resume the same wandb run goes on."""

    def __init__(
        self, config: WandbConfig, run_dir: Path, run_name: str, resolved: dict[str, Any]
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._run_name = run_name
        self._resolved = resolved
        self._run: Any = None

    def start(self) -> None:
        if self._config.mode != "disabled":
            self._try("start", self._open)

    def step(self, row: Mapping[str, Any], step: int) -> None:
        """The numbers of the row; a dict in it gives ``reasons/wrong``."""
        if self._run is not None:
            self._try("log to", lambda: self._run.log({**_scalars(row), "step": step}))

    def is_table_due(self, step: int) -> bool:
        config = self._config
        return self._run is not None and config.rollouts > 0 and step % config.rollouts_every == 0

    def table(self, rollouts: Sequence[Mapping[str, Any]], step: int) -> None:
        """The texts as people read them beside the curves."""
        if self._run is not None and rollouts:
            self._try("log to", lambda: self._log_table(rollouts, step))

    def summary(self, values: Mapping[str, Any]) -> None:
        if self._run is not None:
            self._try("log to", lambda: self._run.summary.update(_scalars(values)))

    def close(self) -> None:
        if self._run is not None:
            self._try("finish", self._run.finish)
            self._run = None

    def _open(self) -> None:
        import wandb  # noqa: PLC0415 - slow to import, and absent where nobody uses it

        settings = wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,  # it would upload the difference to the last commit
            disable_job_creation=True,
            login_timeout=INIT_TIMEOUT_S,  # on a terminal it would ask for the key for ever
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
        )
        self._run = wandb.init(
            dir=self._run_dir,
            mode=self._config.mode,
            project=self._config.project,
            group=self._config.group,
            name=self._run_name,
            id=self._run_id(),
            resume="allow",
            config=without_secrets(self._resolved),
            settings=settings,
        )
        # After a resume steps are repeated; wandb's own counter would refuse them.
        self._run.define_metric("*", step_metric="step")

    def _log_table(self, rollouts: Sequence[Mapping[str, Any]], step: int) -> None:
        import wandb  # noqa: PLC0415 - as above

        rows = [[_cell(row.get(name)) for name in TABLE] for row in rollouts]
        self._run.log({"rollouts": wandb.Table(columns=list(TABLE), data=rows), "step": step})

    def _run_id(self) -> str:
        path = self._run_dir / "wandb" / "run-id"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^A-Za-z0-9._-]", "-", self._run_name)
            path.write_text(f"{name[:100]}-{time.time_ns() // 1000}")
        return path.read_text().strip()

    def _try(self, what: str, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever wandb raises, the run goes on without it
            logger.warning(
                "could not %s wandb (%s: %s); the run goes on without it",
                what,
                type(error).__name__,
                redact(str(error), secrets_of(os.environ)),
            )
            self._run = None


def _cell(value: Any) -> Any:
    return value[:CELL] if isinstance(value, str) else value


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out every key that is named like a secret, with one warning that names it, and replace
    what looks like one in the others."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if is_secret_name(key):
            logger.warning("configuration key %r looks like a secret and is not sent to wandb", key)
        elif isinstance(value, Mapping):
            kept[key] = without_secrets(value)
        else:
            kept[key] = redact_values(value, secrets_of(os.environ), key)
    return kept


def _scalars(row: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}/{name}": number for name, number in _scalars(value).items()}
        elif isinstance(value, int | float):
            flat[key] = value
    return flat
