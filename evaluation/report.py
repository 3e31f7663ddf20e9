"""What one evaluation leaves: ``report.json``, a row for every problem, plots."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.figures import problem_rows
from evaluation.plots import budget_plot, calibration_plot, length_plot
from verifiers.types import EvalSample

PROBLEMS = "problems.parquet"


def write_report(
    folder: Path,
    report: dict[str, Any],
    samples: Mapping[str, Sequence[EvalSample]],
    finish: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Everything into ``folder``, the report itself last: where it is, all else is too."""
    rows = [
        {"set": label, **row} for label, group in samples.items() for row in problem_rows(group)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / PROBLEMS)
    sets, title = report["sets"], str(report["model"])
    budget_plot({k: v["budgets"] for k, v in sets.items()}, folder / "budget", title)
    length_plot(sets, folder / "lengths", title)
    told = {k: v["calibration"]["bins"] for k, v in sets.items() if v["calibration"]}
    if told:
        calibration_plot(told, folder / "calibration", title)
    finish(report)
    return report


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """For people: a line or three for every data set."""
    lines: list[str] = []
    for label, found in report["sets"].items():
        lines += _set_lines(label, found)
    return lines


def _set_lines(label: str, found: Mapping[str, Any]) -> list[str]:
    low, high = found["accuracy_ci"]
    percentiles = found["percentiles"]
    head = (
        f"{label}: accuracy {_percent(found['accuracy'])} % [{_percent(low)}, {_percent(high)}], "
        f"mean {found['mean_tokens']:.1f} tokens, median {percentiles['50']:.0f}, "
        f"p90 {found['p90_tokens']:.0f}, truncated {_percent(found['truncated'])} %, "
        f"efficiency {found['efficiency']:.2f} "
        f"({found['problems']} problems x {found['samples']})"
    )
    lines = [head]
    if found["mean_think_tokens"]:
        lines.append(
            f"  thinking {found['mean_think_tokens']:.1f} tokens, answer "
            f"{found['mean_answer_tokens']:.1f}"
        )
    if found["samples"] > 1:
        pass_at = ", ".join(f"pass@{r['k']} {_percent(r['value'])}" for r in found["pass_at"])
        maj_at = ", ".join(f"maj@{r['k']} {_percent(r['value'])}" for r in found["maj_at"])
        lines.append(f"  {pass_at}; {maj_at}")
    within = found["budgets"][:: max(1, len(found["budgets"]) // 6)]
    told = ", ".join(f"{_percent(row['accuracy'])} at {row['budget']}" for row in within)
    lines.append(f"  accuracy % within a budget of tokens: {told}")
    if found["judge_failed"]:
        lines.append(
            f"  the judge failed on {_percent(found['judge_failed'])} %: they count as not right"
        )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
