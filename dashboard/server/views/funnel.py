"""V3: what was written, and where on its way into training it was lost."""

from typing import Any

from dashboard.server.columns import STAGES
from dashboard.server.look import Look
from dashboard.server.run import Run
from dashboard.server.views import engine_time, problems
from dashboard.server.views.versions import version_columns

LABELS = {
    "generated": "Generated",
    "finished": "Finished",
    "answered": "Answer found",
    "correct": "Correct",
    "within_budget": "Within budget",
    "accepted": "Passed other filters",
    "not_stale": "Not stale or dropped",
    "trained": "Trained",
}

REASON_STAGE = """
    CASE
        WHEN finish_reason IS DISTINCT FROM 'stop' THEN 1
        WHEN verdict IS NULL OR verdict IN ('no_answer', 'not_run') THEN 2
        WHEN verdict <> 'correct' THEN 3
        WHEN n_tokens > budget THEN 4
        ELSE 5
    END"""
"""Number of the stage that a rejected rollout did not reach."""

MAX_VERSIONS = 60
SHOWN_PROBLEMS = 20


def funnel(look: Look) -> dict[str, Any]:
    """Stages are cumulative; lost + reached is what reached the stage before."""
    where = look.where()
    seconds = engine_time.seconds_sql(look)
    found = {
        row["stage"]: row
        for row in look.db.rows(
            f"""SELECT stage, count(*) AS rollouts, coalesce(sum(n_tokens), 0)::BIGINT AS tokens,
                    sum({seconds}) AS gpu_seconds
                FROM rollouts WHERE {where.sql} GROUP BY stage""",
            where.values,
        )
    }
    return {
        "stages": _stages(look, found),
        "waiting": found.get(STAGES.index("not_stale"), {}).get("rollouts", 0),
        "trained_rejected": _trained_rejected(look),
        "counts": counts(look),
        **_reasons(look),
        "never_accepted": _never_accepted(look),
    }


def _stages(look: Look, found: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for number, stage in enumerate(STAGES):
        reached = [found[at] for at in found if at >= number]
        before = found.get(number - 1)
        rows.append(
            {
                "stage": stage,
                "label": LABELS[stage],
                "rollouts": sum(row["rollouts"] for row in reached),
                "tokens": sum(row["tokens"] for row in reached),
                "gpu_seconds": _sum(row["gpu_seconds"] for row in reached),
                "lost": {
                    "rollouts": before["rollouts"] if before else 0,
                    "tokens": before["tokens"] if before else 0,
                    "gpu_seconds": before["gpu_seconds"] if before else 0.0,
                },
                "filters": look.link(stage=stage) if number else look.given(),
                "lost_filters": look.link(lost_at=stage) if number else None,
            }
        )
    return rows


def _reasons(look: Look) -> dict[str, Any]:
    """Reason by version, most frequent first."""
    where = look.where()
    spans = version_columns(look, where, MAX_VERSIONS)
    rows = look.db.tuples(
        f"""SELECT reason::VARCHAR, min({REASON_STAGE}), {spans.sql} AS place, count(*),
                coalesce(sum(n_tokens), 0)::BIGINT
            FROM rollouts WHERE {where.sql} GROUP BY reason, place""",
        where.values,
    )
    table: dict[str, dict[str, Any]] = {}
    totals = [0] * len(spans.versions)
    for reason, stage, place, num, tokens in rows:
        if place is not None:
            totals[place] += num
        if reason is None:
            continue
        entry = table.setdefault(
            reason,
            {
                "reason": reason,
                "stage": STAGES[stage],
                "rollouts": 0,
                "tokens": 0,
                "by_version": [0] * len(spans.versions),
                "filters": look.link(reason=[reason]),
            },
        )
        entry["rollouts"] += num
        entry["tokens"] += tokens
        if place is not None:
            entry["by_version"][place] += num
    return {
        "reasons": sorted(table.values(), key=lambda entry: -entry["rollouts"]),
        "versions": spans.versions,
        "version_rows": totals,
    }


def _never_accepted(look: Look) -> dict[str, Any]:
    where = look.where()
    counted = look.db.tuples(
        f"""SELECT problem_id, bool_or(accepted), count(*) FROM rollouts WHERE {where.sql}
            GROUP BY problem_id""",
        where.values,
    )
    never = sorted((-num, name) for name, is_any, num in counted if not is_any)
    ids = [name for _, name in never[:SHOWN_PROBLEMS]]
    sample = problems.summaries(look, where, ids)
    return {"problems": len(never), "of": len(counted), "sample": sample}


def _trained_rejected(look: Look) -> int:
    """Objectives that learn from whole groups train what was not accepted, too."""
    where = look.where().also("fate = 'trained' AND NOT accepted")
    return look.db.one(f"SELECT count(*) FROM rollouts WHERE {where.sql}", where.values)[0]


def counts(look: Look) -> dict[str, Any]:
    """Of the whole run: what the queue says was issued, against what was recorded."""
    accepted, rejected, trained, waiting, dropped = _tally(look)
    running = _running(look.run)
    unaccounted = unrecorded(look.run, accepted + rejected)
    return {
        "issued": accepted + rejected + running + unaccounted,
        "accepted": accepted,
        "rejected": rejected,
        "running": running,
        "trained": trained,
        "waiting": waiting,
        "dropped": dropped,
        "unaccounted": unaccounted,
        "recorder_dropped": look.run.files.state.get("dropped_by_kind", {}),
    }


def _tally(look: Look) -> tuple[int, int, int, int, dict[str, int]]:
    """Counted once for the same rows: the live stream asks every second."""
    kept, offset = look.run.tally, look.db.offset
    if kept is None or kept[0] != offset:
        counts = look.db.one(
            """SELECT count(*) FILTER (accepted), count(*) FILTER (NOT accepted),
                    count(*) FILTER (fate = 'trained'), count(*) FILTER (fate = 'waiting')
                FROM rollouts"""
        )
        dropped = look.db.tuples(
            """SELECT fate::VARCHAR, count(*) FROM rollouts
                WHERE fate NOT IN ('trained', 'waiting', 'rejected') GROUP BY fate"""
        )
        kept = look.run.tally = (offset, (*counts, dict(dropped)))
    return kept[1]


def unrecorded(run: Run, recorded: int) -> int:
    """Rollouts that were settled and that the recorder does not have: 0, or something is wrong.

    A run that goes on seals its rows some seconds late, so that its last seconds do not count."""
    return max(0, run.settled_long_ago() - recorded)


def _running(run: Run) -> int:
    """Being written, in rollouts: groups have the size that the configuration says."""
    groups = run.files.state.get("counts", {}).get("running_groups", 0)
    return groups * (run.group_size or 1)


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
