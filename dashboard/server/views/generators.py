"""V9: every engine, and how far it is from the others."""

import time
from statistics import median
from typing import Any

from dashboard.server.look import Look
from dashboard.server.views.series import as_event, number

Row = dict[str, Any]

SILENT_S = 3.5
"""Three heartbeats that did not come."""

GAUGES = (
    *("lag", "running", "waiting", "kv_use", "tokens_per_s", "preemptions"),
    *("prefix_hit_share", "stalled_s", "ttft_ms", "itl_ms"),
)
HISTORY = ("running", "waiting", "kv_use", "tokens_per_s")
MAX_POINTS = 600
WINDOW_US = 30_000_000
"""Over which an engine's speed is taken."""

OUTLYING = 0.5
"""An engine is marked where it is so much of the median away from it, and three times further than
half of the others."""


def generators(look: Look) -> dict[str, Any]:
    run = look.run
    engines = [
        _engine(look, row) for row in run.files.state.get("engines") or [] if isinstance(row, dict)
    ]
    counted = look.db.rows(
        """SELECT generator_id::VARCHAR AS name, count(*) AS rollouts,
                count(*) FILTER (accepted) AS accepted
            FROM rollouts WHERE generator_id IS NOT NULL GROUP BY generator_id"""
    )
    by_name = {row["name"]: row for row in counted}
    engines += [
        _gone(row)
        for name, row in sorted(by_name.items())
        if name not in {engine["name"] for engine in engines}
    ]
    serving = [engine for engine in engines if engine["state"] == "serving"]
    spread = _spread(serving)
    for engine in engines:
        found = by_name.get(engine["name"], {})
        engine["rollouts"] = found.get("rollouts", 0)
        engine["accepted"] = found.get("accepted", 0)
        engine["filters"] = {"generator_id": [engine["name"]]}
        engine["outlier"] = _outliers(engine, serving) if engine in serving else []
        engine["missing"] = {
            name: "not_recorded"
            for name, value in engine.items()
            if value is None and name not in ("silent", "log")
        }
    history = _history(look)
    return {
        "engines": engines,
        "spread": spread,
        "history": history,
        "history_why": None if history else "not_recorded",
        "events": [
            as_event(event)
            for event in reversed(run.files.events)
            if "engine" in str(event.get("kind"))
        ][:200],
    }


def _engine(look: Look, row: Row) -> Row:
    run, name = look.run, str(row.get("name"))
    metrics = run.files.metrics
    newest = metrics[-1].get("version") if metrics else None
    version = row.get("version")
    heartbeat = run.files.state.get("heartbeat_us")
    silent_s = float(row.get("silent_s") or 0.0)
    is_over = run.status()[0] not in ("live", "silent")
    if heartbeat is not None and not is_over:
        silent_s += max(0.0, time.time() - heartbeat / 1e6)
    prompt, cached = number(row.get("prompt_tokens")), number(row.get("cached_tokens"))
    log = f"{name}.log"
    return {
        "name": name,
        "state": str(row.get("state", "unknown")),
        "node": row.get("node"),
        "version": version,
        "lag": newest - version if isinstance(newest, int) and isinstance(version, int) else None,
        "running": number(row.get("running")),
        "waiting": number(row.get("waiting")),
        "limit": number(row.get("limit")),
        "kv_use": number(row.get("kv_use")),
        "tokens_per_s": _rate(look, name),
        "generated_tokens": number(row.get("generated_tokens")),
        "requests_done": number(row.get("requests_done")),
        "preemptions": number(row.get("preemptions")),
        "prefix_hit_share": cached / prompt if prompt and cached is not None else None,
        "stalled_s": number(row.get("stalled_s")),
        "ttft_ms": number(row.get("ttft_ms")),
        "itl_ms": number(row.get("itl_ms")),
        "restarts": _restarts(look, name),
        "gpu": row.get("gpu"),
        "heartbeat_us": None if heartbeat is None else heartbeat - int(silent_s * 1e6),
        "silent": f"silent {silent_s:.0f} s" if silent_s > SILENT_S and not is_over else None,
        "log": log if (run.run_dir / "logs" / log).is_file() else None,
    }


def _gone(row: Row) -> Row:
    """One that wrote rollouts and is not there any more."""
    names = (
        "node",
        "version",
        "lag",
        "running",
        "waiting",
        "limit",
        "kv_use",
        "tokens_per_s",
        "generated_tokens",
        "requests_done",
        "preemptions",
        "prefix_hit_share",
        "stalled_s",
        "ttft_ms",
        "itl_ms",
        "restarts",
        "gpu",
        "heartbeat_us",
        "silent",
        "log",
    )
    return {"name": row["name"], "state": "gone"} | dict.fromkeys(names)


def _rate(look: Look, name: str) -> float | None:
    """Tokens a second in the newest half minute of the history; of the whole run without one."""
    history = look.run.files.history
    points = [
        (row.get("heartbeat_us"), tokens)
        for row in history
        if (tokens := _tokens(row, name)) is not None
    ]
    points = [(at, tokens) for at, tokens in points if isinstance(at, int)]
    if len(points) >= 2:
        last_at, last = points[-1]
        at, tokens = next(
            ((a, t) for a, t in reversed(points) if last_at - a >= WINDOW_US), points[0]
        )
        if last_at > at and last >= tokens:
            return (last - tokens) / ((last_at - at) / 1e6)
    state = look.run.files.state
    total, seconds = _tokens(state, name), number(state.get("seconds"))
    return total / seconds if total is not None and seconds else None


def _tokens(state: Row, name: str) -> float | None:
    for row in state.get("engines") or ():
        if isinstance(row, dict) and row.get("name") == name:
            return number(row.get("generated_tokens"))
    return None


def _restarts(look: Look, name: str) -> int:
    return sum(
        event.get("name") == name and event.get("kind") == "engine_lost"
        for event in look.run.files.events
    )


def _spread(serving: list[Row]) -> dict[str, dict[str, float]]:
    found = {}
    for name in GAUGES:
        values = [engine[name] for engine in serving if engine[name] is not None]
        if values:
            found[name] = {"min": min(values), "median": median(values), "max": max(values)}
    return found


def _outliers(engine: Row, serving: list[Row]) -> list[str]:
    if len(serving) < 3:
        return []
    found = []
    for name in GAUGES:
        values = [other[name] for other in serving if other[name] is not None]
        if engine[name] is None or len(values) < 3:
            continue
        middle = median(values)
        away = abs(engine[name] - middle)
        usual = median(abs(value - middle) for value in values)
        if away > OUTLYING * abs(middle) and away > 3 * usual and away > 0:
            found.append(name)
    return found


def _history(look: Look) -> list[Row]:
    """Gauges of each engine over time, thinned out evenly."""
    history = look.run.files.history
    every = max(1, len(history) // MAX_POINTS)
    chosen = list(history)[::every]
    found: dict[str, Row] = {}
    before: dict[str, tuple[int, float]] = {}
    for state in chosen:
        at_us = state.get("heartbeat_us")
        if not isinstance(at_us, int):
            continue
        for row in state.get("engines") or ():
            if not isinstance(row, dict):
                continue
            name = str(row.get("name"))
            entry = found.setdefault(
                name, {"name": name, "at_us": [], "columns": {key: [] for key in HISTORY}}
            )
            entry["at_us"].append(at_us)
            for key in HISTORY:
                value = number(row.get(key))
                if key == "tokens_per_s":
                    value = _between(before.get(name), at_us, number(row.get("generated_tokens")))
                entry["columns"][key].append(value)
            if (tokens := number(row.get("generated_tokens"))) is not None:
                before[name] = (at_us, tokens)
    return list(found.values())


def _between(before: tuple[int, float] | None, at_us: int, tokens: float | None) -> float | None:
    if before is None or tokens is None or at_us <= before[0] or tokens < before[1]:
        return None
    return (tokens - before[1]) / ((at_us - before[0]) / 1e6)
