"""V1: where the run is, in one screen."""

import time
from typing import Any

from dashboard.server.look import Look, share
from dashboard.server.run import Run
from dashboard.server.views import evaluations, funnel, pareto, series

WINDOW = 1000
"""Rollouts of the first and of the newest window that tiles compare."""

STEPS = 20
"""Optimizer steps of such a window."""

STALL_S = 120.0

CHARTS = (
    ("Accept rate", "share", ("accept_rate",), True),
    ("Mean tokens", "tokens", ("mean_tokens", "accepted_tokens_mean"), True),
    ("Loss", "nats", ("loss",), False),
    ("Tokens per second", "tokens/s", ("generated_tokens_per_s", "trained_tokens_per_s"), True),
    ("Where the step's time went", "s", ("wait_s", "train_s", "publish_s"), True),
    ("Lag", "versions", ("lag_max",), True),
)

ERRORS = (
    *("engine_lost", "learner_lost", "part_hung", "dead_letter", "disk_trouble", "stalled"),
    *("checkpoint_failed", "ended_early", "rolled_back", "failed", "recorder_failed", "not_merged"),
)
"""Events that say that something went wrong."""


def overview(look: Look) -> dict[str, Any]:
    run, state = look.run, look.run.files.state
    metrics = run.files.metrics
    steps = run.config.steps if run.config else (metrics[-1].get("steps") if metrics else None)
    step = metrics[-1]["step"] if metrics else 0
    return {
        "info": run.info(),
        "phase": state.get("phase"),
        "step": step,
        "steps": steps,
        "version": metrics[-1].get("version", step) if metrics else 0,
        "seconds": state.get("seconds"),
        "eta_s": _eta(run, step, steps),
        "heartbeat_us": state.get("heartbeat_us"),
        "progress_us": progress_us(run),
        "stalled": stalled(run),
        "last_error": _last_error(run),
        "tiles": tiles(look),
        "charts": [
            {"title": title, "unit": unit, "names": list(names), "zero_based": zero}
            for title, unit, names, zero in CHARTS
        ],
        "alarms": look.run.alarms(),
        "counts": funnel.counts(look),
        "links": _links(run),
    }


def tiles(look: Look) -> list[dict[str, Any]]:
    return [
        *_rollout_tiles(look),
        *_eval_tiles(look),
        _lag_tile(look),
        *_rate_tiles(look.run),
    ]


def stalled(run: Run) -> str | None:
    """Nothing moved for a while although the run says that it is alive, or it says nothing."""
    status, _ = run.status()
    since = progress_us(run)
    if status not in ("live", "silent") or since is None:
        return None
    silent_s = time.time() - since / 1e6
    if silent_s < STALL_S:
        return None
    return f"no progress for {duration(silent_s)}"


def progress_us(run: Run) -> int | None:
    """When a step, a rollout or an event last came."""
    events, metrics = run.files.events, run.files.metrics
    times = [
        run.newest_us,
        metrics[-1].get("at_us") if metrics else None,
        events[-1].get("at_us") if events else None,
        run.counts_changed_us,
    ]
    return max((at for at in times if isinstance(at, int)), default=None)


def duration(seconds: float) -> str:
    """``3 m 12 s`` as people say it: ``14 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _eta(run: Run, step: int, steps: int | None) -> float | None:
    metrics = run.files.metrics[-STEPS:]
    if run.status()[0] != "live" or steps is None or len(metrics) < 2:
        return None
    first, last = metrics[0], metrics[-1]
    if not (first.get("at_us") and last.get("at_us")) or last["step"] <= first["step"]:
        return None
    pace = (last["at_us"] - first["at_us"]) / 1e6 / (last["step"] - first["step"])
    return max(0.0, (steps - step) * pace)


def _last_error(run: Run) -> dict[str, Any] | None:
    for event in reversed(run.files.events):
        if event.get("kind") in ERRORS:
            text = f"{event['kind'].replace('_', ' ')}: {series.words(event)}"
            return {"at_us": event.get("at_us"), "text": text}
    return None


def _links(run: Run) -> list[dict[str, str]]:
    links = run.files.run.get("links")
    if not isinstance(links, dict):
        return []
    return [
        {"label": str(label), "url": url}
        for label, url in links.items()
        if isinstance(url, str) and url.startswith(("http://", "https://"))
    ]


def _rollout_tiles(look: Look) -> list[dict[str, Any]]:
    """Of the newest thousand rollouts against the first thousand."""
    first_us, last_us, num = look.db.one(
        f"""SELECT (SELECT max(end_us) FROM
                (SELECT end_us FROM rollouts ORDER BY end_us LIMIT {WINDOW})),
            (SELECT min(end_us) FROM
                (SELECT end_us FROM rollouts ORDER BY end_us DESC LIMIT {WINDOW})),
            (SELECT count(end_us) FROM rollouts)"""
    )
    windows = [
        look.db.one(
            f"""SELECT count(*), count(*) FILTER (accepted), avg(n_tokens)
                FROM rollouts WHERE end_us {sign} ?""",
            [bound],
        )
        for sign, bound in (("<=", first_us), (">=", last_us))
    ]
    (old, old_accepted, old_tokens), (new, accepted, tokens) = windows
    compared = num > 2 * WINDOW
    newest = {"time_min_us": last_us} if last_us is not None else None
    return [
        tile(
            "accept_rate",
            "Accept rate",
            share(accepted, new),
            "share",
            start=share(old_accepted, old) if compared else None,
            more_is="better",
            detail=f"{accepted:,} of the newest {new:,} rollouts",
            filters=newest,
        ),
        tile(
            "mean_tokens",
            "Mean tokens",
            tokens,
            "tokens",
            start=old_tokens if compared else None,
            more_is="worse",
            detail=f"of the newest {new:,} rollouts, rejected ones included",
            filters=newest,
        ),
    ]


def _eval_tiles(look: Look) -> list[dict[str, Any]]:
    found = evaluations.load(look)
    benchmark = found[-1].benchmark if found else ""
    found = [one for one in found if one.benchmark == benchmark]
    points = [pareto.point(look.run.name, one, 0, "") for one in (found[:1] + found[-1:])]
    base, newest = (points[0], points[-1]) if points else (None, None)
    equal = pareto.equal_rows([pareto.point(look.run.name, one, 0, "") for one in found])
    at_equal = equal[0]["tokens_at_equal_accuracy"] if equal else None
    moved = base is not None and len(found) > 1
    return [
        tile(
            "pass_at_1",
            "pass@1, held out",
            newest["accuracy"] if newest else None,
            "share",
            start=base["accuracy"] if base and moved else None,
            more_is="better",
            detail=_eval_detail(newest),
            why="not_yet" if look.run.config and look.run.config.data.heldout else "not_applicable",
        ),
        tile(
            "tokens_at_equal_accuracy",
            "Tokens at equal accuracy",
            at_equal,
            "tokens",
            start=base["tokens"] if base and at_equal is not None else None,
            more_is="worse",
            detail=(equal[0]["why"] or "where the run reaches the base model's accuracy")
            if equal
            else "needs two evaluations",
            why="not_yet" if not moved else "not_applicable",
        ),
    ]


def _eval_detail(point: dict[str, Any] | None) -> str:
    if point is None:
        return "no evaluation yet"
    low, high = 100 * point["accuracy_low"], 100 * point["accuracy_high"]
    return (
        f"{point['label']}: 95 % interval {low:.1f} to {high:.1f}, "
        f"{point['problems']} problems x {point['samples']}"
    )


def _lag_tile(look: Look) -> dict[str, Any]:
    last = look.db.one("SELECT max(step) FROM rollouts WHERE fate = 'trained'")[0]
    bounds = {"fate": ["trained"], "step_min": (last or 0) - STEPS + 1}
    value, num = look.db.one(
        """SELECT quantile_disc(lag, 0.95), count(*) FROM rollouts
            WHERE fate = 'trained' AND step >= ?""",
        [bounds["step_min"]],
    )
    limit = look.run.config.max_lag if look.run.config else None
    bound = "" if limit is None else f", limit {limit}"
    return tile(
        "lag_p95",
        "Lag, 95th percentile",
        value,
        "versions",
        more_is="worse",
        detail=f"of {num:,} rollouts trained in the last {STEPS} steps{bound}",
        filters=bounds if num else None,
        why="not_yet",
    )


def _rate_tiles(run: Run) -> list[dict[str, Any]]:
    metrics = run.files.metrics
    first, last = metrics[:STEPS], metrics[-STEPS:]
    compared = len(metrics) >= 2 * STEPS
    figures = (
        ("generator_tokens_per_s", "Generator speed", "tokens/s", generator_rate, "better"),
        ("learner_tokens_per_s", "Learner speed", "tokens/s", learner_rate, "better"),
        ("learner_idle", "Learner idle", "share", idle_share, "worse"),
    )
    return [
        tile(
            key,
            label,
            figure(last),
            unit,
            start=figure(first) if compared else None,
            more_is=more_is,
            detail=f"over the last {len(last)} steps",
            why="not_yet",
        )
        for key, label, unit, figure, more_is in figures
    ]


def generator_rate(rows: list[dict[str, Any]]) -> float | None:
    known = [row["generated_tokens_per_s"] for row in rows if row.get("generated_tokens_per_s")]
    return sum(known) / len(known) if known else None


def learner_rate(rows: list[dict[str, Any]]) -> float | None:
    """Supervised tokens for every second that the learner was at work."""
    known = [row for row in rows if row.get("train_s") and row.get("num_tokens") is not None]
    seconds = sum(row["train_s"] for row in known)
    return share(sum(row["num_tokens"] for row in known), seconds)


def idle_share(rows: list[dict[str, Any]]) -> float | None:
    names = ("wait_s", "train_s", "publish_s")
    known = [[row[name] for name in names] for row in rows if all(n in row for n in names)]
    return share(sum(times[0] for times in known), sum(map(sum, known)))


def tile(
    key: str,
    label: str,
    value: float | None,
    unit: str,
    *,
    start: float | None = None,
    more_is: str,
    detail: str,
    filters: dict[str, Any] | None = None,
    why: str = "not_yet",
) -> dict[str, Any]:
    change = value - start if value is not None and start is not None else None
    direction = None
    if change is not None:
        fewer_is = "worse" if more_is == "better" else "better"
        direction = more_is if change > 0 else fewer_is if change < 0 else "same"
    return {
        "key": key,
        "label": label,
        "value": value,
        "why": why if value is None else None,
        "unit": unit,
        "start": start,
        "change": change,
        "direction": direction,
        "detail": detail,
        "filters": filters,
    }
