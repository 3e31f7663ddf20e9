"""The words in which a run's log is accounted for: ``actors/history.py``."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

SKIPPED = "skipped"
"""Why a step that was not taken left its rollouts out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One completion, as its group was settled."""

    ticket: int
    reason: str | None
    """Why it was rejected; None: accepted."""
    tokens: int
    versions: tuple[int, int]
    """Of its first token and its last."""
    is_expert: bool
    reward: float | None
    """None: it is not for the learner."""

    @property
    def is_kept(self) -> bool:
        return self.reward is not None

    def lag(self, step: int) -> int:
        """What was written in steps that a restart took back is as far off the other way."""
        return abs(step - self.versions[0])


@dataclass(slots=True, kw_only=True)
class Ticket:
    problem: str
    cursor: int
    size: int
    """Rollouts that the newest attempt was to have."""
    attempt: int
    samples: dict[str, Sample] | None = None
    """By id. None: it is out."""
    given_up: str | None = None
    """Why it is a dead letter."""

    @property
    def kept(self) -> dict[str, Sample]:
        """What the learner is to get of it."""
        return {name: s for name, s in (self.samples or {}).items() if s.is_kept}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one acknowledgement says it took."""

    number: int
    first: int
    end: int
    trained: int
    tokens: int
    dropped: Counter[str]
    written: int
    """Samples of its groups, rejected ones included."""
    total_tokens: int
    """Trained until here, this step included."""

    @property
    def is_empty(self) -> bool:
        """The data had ended: nobody took a step."""
        return self.trained + self.dropped[SKIPPED] == 0


@dataclass(slots=True, kw_only=True)
class Faults:
    """Samples that broke a promise."""

    lost: int = 0
    unexpected: int = 0
    """That nobody asked for, or that are not there."""
    duplicated: int = 0
    over_stale: int = 0
    """Trained though older than the run allows."""

    def add(self, other: "Faults") -> None:
        self.lost += other.lost
        self.unexpected += other.unexpected
        self.duplicated += other.duplicated
        self.over_stale += other.over_stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Samples, except where a name says otherwise."""

    steps: int
    taken_back: int
    """Steps, by restarts."""
    issued_groups: int
    running_groups: int
    settled_groups: int
    dead_groups: int
    recovered: int
    """Groups that were handed out more than once and settled."""
    attempted: int
    """Asked for, or, where that is known, written."""
    acked: int
    """Settled: the queue has promised to keep them."""
    ok: int
    """Of those, with an end: trained, rejected, or left out for a reason."""
    pending: int
    """Of those, waiting for the learner."""
    lost: int
    unexpected: int
    duplicated: int
    over_stale: int
    accepted: int
    rejected: dict[str, int]
    kept: int
    """For the learner."""
    trained: int
    dropped: dict[str, int]
    generated_tokens: int
    trained_tokens: int
