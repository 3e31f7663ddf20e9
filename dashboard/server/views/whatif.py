"""V4: what other limits would have kept of what was recorded, as ``laconic replay`` decides it.

Only a rollout that is right and finished is ever decided by a limit; the others keep their reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dashboard.server.columns import OWN_CHECKS
from dashboard.server.errors import Refused
from dashboard.server.look import Look, share

NOTE = "replays recorded rollouts, does not predict training"

RIGHT = "finish_reason = 'stop' AND verdict = 'correct'"

FACTOR = 1000
"""Steps of the slider of a factor, for each 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One step's values of the rollouts that a limit can decide, in their order."""

    name: str
    passed: np.ndarray
    value: np.ndarray
    """NaN: it has none, and passes."""
    threshold: float | None
    """None: it was not the same for all."""
    direction: str | None
    """``<=`` or ``>=``; None: it cannot be moved, only left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the filters of a request leave, as columns."""

    rollouts: int
    problems: int
    tokens: np.ndarray
    budget: np.ndarray
    problem: np.ndarray
    rate: np.ndarray
    """Of its problem: the share of right answers; NaN: all came with the data."""
    accepted: np.ndarray
    """As it was decided."""
    checks: tuple[Check, ...]
    other_reasons: dict[str, int]
    """Of those that no limit decides."""
    caps: np.ndarray
    """Tokens at which what was cut off ended, …"""
    cap_budgets: np.ndarray
    """… and the budgets they had."""
    cap: int | None

    def passing(self) -> np.ndarray:
        """All checks but the length."""
        found = np.ones(len(self.tokens), dtype=bool)
        for check in self.checks:
            found &= check.passed
        return found


def whatif(look: Look) -> dict[str, Any]:
    """All that the length slider needs, in one answer."""
    rows = recorded(look)
    keep = rows.passing()
    tokens, budget = rows.tokens[keep], rows.budget[keep]
    rate, problem = rows.rate[keep], rows.problem[keep]
    factor = np.ceil(tokens * FACTOR / np.maximum(budget, 1)) / FACTOR
    cap_factor = np.floor(rows.caps * FACTOR / np.maximum(rows.cap_budgets, 1)) / FACTOR
    low, high = (int(budget.min()), int(budget.max())) if len(budget) else (None, None)
    return {
        "rollouts": rows.rollouts,
        "problems": rows.problems,
        "current": _current(rows),
        "note": NOTE,
        "by_tokens": _by("tokens", tokens, tokens, rate),
        "by_factor": _by("factor", factor, tokens, rate),
        "shortest_tokens": _shortest(tokens, problem),
        "shortest_factor": _shortest(factor, problem),
        "budget_min": low,
        "budget_max": high,
        "one_budget": low == high,
        "cap": rows.cap,
        "cut_off": _counted(rows.caps, "tokens"),
        "cut_off_factor": _counted(cap_factor, "factor"),
        "filters": [_slider(check) for check in rows.checks],
    }


def apply(look: Look) -> dict[str, Any]:
    """What these limits would have kept."""
    length, factor = look.args.maybe_integer("length"), _number(look, "factor")
    if length is not None and factor is not None:
        raise Refused("bad_request", "length and factor exclude each other", "factor")
    rows = recorded(look)
    limits, left_out = _limits(look, rows), set(look.args.several("drop"))
    if unknown := left_out - {check.name for check in rows.checks}:
        raise Refused("bad_request", f"drop={min(unknown)[:60]!r} is no filter of this run", "drop")
    budget = rows.budget if length is None else np.full_like(rows.budget, length)
    budget = budget if factor is None else np.floor(rows.budget * factor + 1e-9)
    over = rows.tokens > budget
    kept, reasons = ~over, dict(rows.other_reasons)
    if over.any():
        reasons["over_budget"] = int(over.sum())
    for check in rows.checks:
        if check.name in left_out:
            continue
        failed = kept & ~_passes(check, limits.get(check.name))
        if failed.any():
            reasons[check.name] = reasons.get(check.name, 0) + int(failed.sum())
        kept &= ~failed
    result = _kept(rows, kept, reasons)
    caps = rows.cap_budgets if length is None else np.full_like(rows.cap_budgets, length)
    caps = caps if factor is None else rows.cap_budgets * factor
    result["not_observed"] = int((caps > rows.caps).sum())
    moved = [check for check in rows.checks if check.name in limits]
    result["without_value"] = sum(int(np.isnan(check.value).sum()) for check in moved)
    override = _override(look, length, factor, limits, left_out)
    return {
        "kept": result,
        "current": _current(rows),
        "override": " ".join(override) if override else "",
        "command": " ".join(
            [f"laconic replay runs/{look.run.name}", *(f"--set {each}" for each in override)]
        ),
    }


def recorded(look: Look) -> Recorded:
    """Columns of the whole run are read once for the same rows; filters then choose among them."""
    offset, given = look.db.offset, str(sorted(look.given().items()))
    kept = look.run.recorded
    if kept is None or kept[0] != offset:
        kept = look.run.recorded = (offset, _read(look), {})
    if given not in kept[2]:
        kept[2].clear()
        kept[2][given] = _chosen(look, kept[1])
    return kept[2][given]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Of all rollouts of a run that a limit can decide, by their row number."""

    row: np.ndarray
    tokens: np.ndarray
    budget: np.ndarray
    problem: np.ndarray
    accepted: np.ndarray
    checks: tuple[Check, ...]
    problems: dict[str, int]
    """Numbers of problems."""


def _read(look: Look) -> Columns:
    names = [name for (name,) in look.db.tuples("SELECT DISTINCT problem_id FROM rollouts")]
    found = look.db.columns(
        f"""WITH numbered AS (SELECT unnest($1::VARCHAR[]) AS problem_id,
                unnest(range(len($1::VARCHAR[]))) AS place)
            SELECT r.row, r.n_tokens, coalesce(r.budget, 2147483647) AS budget, r.accepted, p.place
            FROM (SELECT * FROM rollouts WHERE {RIGHT}) r
            JOIN numbered p ON r.problem_id = p.problem_id ORDER BY r.row""",
        [names],
    )
    rows = np.asarray(found["row"])
    return Columns(
        row=rows,
        tokens=np.asarray(found["n_tokens"]).astype(np.int64),
        budget=np.asarray(found["budget"]).astype(np.int64),
        problem=np.asarray(found["place"]).astype(np.int64),
        accepted=np.ma.filled(found["accepted"], False).astype(bool),
        checks=tuple(_check(look, name, rows) for name in _names(look)),
        problems={name: place for place, name in enumerate(names)},
    )


def _chosen(look: Look, all_rows: Columns) -> Recorded:
    where = look.where()
    picked = slice(None)
    if look.given():
        found = look.db.columns(
            f"SELECT row FROM rollouts WHERE {where.sql} AND {RIGHT} ORDER BY row", where.values
        )
        picked = np.searchsorted(all_rows.row, np.asarray(found["row"]))
    rates = np.full(max(1, len(all_rows.problems)), np.nan)
    by_problem = look.db.tuples(
        f"""SELECT problem_id, count(*) FILTER (WHERE {RIGHT}) / count(*) FROM rollouts
            WHERE {where.sql} AND NOT coalesce(is_expert, false) GROUP BY problem_id""",
        where.values,
    )
    for name, rate in by_problem:
        rates[all_rows.problems[name]] = rate
    num, problems, cap = look.db.one(
        f"""SELECT count(*), count(DISTINCT problem_id), max(max_tokens)
            FROM rollouts WHERE {where.sql}""",
        where.values,
    )
    others = look.db.tuples(
        f"""SELECT coalesce(reason::VARCHAR, 'unknown'), count(*) FROM rollouts
            WHERE {where.sql} AND NOT coalesce({RIGHT}, false) GROUP BY 1""",
        where.values,
    )
    cut = look.db.columns(
        f"""SELECT if(finish_reason = 'length', max_tokens, budget) AS cap, budget FROM rollouts
            WHERE {where.sql} AND finish_reason IN ('length', 'abort')
              AND max_tokens IS NOT NULL AND budget IS NOT NULL""",
        where.values,
    )
    problem = all_rows.problem[picked]
    return Recorded(
        rollouts=num,
        problems=problems,
        tokens=all_rows.tokens[picked],
        budget=all_rows.budget[picked],
        problem=problem,
        rate=rates[problem],
        accepted=all_rows.accepted[picked],
        checks=tuple(
            replace(check, passed=check.passed[picked], value=check.value[picked])
            for check in all_rows.checks
        ),
        other_reasons=dict(others),
        caps=np.asarray(cut["cap"]).astype(np.int64),
        cap_budgets=np.asarray(cut["budget"]).astype(np.int64),
        cap=cap,
    )


def _names(look: Look) -> list[str]:
    """Of the checks besides those that every rollout has, in the order in which they decide."""
    there = [name for (name,) in look.db.tuples("SELECT DISTINCT name FROM checks ORDER BY name")]
    config = look.run.config
    steps = [step.use for step in config.filter.steps] if config else []
    in_order = [name for name in there if name not in steps] + steps
    return [name for name in in_order if name in there and name not in OWN_CHECKS]


def _check(look: Look, name: str, rows: np.ndarray) -> Check:
    found = look.db.columns(
        "SELECT row, pass, value, threshold FROM checks WHERE name = ? ORDER BY row", [name]
    )
    at = np.searchsorted(rows, found["row"])
    at_end = np.minimum(at, max(0, len(rows) - 1))
    here = (at < len(rows)) & (rows[at_end] == found["row"]) if len(rows) else at < 0
    value, passed = np.full(len(rows), np.nan), np.ones(len(rows), dtype=bool)
    value[at[here]] = np.ma.filled(found["value"], np.nan)[here]
    passed[at[here]] = np.ma.filled(found["pass"], True)[here]
    values, limits = (np.ma.filled(found[n], np.nan).astype(float) for n in ("value", "threshold"))
    passes, known = np.ma.filled(found["pass"], True), ~np.isnan(values) & ~np.isnan(limits)
    below = bool((passes[known] == (values[known] <= limits[known])).all())
    above = bool((passes[known] == (values[known] >= limits[known])).all())
    finite = np.unique(limits[np.isfinite(limits)])
    return Check(
        name=name,
        passed=passed,
        value=value,
        threshold=float(finite[0]) if len(finite) == 1 else None,
        direction="<=" if below and known.any() else ">=" if above and known.any() else None,
    )


def _passes(check: Check, limit: float | None) -> np.ndarray:
    if limit is None:
        return check.passed
    beyond = check.value > limit if check.direction == "<=" else check.value < limit
    return ~beyond  # a NaN is beyond nothing


def _current(rows: Recorded) -> dict[str, Any]:
    """As it was decided when it was recorded."""
    reasons, left = dict(rows.other_reasons), ~rows.accepted
    over = left & (rows.tokens > rows.budget)
    if over.any():
        reasons["over_budget"] = int(over.sum())
    left &= ~over
    for check in rows.checks:
        failed = left & ~check.passed
        if failed.any():
            reasons[check.name] = reasons.get(check.name, 0) + int(failed.sum())
        left &= ~failed
    return _kept(rows, rows.accepted, reasons)


def _kept(rows: Recorded, kept: np.ndarray, reasons: dict[str, int]) -> dict[str, Any]:
    num, rates = int(kept.sum()), rows.rate[kept]
    known = rates[~np.isnan(rates)]
    return {
        "kept": num,
        "share": share(num, rows.rollouts) or 0.0,
        "problems_without": rows.problems - len(np.unique(rows.problem[kept])),
        "mean_tokens": float(rows.tokens[kept].mean()) if num else None,
        "pass_rate": float(known.mean()) if len(known) else None,
        "not_observed": int((rows.cap_budgets > rows.caps).sum()),
        "without_value": 0,
        "reasons": dict(sorted(reasons.items(), key=lambda pair: -pair[1])),
    }


def _by(name: str, key: np.ndarray, tokens: np.ndarray, rate: np.ndarray) -> dict[str, list[float]]:
    """Ascending keys, and what the rollouts of each add."""
    keys, place = np.unique(key, return_inverse=True)
    return {
        name: keys.tolist(),
        "count": np.bincount(place, minlength=len(keys)).tolist(),
        "token_sum": np.bincount(place, tokens, len(keys)).tolist(),
        "pass_rate_sum": np.bincount(place, np.nan_to_num(rate), len(keys)).tolist(),
        "rated": np.bincount(place, ~np.isnan(rate), len(keys)).astype(int).tolist(),
    }


def _shortest(key: np.ndarray, problem: np.ndarray) -> list[float]:
    if len(key) == 0:
        return []
    least = np.full(int(problem.max()) + 1, np.inf)
    np.minimum.at(least, problem, key)
    return np.sort(least[np.isfinite(least)]).tolist()


def _counted(values: np.ndarray, name: str) -> dict[str, list[Any]]:
    keys, counts = np.unique(values, return_counts=True)
    return {name: keys.tolist(), "count": counts.tolist()}


def _slider(check: Check) -> dict[str, Any]:
    known = check.value[np.isfinite(check.value)]
    quantiles = np.quantile(known, np.linspace(0, 1, 101)).tolist() if len(known) else []
    return {
        "name": check.name,
        "threshold": check.threshold,
        "min": quantiles[0] if quantiles else None,
        "max": quantiles[-1] if quantiles else None,
        "pass_when": check.direction,
        "without_value": int(np.isnan(check.value).sum()),
        "quantiles": quantiles,
    }


def _limits(look: Look, rows: Recorded) -> dict[str, float]:
    movable = {check.name for check in rows.checks if check.direction is not None}
    found = {}
    for pair in look.args.several("set"):
        name, _, value = pair.rpartition(":")
        if name not in movable:
            known = ", ".join(sorted(movable)) or "none"
            raise Refused(
                "bad_request", f"set={pair[:60]!r} names no limit that can be moved: {known}", "set"
            )
        found[name] = _float("set", value)
    return found


def _number(look: Look, name: str) -> float | None:
    value = look.args.text(name)
    return _float(name, value) if value else None


def _float(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise Refused("bad_request", f"{name}={value[:60]!r} is no number", name)
    return number


def _override(
    look: Look,
    length: int | None,
    factor: float | None,
    limits: dict[str, float],
    left_out: set[str],
) -> list[str]:
    """The settings that ``laconic replay`` and ``laconic train`` take, where there are such."""
    config = look.run.config
    found = []
    if length is not None:
        found.append(f"filter.length_budget={length}")
        if config and config.budget.kind != "fixed":
            found.append("budget.kind=fixed")
    if factor is not None and config:
        found.append(f"filter.length_budget={int(config.filter.length_budget * factor)}")
    if config and (limits or left_out):
        steps = [
            f"{{use: {step.use}, settings: {_settings(step.settings, limits.get(step.use))}}}"
            for step in config.filter.steps
            if step.use not in left_out
        ]
        found.append(f"'filter.steps=[{', '.join(steps)}]'")
    return found


def _settings(settings: Mapping[str, Any], limit: float | None) -> str:
    """As YAML in one line. A limit that follows the run becomes a limit of its own."""
    values = {
        name: value for name, value in settings.items() if name != "quantile" or limit is None
    }
    if limit is not None:
        values["max"] = limit
    return "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"
