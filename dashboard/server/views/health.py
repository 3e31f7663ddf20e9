"""V12: what is wrong, since when, and what to do. ``health_rules`` has the rules."""

import time
from typing import Any
from weakref import WeakKeyDictionary

from dashboard.server.health import Vitals, look, standing
from dashboard.server.health_rules import RULES
from dashboard.server.look import Look
from dashboard.server.run import Run

AGAIN_US = 5_000_000
"""What the clock alone can change is looked at so often."""

Found = tuple[list[dict[str, Any]], list[dict[str, Any]]]
_found: WeakKeyDictionary[Run, tuple[Any, Found]] = WeakKeyDictionary()


def health(look: Look) -> dict[str, Any]:
    alarms, rules = find(look.run)
    return {"alarms": alarms, "rules": rules, "checked_us": time.time_ns() // 1000}


def standing_alarms(run: Run) -> list[dict[str, Any]]:
    """Those that are not over, the gravest first."""
    return standing(find(run)[0])


def find(run: Run) -> Found:
    """Alarms and rules; again only when something is new."""
    now_us = time.time_ns() // 1000
    key = (run.version, run.files.state.get("phase"), now_us // AGAIN_US)
    kept = _found.get(run)
    if kept is None or kept[0] != key:
        _found[run] = kept = (key, look(vitals_of(run, now_us), RULES, run.annotations.acks))
    return kept[1]


def vitals_of(run: Run, now_us: int) -> Vitals:
    files = run.files
    with run.snapshot() as db:
        repetition = db.tuples(
            "SELECT max(end_us), avg(repetition) FROM rollouts WHERE repetition IS NOT NULL "
            "GROUP BY last_version ORDER BY last_version"
        )
    return Vitals(
        now_us=now_us,
        is_ended=run.status()[0] in ("finished", "stopped"),
        state=files.state,
        metrics=files.metrics,
        events=files.events,
        history=files.history,
        config=run.config,
        repetition=repetition,
    )
