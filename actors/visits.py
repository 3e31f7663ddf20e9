"""What the learner's groups told of each problem. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from verifiers.types import GroupOutcome, Outcome

UNFINISHED = ("aborted", "cancelled")
"""Ended by us for reasons of our own: nobody knows what they would have come to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One group of a problem, as far as it says something of the problem."""

    accepted: int
    written: int
    num_tokens: int
    """Of all that were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one problem."""

    visits: tuple[Visit, ...] = ()
    """The last ``curriculum.memory`` of them, oldest first."""
    outside: int = 0
    """Visits in a row, the last one included, after which its share was outside
    ``curriculum.band``."""

    @property
    def accepted(self) -> int:
        return sum(visit.accepted for visit in self.visits)

    @property
    def written(self) -> int:
        return sum(visit.written for visit in self.visits)

    @property
    def mean_tokens(self) -> float | None:
        if not self.visits:
            return None
        return sum(visit.num_tokens for visit in self.visits) / self.written

    def after(self, visit: Visit, memory: int, band: tuple[float, float] | None) -> "Known":
        """With one more visit."""
        known = Known(visits=(*self.visits, visit)[-memory:])
        if band is None or band[0] <= known.accepted / known.written <= band[1]:
            return known
        return Known(visits=known.visits, outside=self.outside + 1)


def telling(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that the policy wrote and that were judged: a judge's error says nothing of them."""
    return [
        outcome
        for outcome in outcomes
        if not outcome.is_expert
        and outcome.status not in ("error", "timeout")
        and outcome.reason not in UNFINISHED
    ]


def num_accepted(outcomes: Iterable[Outcome]) -> int:
    return sum(outcome.reason is None for outcome in outcomes)


def visit_of(group: GroupOutcome) -> Visit | None:
    """None: the group says nothing of its problem."""
    outcomes = telling(group.outcomes)
    if not outcomes:
        return None
    return Visit(
        accepted=num_accepted(outcomes),
        written=len(outcomes),
        num_tokens=sum(outcome.num_tokens for outcome in outcomes),
    )
