"""``laconic report RUN…``: one HTML file with the plots and tables of some runs, and no script.

It says what the page says, since it asks the same questions.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dashboard.server.desk import Desk
from dashboard.server.endpoints import VIEWS
from dashboard.server.errors import Refused
from dashboard.server.report_page import render
from dashboard.server.serve import find_runs
from dashboard.server.settings import Settings

Answer = dict[str, Any]
PATIENCE_S = 600.0
"""For one answer: nobody sits before it."""

MAX_RUNS = 6
"""As many as colours can be told apart."""

CHARTS = (
    ("loss", "Loss", False),
    ("accept_rate", "Accepted share", True),
    ("mean_tokens", "Mean tokens of all rollouts", True),
    ("accepted_tokens_mean", "Mean tokens of accepted ones", True),
    ("lag_max", "Largest lag, versions", True),
    ("generated_tokens_per_s", "Generated tokens per second", True),
    ("grad_norm", "Norm of the gradient", True),
    ("entropy", "Entropy, nats per token", True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Answers of the page about some runs."""

    runs: list[str]
    by_run: dict[str, dict[str, Answer]]
    """Of each run the answer of each view of one run."""
    metrics: Answer
    pareto: Answer
    compare: Answer | None
    """None: there is one run."""


def write_report(runs: Sequence[Path], target: Path, say: Callable[[str], None]) -> None:
    """Raises UserError, one line, for runs that cannot be read."""
    found = find_runs(runs)
    if len(found) > MAX_RUNS:
        raise UserError(f"{len(found)} runs are too many for one report; name at most {MAX_RUNS}")
    report = asyncio.run(_gather(Desk(Settings(runs=tuple(found), query_s=PATIENCE_S)), say))
    try:
        target.write_text(render(report, CHARTS), encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from error


async def _gather(desk: Desk, say: Callable[[str], None]) -> Report:
    names = list(desk.runs)

    async def ask(view: str, **parameters: list[str]) -> Answer:
        try:
            return json.loads(await desk.ask(VIEWS[view], parameters, _stays))
        except Refused as error:
            raise UserError(str(error)) from error

    try:
        by_run = {}
        for name in names:
            say(f"reading {name}")
            by_run[name] = {
                "overview": await ask("overview", run=[name]),
                "funnel": await ask("funnel", run=[name]),
                "lengths": await ask("lengths", run=[name]),
                "evals": await ask("evals", run=[name]),
                "health": await ask("health", run=[name]),
                "config": await ask("config", run=[name]),
            }
        columns = [name for name, _, _ in CHARTS]
        return Report(
            runs=names,
            by_run=by_run,
            metrics=await ask("metrics", run=names, names=columns),
            pareto=await ask("pareto", run=names),
            compare=await ask("compare", run=names) if len(names) > 1 else None,
        )
    finally:
        desk.close()


async def _stays() -> bool:
    return False
