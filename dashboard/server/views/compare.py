"""V13: runs beside each other: which settings differ, and what came of it."""

from collections.abc import Sequence
from typing import Any

from dashboard.server.errors import Refused
from dashboard.server.look import Look
from dashboard.server.views import configuration, evaluations, overview, pareto

Row = dict[str, Any]


def compare(looks: Sequence[Look]) -> dict[str, Any]:
    names = [look.run.name for look in looks]
    baseline = looks[0].args.text("baseline", names[0])
    if baseline not in names:
        raise Refused("bad_request", f"baseline={baseline[:60]!r} is none of the runs", "baseline")
    return {
        "runs": [look.run.info() for look in looks],
        "baseline": baseline,
        "config": _config(looks),
        "outcome": _outcome(looks, names.index(baseline)),
        "names": sorted(
            {
                name
                for look in looks
                for row in look.run.files.metrics
                for name, value in row.items()
                if isinstance(value, int | float)
            }
        ),
    }


def _config(looks: Sequence[Look]) -> list[Row]:
    """Keys that differ first, each part in the order of the schema."""
    values = [configuration.flat_values(look.run) for look in looks]
    keys = list(dict.fromkeys(key for each in values for key in each))
    rows = []
    for key in keys:
        there = [each.get(key) for each in values]
        rows.append({"key": key, "values": there, "differs": len(set(there)) > 1})
    return sorted(rows, key=lambda row: not row["differs"])


def _outcome(looks: Sequence[Look], baseline: int) -> list[Row]:
    results = [_results(look) for look in looks]
    rows = []
    for key, label, unit, more_is in MEASURES:
        values = [result.get(key) for result in results]
        rows.append(
            {
                "key": key,
                "label": label,
                "unit": unit,
                "values": values,
                "why": ["not_recorded" if value is None else None for value in values],
                "words": [_word(value, values[baseline], more_is) for value in values],
            }
        )
    return rows


MEASURES = (
    ("accuracy", "pass@1, held out, newest", "share", "better"),
    ("eval_tokens", "Mean tokens, held out, newest", "tokens", "worse"),
    ("tokens_at_equal_accuracy", "Tokens at the base model's accuracy", "tokens", "worse"),
    ("accept_rate", "Accept rate, all rollouts", "share", "better"),
    ("mean_tokens", "Mean tokens, all rollouts", "tokens", "worse"),
    ("truncated", "Truncated, all rollouts", "share", "worse"),
    ("steps", "Optimizer steps", "", ""),
    ("rollouts", "Rollouts", "", ""),
    ("trained_tokens", "Trained tokens", "tokens", ""),
    ("generated_tokens", "Generated tokens", "tokens", "worse"),
    ("seconds", "Wall time", "s", "worse"),
    ("generator_rate", "Generator speed", "tokens/s", "better"),
    ("idle", "Learner idle", "share", "worse"),
)


def _results(look: Look) -> dict[str, float | None]:
    run = look.run
    rollouts, accepted, tokens, cut = look.db.one(
        """SELECT count(*), avg(accepted::INTEGER), avg(n_tokens),
                avg((finish_reason = 'length')::INTEGER) FROM rollouts"""
    )
    found = evaluations.load(look)
    newest = found[-1] if found else None
    equal = pareto.equal_rows([pareto.point(run.name, one, 0, "") for one in found])
    metrics = run.files.metrics
    last: Row = metrics[-1] if metrics else {}
    return {
        "accuracy": newest.accuracy[0] if newest else None,
        "eval_tokens": newest.mean_tokens[0] if newest else None,
        "tokens_at_equal_accuracy": equal[0]["tokens_at_equal_accuracy"] if equal else None,
        "accept_rate": accepted,
        "mean_tokens": tokens,
        "truncated": cut,
        "steps": last.get("step"),
        "rollouts": rollouts,
        "trained_tokens": last.get("trained_tokens"),
        "generated_tokens": last.get("generated_tokens"),
        "seconds": run.files.state.get("seconds"),
        "generator_rate": overview.generator_rate(metrics),
        "idle": overview.idle_share(metrics),
    }


def _word(value: float | None, base: float | None, more_is: str) -> str | None:
    if value is None or base is None or not more_is:
        return None
    if value == base:
        return "same"
    is_more = value > base
    return more_is if is_more else ("worse" if more_is == "better" else "better")
