"""Figures of optimizer steps over time, and the marks that belong on top of them."""

import math
from collections.abc import Sequence
from typing import Any

from dashboard.server.look import Look, share
from dashboard.server.run import Run

NOT_SERIES = ("step", "version", "at_us", "nan", "steps")

MARKS = {
    "published": "publish",
    "started": "restart",
    "checkpoint": "checkpoint",
    "evaluated": "evaluation",
    "budget_alarm": "alarm",
    "judge_alarm": "alarm",
    "guardrail": "alarm",
    "rolled_back": "rollback",
}
"""Events that are drawn, and as what."""


def metrics(looks: Sequence[Look]) -> dict[str, Any]:
    return {"series": [_series(look) for look in looks]}


def _series(look: Look) -> dict[str, Any]:
    rows = [row | derived(row) for row in look.run.files.metrics]
    available = sorted({name for row in rows for name in row if _is_series(name, row)})
    asked = look.args.several("names")
    names = [name for name in available if name in asked] if asked else available
    first_us = next((row["at_us"] for row in rows if row.get("at_us")), None)
    return {
        "run": look.run.name,
        "cursor": look.run.cursor,
        "as_of_us": look.run.newest_us,
        "available": available,
        "step": [row["step"] for row in rows],
        "at_us": [row.get("at_us") for row in rows],
        "seconds": [_seconds(row.get("at_us"), first_us) for row in rows],
        "generated_tokens": [number(row.get("generated_tokens")) for row in rows],
        "columns": {name: [number(row.get(name)) for row in rows] for name in names},
        "nan": {name: places for name in names if (places := _not_finite(rows, name))},
        "marks": marks(look.run),
    }


def derived(row: dict[str, Any]) -> dict[str, float]:
    """Shares and rates that follow from what was recorded of a step."""
    wait, train, publish = (number(row.get(name)) for name in ("wait_s", "train_s", "publish_s"))
    found = {
        "accept_rate": share(number(row.get("accepted")), number(row.get("rollouts"))),
        "trained_tokens_per_s": share(number(row.get("num_tokens")), train),
    }
    if wait is not None and train is not None and publish is not None:
        found["learner_idle"] = share(wait, wait + train + publish)
    return {name: value for name, value in found.items() if value is not None}


def marks(run: Run) -> list[dict[str, Any]]:
    found = []
    for event in run.files.events:
        kind = MARKS.get(str(event.get("kind")))
        if kind is None or (event.get("kind") == "started" and not event.get("step")):
            continue  # the first start is no restart
        step = event.get("step", event.get("version"))
        found.append(
            {
                "kind": kind,
                "at_us": event.get("at_us"),
                "step": step if isinstance(step, int) else None,
                "text": words(event),
            }
        )
    return found


def words(event: dict[str, Any]) -> str:
    """An event in one line."""
    if isinstance(event.get("text"), str):
        return event["text"]
    if isinstance(event.get("why"), str):
        return event["why"]
    plain = [
        f"{name} {_short(value)}"
        for name, value in event.items()
        if name not in ("at_us", "kind") and isinstance(value, int | float | str | bool)
    ]
    return ", ".join(plain)


def events(look: Look) -> dict[str, Any]:
    """The newest first."""
    limit = look.args.integer("limit", 500, 1, 5000)
    before = look.args.maybe_integer("before_us")
    kinds = look.args.several("kind")
    found, counts = [], dict[str, int]()
    for event in reversed(look.run.files.events):
        kind, at_us = str(event.get("kind")), event.get("at_us", 0)
        counts[kind] = counts.get(kind, 0) + 1
        if (not kinds or kind in kinds) and (before is None or at_us < before):
            found.append(as_event(event))
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return {
        "events": found[:limit],
        "kinds": [{"value": kind, "count": num} for kind, num in ordered],
        "more": len(found) > limit,
    }


def as_event(event: dict[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in event.items() if name not in ("at_us", "kind")}
    return {
        "at_us": event.get("at_us"),
        "kind": str(event.get("kind")),
        "text": words(event),
        "fields": fields,
    }


def number(value: Any) -> float | None:
    """What a chart can draw; null where there is nothing, or nothing finite."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    return None


def _is_series(name: str, row: dict[str, Any]) -> bool:
    """A number, or one that was not finite and is null for that."""
    if name in NOT_SERIES:
        return False
    return isinstance(row[name], int | float) or name in _named(row)


def _not_finite(rows: Sequence[dict[str, Any]], name: str) -> list[int]:
    return [place for place, row in enumerate(rows) if name in _named(row)]


def _named(row: dict[str, Any]) -> Sequence[str]:
    named = row.get("nan")
    return named if isinstance(named, list) else ()


def _seconds(at_us: Any, first_us: Any) -> float | None:
    if not isinstance(at_us, int) or not isinstance(first_us, int):
        return None
    return (at_us - first_us) / 1e6


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:120]
