"""The filters that every view shares: query parameters in, a condition on ``rollouts`` out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.server.columns import STAGES
from dashboard.server.errors import Refused

POPULATIONS = {
    "generated": "true",
    "accepted": "accepted",
    "rejected": "NOT accepted",
    "correct": "verdict = 'correct'",
    "wrong": "verdict = 'wrong'",
    "trained": "fate = 'trained'",
}

ONE_OF = (
    *("verdict", "fate", "finish_reason", "problem_id", "group_id", "rollout_id"),
    *("source", "generator_id", "template_id", "origin"),
)
"""Columns that must be one of the given values."""

BOUNDS = {
    "version_min": "last_version >= ?",
    "version_max": "last_version <= ?",
    "tokens_min": "n_tokens >= ?",
    "tokens_max": "n_tokens <= ?",
    "step_min": "step >= ?",
    "step_max": "step <= ?",
    "lag_min": "lag >= ?",
    "lag_max": "lag <= ?",
    "time_min_us": "end_us >= ?",
    "time_max_us": "end_us <= ?",
}

NAMES = frozenset(
    (*ONE_OF, *BOUNDS, "population", "reason", "accepted", "stage", "lost_at", "failed", "q", "tag")
)

OWN_CHECKS = {
    "finished": "finish_reason IS DISTINCT FROM 'stop'",
    "correct": "verdict IS DISTINCT FROM 'correct'",
    "length": "n_tokens > budget",
}
"""When a check that every rollout has did not pass."""

Values = Mapping[str, Sequence[str]]
"""Query parameters: of each name all values that were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A condition with its values, for a question about ``rollouts``."""

    sql: str = "true"
    values: tuple[Any, ...] = ()

    def also(self, sql: str, *values: Any) -> "Where":
        return Where(sql=f"{self.sql} AND ({sql})", values=(*self.values, *values))


def given(values: Values) -> dict[str, list[str]]:
    """Those parameters that are filters, with a value."""
    return {
        name: [value for value in several if value != ""]
        for name, several in values.items()
        if name in NAMES and any(value != "" for value in several)
    }


def where(
    values: Values,
    *,
    without: Collection[str] = (),
    tagged: Callable[[Sequence[str]], Collection[str]] = lambda tags: (),
    matching: Callable[[str], str] | None = None,
) -> Where:
    """``without``: names that count for nothing. ``tagged``: rollouts with one of these tags.
    ``matching``: a condition that holds where the text matches an expression."""
    found = Where()
    for name, several in given(values).items():
        if name in without:
            continue
        if name in ONE_OF:
            found = found.also(f"{name} IN ({_marks(several)})", *several)
        elif name in BOUNDS:
            found = found.also(BOUNDS[name], _number(name, several))
        elif name == "q":
            if matching is None:
                raise Refused("bad_filter", "texts cannot be searched in this view", "q")
            found = found.also(matching(_single(name, several)))
        elif name == "tag":
            ids = sorted(tagged(several))
            found = found.also(f"rollout_id IN ({_marks(ids)})" if ids else "false", *ids)
        else:
            found = _special(found, name, several)
    return found


def _special(found: Where, name: str, several: list[str]) -> Where:
    if name == "population":
        return found.also(POPULATIONS[_choice(name, several, POPULATIONS)])
    if name == "accepted":
        return found.also(
            {"true": "accepted", "false": "NOT accepted"}[_choice(name, several, ("true", "false"))]
        )
    if name == "reason":
        named = [value for value in several if value != "accepted"]
        either = [f"reason IN ({_marks(named)})"] if named else []
        either += ["reason IS NULL"] if "accepted" in several else []
        return found.also(" OR ".join(either), *named)
    if name == "stage":
        return found.also(f"stage >= {STAGES.index(_choice(name, several, STAGES))}")
    if name == "lost_at":
        return found.also(f"stage = {STAGES.index(_choice(name, several, STAGES[1:])) - 1}")
    assert name == "failed", name
    own = [OWN_CHECKS[value] for value in several if value in OWN_CHECKS]
    others = [value for value in several if value not in OWN_CHECKS]
    if others:
        own.append(f"row IN (SELECT row FROM checks WHERE NOT pass AND name IN ({_marks(others)}))")
    return found.also(" OR ".join(own), *others)


def _marks(values: Collection[Any]) -> str:
    return ", ".join("?" for _ in values)


def _single(name: str, several: Sequence[str]) -> str:
    if len(several) != 1:
        raise Refused("bad_filter", f"{name} takes one value, got {len(several)}", name)
    return several[0]


def _choice(name: str, several: Sequence[str], known: Collection[str]) -> str:
    value = _single(name, several)
    if value not in known:
        raise Refused("bad_filter", f"{name}={value[:60]!r} is none of {', '.join(known)}", name)
    return value


def _number(name: str, several: Sequence[str]) -> int:
    value = _single(name, several)
    try:
        number = int(value)
    except ValueError:
        raise Refused("bad_filter", f"{name}={value[:60]!r} is no whole number", name) from None
    if not -(2**62) < number < 2**62:
        raise Refused("bad_filter", f"{name}={number} is too large", name)
    return number
