"""V5: accuracy against tokens. Evaluations only: filtered rollouts are right by construction."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from dashboard.server.look import Look
from dashboard.server.views import evaluations
from dashboard.server.views.evaluations import Evaluation

NOTE = "evaluations on held-out problems; training rollouts are never counted here"
BASE = ("before", "base")
"""Labels of the model that a run started from."""


def pareto(looks: Sequence[Look]) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    texts: list[str] = []
    for look in looks:
        settings = evaluations.settings_of(look)
        for one in evaluations.load(look):
            text = json.dumps(settings.get(one.label, {}), sort_keys=True)
            if text not in texts:
                texts.append(text)
            points.append(point(look.run.name, one, texts.index(text), _plain(text)))
    equal = [
        row
        for look in looks
        for row in equal_rows([p for p in points if p["run"] == look.run.name])
    ]
    benchmarks = list(dict.fromkeys(p["benchmark"] for p in points))
    frontiers = {name: frontier(points, name) for name in benchmarks}
    return {
        "points": points,
        "frontier": [place for places in frontiers.values() for place in places],
        "equal": equal,
        "benchmarks": benchmarks,
        "note": NOTE,
    }


def point(run: str, one: Evaluation, settings: int, text: str) -> dict[str, Any]:
    accuracy, low, high = one.accuracy
    tokens, tokens_low, tokens_high = one.mean_tokens
    is_base = one.label in BASE or (one.version == 0 and not one.label.startswith("import"))
    return {
        "run": run,
        "label": one.label,
        "version": one.version,
        "benchmark": one.benchmark,
        "kind": "base"
        if is_base
        else "imported"
        if one.label.startswith("import")
        else ("checkpoint"),
        "accuracy": accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "tokens": tokens,
        "tokens_low": tokens_low,
        "tokens_high": tokens_high,
        "problems": one.num_problems,
        "samples": len(one.right) // one.num_problems,
        "truncated": float(one.truncated.mean()),
        "settings": settings,
        "settings_text": text,
    }


def frontier(points: Sequence[dict[str, Any]], benchmark: str) -> list[int]:
    """Places of the points that no other one beats in both, fewest tokens first."""
    places = [at for at, p in enumerate(points) if p["benchmark"] == benchmark]
    places.sort(key=lambda at: (points[at]["tokens"], -points[at]["accuracy"]))
    best, found = -1.0, []
    for at in places:
        if points[at]["accuracy"] > best:
            best = points[at]["accuracy"]
            found.append(at)
    return found


def equal_rows(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each benchmark of one run: against the base model at its accuracy, and at its tokens."""
    rows = []
    for name in dict.fromkeys(p["benchmark"] for p in points):
        of_it = [p for p in points if p["benchmark"] == name]
        base = next((p for p in of_it if p["kind"] == "base"), None)
        others = [p for p in of_it if base and p is not base and p["settings"] == base["settings"]]
        if base is None or not others:
            continue
        tokens = crossing([(p["accuracy"], p["tokens"]) for p in others], base["accuracy"])
        accuracy = crossing([(p["tokens"], p["accuracy"]) for p in others], base["tokens"])
        rows.append(
            {
                "run": base["run"],
                "benchmark": name,
                "base_accuracy": base["accuracy"],
                "base_tokens": base["tokens"],
                "tokens_at_equal_accuracy": tokens,
                "accuracy_at_equal_tokens": accuracy,
                "why": _why(tokens, accuracy),
            }
        )
    return rows


def crossing(pairs: Sequence[tuple[float, float]], at: float) -> float | None:
    """The second value where the first one is ``at``, along the curve; nothing outside of it."""
    pairs = sorted(pairs)
    for (x, y), (x2, y2) in pairwise(pairs):
        if x <= at <= x2:
            return y if x2 == x else y + (y2 - y) * (at - x) / (x2 - x)
    return next((y for x, y in pairs if x == at), None)


def _why(tokens: float | None, accuracy: float | None) -> str | None:
    if tokens is None and accuracy is None:
        return "the run's checkpoints never span the base model's accuracy or tokens"
    if tokens is None:
        return "no checkpoint is at the base model's accuracy, and none on both sides of it"
    if accuracy is None:
        return "no checkpoint uses as many tokens as the base model"
    return None


def _plain(text: str) -> str:
    settings = json.loads(text)
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "not recorded"
