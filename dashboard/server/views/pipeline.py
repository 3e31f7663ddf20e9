"""V8: who waits for whom, in numbers and in one sentence; one optimizer step as lanes."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.server.errors import Refused
from dashboard.server.look import Look, share
from dashboard.server.views import overview
from dashboard.server.views.series import number

Row = dict[str, Any]

TIME = (
    ("wait", "waiting for rollouts"),
    ("fetch", "fetching the batch"),
    ("compute", "computing"),
    ("other_step", "rest of the step"),
    ("publish", "publishing weights"),
    ("between", "between steps"),
)

NEWEST = 50
"""Optimizer steps that the sentence is about."""

STARVED, BUSY_SYNC = 0.15, 0.25
"""Shares of the learner's time from which waiting, or publishing, is the bottleneck."""

MAX_SPANS = 4000


def pipeline(look: Look) -> dict[str, Any]:
    metrics = look.run.files.metrics
    points = look.args.integer("points", 600, 10, 5000)
    seconds = learner_seconds(metrics[-NEWEST:])
    config = look.run.config
    limit = config.max_lag if config else None
    bottleneck, sentence = bottleneck_of(metrics[-NEWEST:], seconds)
    lags = look.db.tuples(
        """SELECT generator_id::VARCHAR, lag, count(*) FROM rollouts
            WHERE fate = 'trained' AND lag IS NOT NULL GROUP BY ALL ORDER BY ALL"""
    )
    of_all = _counted(lags, None)
    return {
        "sentence": sentence,
        "bottleneck": bottleneck,
        "learner_time": _shares(seconds),
        "steps": _steps(metrics),
        "max_lag": limit,
        "lag_violations": sum(
            num for lag, num in of_all.items() if limit is not None and lag > limit
        ),
        "lag": [
            {
                "lag": lag,
                "rollouts": num,
                "filters": {"fate": ["trained"], "lag_min": lag, "lag_max": lag},
            }
            for lag, num in of_all.items()
        ],
        "lag_p50": quantile(of_all, 0.5),
        "lag_p95": quantile(of_all, 0.95),
        "lag_by_generator": [
            {
                "generator_id": name,
                "rollouts": sum(of_it.values()),
                "p50": quantile(of_it, 0.5),
                "p95": quantile(of_it, 0.95),
                "max": max(of_it),
            }
            for name in dict.fromkeys(name for name, _, _ in lags if name is not None)
            if (of_it := _counted(lags, name))
        ],
        **_gauges(look, points),
        "drops": _drops(look),
        "first_step": metrics[0]["step"] if metrics else None,
        "last_step": metrics[-1]["step"] if metrics else None,
    }


def quantile(counts: Mapping[int, int], share: float) -> int | None:
    """The least value that so large a share of all does not exceed."""
    needed = share * sum(counts.values())
    reached = 0
    for value in sorted(counts):
        reached += counts[value]
        if reached >= needed:
            return value
    return None


def _counted(lags: Sequence[tuple[str | None, int, int]], name: str | None) -> dict[int, int]:
    """Rollouts by lag, of one engine or of all."""
    found: dict[int, int] = {}
    for engine, lag, num in lags:
        if name in (None, engine):
            found[lag] = found.get(lag, 0) + num
    return dict(sorted(found.items()))


def learner_seconds(rows: Sequence[Row]) -> dict[str, float]:
    """Where the learner's wall time went. ``between``: from one step's publication to the next
    question for a batch."""
    seconds = dict.fromkeys((what for what, _ in TIME), 0.0)
    before = None
    for row in rows:
        train = number(row.get("train_s")) or 0.0
        fetch, compute = (number(row.get(name)) or 0.0 for name in ("fetch_s", "compute_s"))
        seconds["wait"] += number(row.get("wait_s")) or 0.0
        seconds["fetch"] += fetch
        seconds["compute"] += compute
        seconds["other_step"] += max(0.0, train - fetch - compute)
        seconds["publish"] += number(row.get("publish_s")) or 0.0
        asked = row.get("asked_us")
        if before is not None and asked is not None and asked >= before:
            seconds["between"] += (asked - before) / 1e6
        before = row.get("published_us")
    return seconds


def bottleneck_of(rows: Sequence[Row], seconds: dict[str, float]) -> tuple[str, str]:
    """The part that the others wait for, and why one thinks so."""
    total = sum(seconds.values())
    if not rows or total <= 0:
        return "unknown", "no optimizer step yet: nothing can be said about the bottleneck"
    waiting, publishing = seconds["wait"] / total, seconds["publish"] / total
    judging = [number(row.get("judge_waiting")) or 0.0 for row in rows]
    if waiting >= STARVED:
        need = _generators_to_need(rows, seconds)
        pace = "" if need is None else f": generators at {need:.1f}x need"
        slow = sum(judging) / len(judging)
        workers = number(rows[-1].get("judge_workers")) or 1
        if slow > 4 * workers:
            return "judges", (
                f"learner starved {100 * waiting:.0f} %: {slow:.0f} responses wait for "
                f"{workers:.0f} judge processes"
            )
        return "generators", f"learner starved {100 * waiting:.0f} %{pace}"
    if publishing >= BUSY_SYNC:
        return "sync", (
            f"publishing weights takes {100 * publishing:.0f} % of the learner's time, "
            f"{seconds['publish'] / len(rows):.1f} s a step"
        )
    if waiting < 0.05:
        need = _generators_to_need(rows, seconds)
        pace = "" if need is None else f"; generators at {need:.1f}x need"
        return "learner", (
            f"the learner is the bottleneck: it waits {100 * waiting:.0f} % of its time{pace}"
        )
    return "none", f"balanced: the learner waits {100 * waiting:.0f} % of its time"


def _generators_to_need(rows: Sequence[Row], seconds: dict[str, float]) -> float | None:
    """Rollouts written a second over what the learner would take if it never waited."""
    total, busy = sum(seconds.values()), sum(seconds.values()) - seconds["wait"]
    return share(busy, total) if rows else None


def _shares(seconds: dict[str, float]) -> list[Row]:
    total = sum(seconds.values())
    return [
        {
            "what": what,
            "label": label,
            "seconds": seconds[what],
            "share": seconds[what] / total if total else 0.0,
        }
        for what, label in TIME
    ]


def _steps(rows: Sequence[Row]) -> dict[str, list[Any]]:
    names = (
        "wait_s",
        "fetch_s",
        "compute_s",
        "publish_s",
        "lag_max",
        "stale",
        "rollouts",
        "accepted",
        "generated_tokens_per_s",
    )
    found: dict[str, list[Any]] = {"step": [row["step"] for row in rows]}
    found |= {name: [number(row.get(name)) for row in rows] for name in names}
    found["trained_tokens_per_s"] = [overview.learner_rate([row]) for row in rows]
    return found


def _gauges(look: Look, points: int) -> dict[str, Any]:
    """From the history of ``state.json``, thinned out evenly."""
    history = look.run.files.history
    every = max(1, len(history) // points)
    chosen = [row for place, row in enumerate(history) if place % every == 0]

    def counts(name: str) -> list[Any]:
        return [number((row.get("counts") or {}).get(name)) for row in chosen]

    config = look.run.config
    capacity = None
    if config is not None:
        capacity = (config.max_lag + 1) * config.batch.problems * config.group_size
    return {
        "gauges": {
            "at_us": [row.get("heartbeat_us") for row in chosen],
            "queued": counts("queued"),
            "capacity": [capacity] * len(chosen),
            "running_groups": counts("running_groups"),
            "judging": [number((row.get("judges") or {}).get("waiting")) for row in chosen],
        },
        "gauges_why": None if chosen else "not_recorded",
    }


def _drops(look: Look) -> list[Row]:
    found = look.db.tuples(
        """SELECT fate::VARCHAR, count(*) FROM rollouts
            WHERE fate NOT IN ('trained', 'waiting', 'rejected') GROUP BY fate ORDER BY fate"""
    )
    return [{"fate": fate, "rollouts": num, "filters": {"fate": [fate]}} for fate, num in found]


def lanes(look: Look) -> dict[str, Any]:
    """Everything that happened while one optimizer step was made: learner, engines, judges."""
    metrics = look.run.files.metrics
    wanted = look.args.maybe_integer("step")
    row = next((r for r in reversed(metrics) if wanted is None or r["step"] == wanted), None)
    if row is None or not all(
        row.get(n) for n in ("asked_us", "leased_us", "stepped_us", "published_us")
    ):
        raise Refused("bad_request", f"step {wanted} has no recorded times", "step")
    start_us, end_us = row["asked_us"], row["published_us"]
    learner = [
        _span(start_us, row["leased_us"], "waiting for rollouts"),
        _span(row["leased_us"], row["stepped_us"], "optimizer step"),
    ]
    sync = [_span(row["stepped_us"], end_us, "publishing weights")]
    total = look.db.one(
        "SELECT count(*) FROM rollouts WHERE start_us <= ? AND end_us >= ?", [end_us, start_us]
    )[0]
    every = max(1, -(-total // MAX_SPANS))
    rows = look.db.rows(
        f"""SELECT rollout_id, generator_id::VARCHAR AS generator_id, start_us, end_us,
                fate::VARCHAR AS fate, verify_ms
            FROM rollouts WHERE start_us <= ? AND end_us >= ? AND row % {every} = 0
            ORDER BY start_us""",
        [end_us, start_us],
    )
    lanes = [{"name": "learner", "kind": "learner", "spans": learner}]
    names = sorted({r["generator_id"] or "unknown" for r in rows}, key=_by_number)
    lanes += [
        {
            "name": name,
            "kind": "generator",
            "spans": _packed([r for r in rows if (r["generator_id"] or "unknown") == name]),
        }
        for name in names
    ]
    judged = [
        r | {"start_us": r["end_us"], "end_us": r["end_us"] + int(r["verify_ms"] * 1000)}
        for r in rows
        if r["verify_ms"] is not None
    ]
    if judged:
        judged.sort(key=lambda r: r["start_us"])
        lanes.append({"name": "judges", "kind": "judge", "spans": _packed(judged, "judged")})
    lanes.append({"name": "weights", "kind": "sync", "spans": sync})
    return {
        "step": row["step"],
        "from_us": start_us,
        "to_us": end_us,
        "lanes": lanes,
        "left_out": total - len(rows),
    }


def _span(start_us: int, end_us: int, what: str) -> Row:
    return {
        "start_us": start_us,
        "end_us": end_us,
        "what": what,
        "fate": None,
        "rollout_id": None,
        "row": 0,
    }


def _packed(rows: Sequence[Row], what: str = "written") -> list[Row]:
    """Spans of one lane, each in the first row of it that is free."""
    ends: list[int] = []
    spans = []
    for row in rows:
        free = next((at for at, end in enumerate(ends) if end <= row["start_us"]), len(ends))
        ends[free : free + 1] = [row["end_us"]]
        spans.append(
            {
                "start_us": row["start_us"],
                "end_us": row["end_us"],
                "what": what,
                "fate": row["fate"],
                "rollout_id": row["rollout_id"],
                "row": free,
            }
        )
    return spans


def _by_number(name: str) -> tuple[str, int]:
    head, _, tail = name.rpartition("-")
    return (head, int(tail)) if tail.isdigit() else (name, 0)
