"""How each rule of health finds what is wrong in what a run has recorded."""

import itertools
import statistics
from collections.abc import Callable, Sequence

from dashboard.server.health import Spell, Vitals, Why, at, number, spells, windowed

SILENT_US = 30_000_000
QUIET_US = 600_000_000
"""Without an accepted rollout, at least; on runs with long steps, as much as six of them."""

STALL_US = 300_000_000
FEW_STEPS = 8
RECENT_US = 1_800_000_000
"""So long an event without an end stays an alarm."""

STOPPING = {
    "pause": "the length budget shrinks no further",
    "go_back": "the run goes back to the last good version",
    "end": "the run ends with the last good version",
}
"""What a guardrail may do, and what that means."""

Finder = Callable[[Vitals], list[Spell] | Why]


def share(part: str, whole: str, *, on: float, off: float, steps: int = 5) -> Finder:
    def find(vitals: Vitals) -> list[Spell] | Why:
        if len(vitals.metrics) < steps:
            return "not_yet"
        return spells(windowed(vitals.metrics, part, whole, steps), on=on, off=off)

    return find


def percent(words: str) -> Callable[[Spell], str]:
    """``words`` has ``{}`` where the worst share stands."""
    return lambda spell: words.format(f"{100 * spell.worst:.1f} %")


def silent(vitals: Vitals) -> list[Spell] | Why:
    if vitals.is_ended:
        return "not_applicable"
    heartbeat = at(vitals.state)
    if not heartbeat:
        return "not_yet"
    return _since(heartbeat, vitals.now_us, SILENT_US)


def no_accept(vitals: Vitals) -> list[Spell] | Why:
    if vitals.is_ended or not vitals.history:
        return "not_applicable" if vitals.is_ended else "not_recorded"
    rows = [*vitals.history, vitals.state]
    if vitals.state.get("phase") != "training":
        return []
    newest, since = -1, 0
    for row in rows:
        accepted = (row.get("counts") or {}).get("accepted", 0)
        if row.get("phase") != "training" or accepted != newest:
            newest, since = accepted, at(row)
    return _since(since, at(vitals.state), max(QUIET_US, 6 * _usual_step_us(vitals)))


def stalled(vitals: Vitals) -> list[Spell] | Why:
    """No token, no group and no step, while the run says that it trains."""
    if vitals.is_ended or not vitals.history:
        return "not_applicable" if vitals.is_ended else "not_recorded"
    if vitals.state.get("phase") != "training":
        return []
    newest, since = None, 0
    for row in [*vitals.history, vitals.state]:
        tokens = [engine.get("generated_tokens") for engine in row.get("engines") or ()]
        seen = (row.get("phase"), row.get("counts"), tokens)
        if seen != newest:
            newest, since = seen, at(row)
    return _since(since, at(vitals.state), max(STALL_US, 3 * _usual_step_us(vitals)))


def _since(began_us: int, now_us: int, limit_us: int) -> list[Spell]:
    waited = now_us - began_us
    return (
        [Spell(since_us=began_us, until_us=None, worst=waited / 60e6)] if waited > limit_us else []
    )


def _usual_step_us(vitals: Vitals) -> int:
    times = [at(row) for row in vitals.metrics[-50:]]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return int(statistics.median(gaps)) if gaps else 0


def _against_start(vitals: Vitals) -> list[tuple[int, float | None]] | None:
    """Mean tokens of each window of steps, as a share of those of the first one."""
    points = windowed(vitals.metrics, _tokens_of, "rollouts")
    known = [value for _, value in points if value]
    if len(points) < FEW_STEPS or not known:
        return None
    return [(when, None if value is None else value / known[0]) for when, value in points]


def _tokens_of(row) -> float | None:
    mean, rollouts = number(row.get("mean_tokens")), number(row.get("rollouts"))
    return None if mean is None or rollouts is None else mean * rollouts


def collapse(vitals: Vitals) -> list[Spell] | Why:
    points = _against_start(vitals)
    return "not_yet" if points is None else spells(points, on=0.2, off=0.3)


def rebound(vitals: Vitals) -> list[Spell] | Why:
    points = _against_start(vitals)
    if points is None:
        return "not_yet"
    shortest, ratios = float("inf"), []
    for when, value in points:
        shortest = min(shortest, value or shortest)
        ratios.append((when, value / shortest if value else None))
    return spells(ratios, on=1.5, off=1.25)


def repetition(vitals: Vitals) -> list[Spell] | Why:
    if not vitals.repetition:
        return "not_recorded"
    return spells(vitals.repetition, on=0.4, off=0.3)


def judge_failures(vitals: Vitals) -> list[Spell] | Why:
    if not vitals.metrics or "judge_judged" not in vitals.metrics[-1]:
        return "not_recorded"
    points: list[tuple[int, float | None]] = []
    for before, after in zip(vitals.metrics, vitals.metrics[5:], strict=False):
        judged = _grown(before, after, "judge_judged")
        failed = _grown(before, after, "judge_killed") + _grown(before, after, "judge_errors")
        points.append((at(after), failed / judged if judged >= 50 and failed >= 0 else None))
    return spells(points, on=0.01, off=0.005)


def _grown(before, after, name: str) -> float:
    return (number(after.get(name)) or 0) - (number(before.get(name)) or 0)


def slow(phase: str) -> Finder:
    """A phase of a step takes six times as long as it usually does."""

    def find(vitals: Vitals) -> list[Spell] | Why:
        known = [(at(row), number(row.get(phase))) for row in vitals.metrics]
        if len(known) < FEW_STEPS:
            return "not_yet"
        points: list[tuple[int, float | None]] = []
        for place in range(FEW_STEPS - 1, len(known)):
            before = [v for _, v in known[max(0, place - 50) : place] if v is not None]
            usual, (when, value) = statistics.median(before) if before else 0.0, known[place]
            is_long = value is not None and value > 2.0
            points.append((when, value / usual if usual and is_long and value else 0.0))
        return spells(points, on=6.0, off=3.0)

    return find


def accuracy(vitals: Vitals) -> list[Spell] | Why:
    """An interval that lies wholly below that of the model before training."""
    done = [event for event in vitals.events if event.get("kind") == "evaluated"]
    if len(done) < 2:
        return "not_yet"
    low = number((done[0].get("accuracy_ci") or [None])[0])
    if low is None:
        return "not_recorded"
    points = [
        (at(event), (number((event.get("accuracy_ci") or [None, None])[1]) or low) - low)
        for event in done[1:]
    ]
    found = spells(points, on=-1e-9, off=0.0)
    return [
        Spell(
            since_us=spell.since_us,
            until_us=spell.until_us,
            worst=spell.worst,
            text=f"the interval of the accuracy ends {-100 * spell.worst:.1f} points below where "
            "that of the starting model begins",
        )
        for spell in found
    ]


def not_finite(vitals: Vitals) -> list[Spell] | Why:
    points = [(at(row), float(bool(row.get("diverged")))) for row in vitals.metrics]
    return spells(points, on=0.5, off=0.4) if points else "not_yet"


def lag(vitals: Vitals) -> list[Spell] | Why:
    if vitals.config is None:
        return "not_recorded"
    limit = vitals.config.max_lag
    points = [(at(row), number(row.get("lag_max"))) for row in vitals.metrics]
    return spells(points, on=limit + 0.5, off=limit + 0.4)


def disk(vitals: Vitals) -> list[Spell] | Why:
    rows = [*vitals.history, vitals.state]
    points = [(at(row), _free_share(row)) for row in rows if _free_share(row) is not None]
    if not points:
        return "not_recorded"
    found = spells(points, on=0.05, off=0.07)
    return [
        Spell(
            since_us=spell.since_us,
            until_us=spell.until_us,
            worst=spell.worst,
            level="critical" if spell.worst < 0.01 else None,
        )
        for spell in found
    ]


def _free_share(row) -> float | None:
    free, total = number(row.get("disk_free_bytes")), number(row.get("disk_bytes"))
    return free / total if free is not None and total else None


def dropped(vitals: Vitals) -> list[Spell] | Why:
    rows = [*vitals.history, vitals.state]
    points = [(at(row), _not_kept(row)) for row in rows]
    if all(value is None for _, value in points):
        return "not_recorded"
    return spells(points, on=0.5, off=0.4)


def _not_kept(row) -> float | None:
    """Rows that the recorder dropped, and groups that it did not take."""
    dropped = number(row.get("dropped"))
    unrecorded = number((row.get("judges") or {}).get("unrecorded"))
    return None if dropped is None else dropped + (unrecorded or 0)


def between(begin: Sequence[str], end: Sequence[str], words: Callable[..., str]) -> Finder:
    """From one event to another; what has no end is over after half an hour, or with the run."""

    def find(vitals: Vitals) -> list[Spell] | Why:
        found: list[Spell] = []
        began = None
        for event in vitals.events:
            kind, is_on = event.get("kind"), event.get("on", True)
            if kind in begin and is_on and began is None:
                began = event
            elif began is not None and (kind in end or (kind in begin and not is_on)):
                found.append(_spell(began, at(event), words))
                began = None
        if began is not None:
            is_old = vitals.is_ended or vitals.now_us - at(began) > RECENT_US
            found.append(_spell(began, at(began) + RECENT_US if is_old else None, words))
        return found

    return find


def guardrail(vitals: Vitals) -> list[Spell] | Why:
    """From the look that stopped something, or a step back, to the next look that did not."""
    found: list[Spell] = []
    began = None
    for event in vitals.events:
        if event.get("kind") not in ("guardrail", "rolled_back"):
            continue
        has_stopped = event["kind"] == "rolled_back" or event.get("what_next") in STOPPING
        if has_stopped and began is None:
            began = event
        elif began is not None and not has_stopped and not event.get("is_breach"):
            found.append(_spell(began, at(event), _stopped))
            began = None
    if began is not None:
        is_held = began.get("what_next") == "pause"  # until it says otherwise, however long
        is_old = vitals.now_us - at(began) > RECENT_US and not is_held
        until_us = at(began) + RECENT_US if is_old or vitals.is_ended else None
        found.append(_spell(began, until_us, _stopped))
    return found


def _stopped(event) -> str:
    accuracy, base = number(event.get("accuracy")), number(event.get("base"))
    words = STOPPING.get(str(event.get("what_next")), "the learner went back to a checkpoint")
    if accuracy is None or base is None:
        return words
    return f"{100 * accuracy:.1f} % right, {100 * base:.1f} % at the start: {words}"


def _spell(event, until_us: int | None, words: Callable[..., str]) -> Spell:
    return Spell(since_us=at(event), until_us=until_us, worst=1.0, text=words(event))


def why(event) -> str:
    name, why = event.get("name") or "", event.get("why") or event.get("text") or ""
    said = f"{name}: {why}" if name and why else str(name or why)
    return said or str(event.get("kind", "")).replace("_", " ")


def starved(vitals: Vitals) -> list[Spell] | Why:
    if len(vitals.metrics) < FEW_STEPS:
        return "not_yet"
    whole = [dict(row, turn_s=_turn_s(row)) for row in vitals.metrics]
    return spells(windowed(whole, "wait_s", "turn_s", FEW_STEPS), on=0.6, off=0.5)


def _turn_s(row) -> float:
    return sum(number(row.get(name)) or 0 for name in ("wait_s", "train_s", "publish_s"))
