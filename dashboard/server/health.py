"""What may be wrong with a run: alarms with a beginning, an end, evidence and advice.

An alarm begins when a figure crosses a limit and ends when it is back behind a calmer one, so that
it does not flicker. All is computed from what the run has recorded: the same files give the same
alarms, whoever looks and whenever.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.schema import RunConfig

Level = Literal["critical", "warning", "tip"]
Why = Literal["not_recorded", "not_applicable", "not_yet"]
Row = Mapping[str, Any]

LEVELS: tuple[Level, ...] = ("critical", "warning", "tip")
"""The gravest first."""

MAX_SPELLS = 20
"""Of one rule, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """All that rules look at."""

    now_us: int
    is_ended: bool
    """It has finished or was stopped: what the clock says means nothing any more."""
    state: Row
    metrics: Sequence[Row] = ()
    events: Sequence[Row] = ()
    history: Sequence[Row] = ()
    config: RunConfig | None = None
    repetition: Sequence[tuple[int, float]] = ()
    """When each version had written its last rollout, and the mean repetition of what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A time in which something was wrong."""

    since_us: int
    until_us: int | None
    """None: it still is."""
    worst: float
    text: str = ""
    """Of rules that say more than a number."""
    level: Level | None = None
    """None: that of the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    key: str
    title: str
    level: Level
    advice: str
    find: Callable[[Vitals], list[Spell] | Why]
    """The spells, oldest first, or why nothing can be said."""
    say: Callable[[Spell], str] = lambda spell: spell.text
    view: str = "overview"
    """Where the evidence is, …"""
    params: Mapping[str, Any] = field(default_factory=dict)
    """… and what to show there."""


def spells(points: Iterable[tuple[int, float | None]], *, on: float, off: float) -> list[Spell]:
    """Begins where a value is beyond ``on`` and ends where one is behind ``off`` again. With ``on``
    above ``off`` large values are bad, else small ones. A value that is not there changes
    nothing."""
    sign = 1.0 if on > off else -1.0
    found: list[Spell] = []
    since, worst = None, 0.0
    for at_us, value in points:
        if value is None:
            continue
        if since is None and sign * value > sign * on:
            since, worst = at_us, value
        elif since is not None:
            worst = max(worst, value) if sign > 0 else min(worst, value)
            if sign * value < sign * off:
                found.append(Spell(since_us=since, until_us=at_us, worst=worst))
                since = None
    if since is not None:
        found.append(Spell(since_us=since, until_us=None, worst=worst))
    return found


def windowed(
    metrics: Sequence[Row], part: str | Callable[[Row], float | None], whole: str, steps: int = 5
) -> list[tuple[int, float | None]]:
    """Of each step the sum of ``part`` over the sum of ``whole``, over it and those before it."""
    pick = part if callable(part) else lambda row: row.get(part, 0)
    found: list[tuple[int, float | None]] = []
    for end in range(steps, len(metrics) + 1):
        rows = metrics[end - steps : end]
        total = sum(number(row.get(whole)) or 0 for row in rows)
        amount = sum(number(pick(row)) or 0 for row in rows)
        found.append((at(rows[-1]), amount / total if total else None))
    return found


def at(row: Row) -> int:
    value = row.get("at_us") or row.get("heartbeat_us")
    return value if isinstance(value, int) else 0


def number(value: Any) -> float | None:
    """None: it is no number that can be computed with."""
    is_number = isinstance(value, int | float) and value == value and abs(value) != float("inf")
    return float(value) if is_number else None


def look(
    vitals: Vitals, rules: Sequence[Rule], acks: Mapping[str, Row]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Alarms, those that stand first and the gravest of them first, and what every rule says."""
    alarms: list[dict[str, Any]] = []
    states: list[dict[str, Any]] = []
    for rule in rules:
        found = rule.find(vitals)
        if isinstance(found, str):
            words = {"not_applicable": "does not apply", "not_yet": "too early to say"}
            text = words.get(found, "what it looks at was not recorded")
            states.append(_state(rule, "unknown", text, found))
            continue
        alarms += [_alarm(rule, spell, acks) for spell in found[-MAX_SPELLS:]]
        standing = [spell for spell in found if spell.until_us is None]
        text = rule.say(standing[-1]) if standing else _past(found)
        states.append(_state(rule, "alarm" if standing else "ok", text, None))
    alarms.sort(key=lambda alarm: (alarm["until_us"] is not None, _rank(alarm), -alarm["since_us"]))
    return alarms, states


def standing(alarms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are not over. While something is critical nobody is given tips."""
    now = [alarm for alarm in alarms if alarm["until_us"] is None]
    is_critical = any(alarm["level"] == "critical" for alarm in now)
    return [alarm for alarm in now if not (is_critical and alarm["level"] == "tip")]


def _alarm(rule: Rule, spell: Spell, acks: Mapping[str, Row]) -> dict[str, Any]:
    name = f"{rule.key}.{spell.since_us}"
    return {
        "id": name,
        "rule": rule.key,
        "level": spell.level or rule.level,
        "title": rule.title,
        "text": rule.say(spell),
        "advice": rule.advice,
        "since_us": spell.since_us,
        "until_us": spell.until_us,
        "acked": dict(acks[name]) if name in acks else None,
        "evidence": {"view": rule.view, "params": dict(rule.params)},
    }


def _state(rule: Rule, state: str, text: str, why: Why | None) -> dict[str, Any]:
    return {"key": rule.key, "title": rule.title, "state": state, "text": text, "why": why}


def _past(found: Sequence[Spell]) -> str:
    if not found:
        return "never"
    return "once, over now" if len(found) == 1 else f"{len(found)} times, over now"


def _rank(alarm: Mapping[str, Any]) -> int:
    return LEVELS.index(alarm["level"])
