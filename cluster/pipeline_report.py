"""The report of a pipeline: one table over its stages, as JSON, Markdown and a page."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.run_dir import replace_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A stage that has ended."""

    name: str
    recipe: str
    folder: str
    model: str
    problems: int
    steps: int
    length_budget: int
    objective: str
    lr: float
    summary: dict[str, Any]
    """What its run came to."""


def write_report(
    folder: Path,
    *,
    name: str,
    stages: Sequence[Done],
    planned: Sequence[str],
    overlap: float,
    shared: Mapping[str, Mapping[str, float]],
) -> None:
    """``report.json``, ``report.md`` and ``report.html`` in ``folder``."""
    report = {
        "name": name,
        "is_finished": len(stages) == len(planned),
        "planned": list(planned),
        "overlap": {"asked": overlap, "measured": shared},
        "stages": [_row(stage) for stage in stages],
        "total": {
            what: sum(stage.summary.get(what) or 0 for stage in stages)
            for what in ("generated_tokens", "trained_tokens", "seconds")
        },
    }
    replace_file(folder / "report.json", json.dumps(report, indent=1))
    replace_file(folder / "report.md", markdown(report))
    replace_file(folder / "report.html", page(report))


def _row(stage: Done) -> dict[str, Any]:
    figures = ("accuracy", "accuracy_ci", "mean_tokens", "mean_tokens_ci", "truncated", "problems")
    summary = stage.summary
    return {
        "name": stage.name,
        "recipe": stage.recipe,
        "objective": stage.objective,
        "run": stage.folder,
        "model": stage.model,
        "problems": stage.problems,
        "steps": summary.get("steps"),
        "steps_planned": stage.steps,
        "length_budget": stage.length_budget,
        "lr": stage.lr,
        **{
            when: None if not summary.get(when) else {f: summary[when].get(f) for f in figures}
            for when in ("before", "after")
        },
        "generated_tokens": summary.get("generated_tokens"),
        "trained_tokens": summary.get("trained_tokens"),
        "seconds": summary.get("seconds"),
        "guardrail": summary.get("guardrail"),
    }


HEAD = (
    "stage",
    "objective",
    "problems",
    "steps",
    "accuracy % before",
    "after",
    "tokens before",
    "after",
    "written tokens",
    "trained tokens",
    "seconds",
)


def _cells(report: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            stage["name"],
            stage["objective"],
            f"{stage['problems']:,}",
            f"{stage['steps']}/{stage['steps_planned']}",
            *(_accuracy(stage[when]) for when in ("before", "after")),
            *(_tokens(stage[when]) for when in ("before", "after")),
            f"{stage['generated_tokens'] or 0:,}",
            f"{stage['trained_tokens'] or 0:,}",
            f"{stage['seconds'] or 0:.0f}",
        ]
        for stage in report["stages"]
    ]


def _accuracy(figures: Mapping[str, Any] | None) -> str:
    if figures is None:
        return "-"
    low, high = figures["accuracy_ci"]
    return f"{100 * figures['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _tokens(figures: Mapping[str, Any] | None) -> str:
    return "-" if figures is None else f"{figures['mean_tokens']:.1f}"


def _notes(report: Mapping[str, Any]) -> list[str]:
    """What stands below the table, one line each."""
    notes = []
    waiting = report["planned"][len(report["stages"]) :]
    if waiting:
        notes.append(f"Not run yet: {', '.join(waiting)}.")
    for one, others in report["overlap"]["measured"].items():
        shared = [f"{100 * share:.1f} % by {other}" for other, share in others.items() if
                  other != one and share > 0]  # fmt: skip
        seen = "; ".join(shared) if shared else "none by another stage"
        notes.append(f"Of the problems of {one} are also seen: {seen}.")
    for stage in report["stages"]:
        guardrail = stage["guardrail"]
        if guardrail is not None:
            notes.append(
                f"Guardrail of {stage['name']}: {guardrail['num_looks']} looks, "
                f"{guardrail['num_breaches']} breaches, {guardrail['num_rollbacks']} rollbacks"
                f"{', which ended it' if guardrail['is_over'] else ''}."
            )
        notes.append(f"{stage['name']} is the run {stage['run']}, from {stage['model']}.")
    total = report["total"]
    notes.append(
        f"Together: {total['generated_tokens']:,} tokens written, {total['trained_tokens']:,} "
        f"trained, {total['seconds']:.0f} s."
    )
    return notes


def markdown(report: Mapping[str, Any]) -> str:
    rows = [list(HEAD), ["---"] * len(HEAD), *_cells(report)]
    table = "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in rows)
    notes = "\n".join(f"- {_plain(note)}" for note in _notes(report))
    return f"# Pipeline {_plain(report['name'])}\n\n{table}\n\n{notes}\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{padding:.3rem .7rem;border-bottom:1px solid #8886;"
    "text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "div{overflow-x:auto}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}}"
)


def page(report: Mapping[str, Any]) -> str:
    """One file, without a script, that needs nothing from anywhere."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _cells(report)
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in _notes(report))
    title = html.escape(f"Pipeline {report['name']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}</h1><div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"</div><ul>{notes}</ul></html>\n"
    )
