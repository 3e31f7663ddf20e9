"""Counts of a made-up run by optimizer step, taken while its rollouts are written."""

from typing import Any

import numpy as np

from dashboard.demo import rollouts as r
from dashboard.demo.shape import GROUP, MAX_LAG, Shape


class Tally:
    """Of newest attempts only; the last entry is of groups that no step has taken."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._size = shape.steps + 1
        self.rollouts = np.zeros(self._size, np.int64)
        self.accepted = np.zeros(self._size, np.int64)
        self.tokens = np.zeros(self._size, np.int64)
        self.accepted_tokens = np.zeros(self._size, np.int64)
        self.stale = np.zeros(self._size, np.int64)
        self.stale_tokens = np.zeros(self._size, np.int64)
        self.lag_max = np.zeros(self._size, np.int64)
        self.reasons = np.zeros((len(r.REASONS), self._size), np.int64)
        self.judged = np.zeros(self._size, np.int64)
        self.logp = np.zeros(self._size)

    def add(self, made: r.Rollouts) -> None:
        newest = newest_attempts(made)
        step = np.minimum(made.step, self._shape.steps)[newest]
        reason, tokens = made.reason[newest], made.n_tokens[newest]
        lag = (made.step - made.first)[newest]
        accepted = reason == r.ACCEPTED
        stale = accepted & (lag > MAX_LAG) & (step < self._shape.steps)

        def count(where: np.ndarray, what: np.ndarray | None = None) -> np.ndarray:
            weights = None if what is None else what[where]
            return np.bincount(step[where], weights, self._size).astype(np.int64)

        every = np.ones(len(step), bool)
        self.rollouts += count(every)
        self.tokens += count(every, tokens)
        self.accepted += count(accepted)
        self.accepted_tokens += count(accepted, tokens)
        self.stale += count(stale)
        self.stale_tokens += count(stale, tokens)
        self.judged += count(made.finish[newest] != r.ABORT)
        self.logp += np.bincount(step, made.logp[newest], self._size)
        for number in range(len(r.REASONS)):
            self.reasons[number] += count(reason == number)
        np.maximum.at(self.lag_max, step[accepted & ~stale], lag[accepted & ~stale])

    def rejected(self, steps: slice) -> dict[str, int]:
        """By reason, those that there are."""
        sums = self.reasons[:, steps].sum(axis=1)
        return {name: int(n) for name, n in zip(r.REASONS, sums, strict=True) if n}

    def counts(self) -> dict[str, Any]:
        """As the queue counts them at the end of the run."""
        shape, taken = self._shape, slice(0, self._shape.steps)
        stale = int(self.stale[taken].sum())
        aborted = int(self.accepted[shape.bad_step] - self.stale[shape.bad_step])
        trained = int(self.accepted[taken].sum()) - stale
        return {
            "issued_groups": shape.groups,
            "running_groups": 0,
            "settled_groups": shape.groups,
            "dead_groups": 0,
            "settled": shape.groups * GROUP,
            "accepted": int(self.accepted.sum()),
            "rejected": self.rejected(slice(None)),
            "kept": int(self.accepted.sum()),
            "trained": trained - aborted,
            "queued": int(self.accepted[-1]),
            "dropped": {"stale": stale, "aborted": aborted},
            "generated_tokens": int(self.tokens.sum()),
            "trained_tokens": int(self.trained_tokens().sum()),
        }

    def trained_tokens(self) -> np.ndarray:
        """Of each step that was taken."""
        tokens = (self.accepted_tokens - self.stale_tokens)[: self._shape.steps].copy()
        tokens[self._shape.bad_step] = 0
        return tokens


def newest_attempts(made: r.Rollouts) -> np.ndarray:
    """Which rows are of the newest attempt at their ticket; older ones come first."""
    last_row = np.searchsorted(made.ticket, made.ticket, side="right") - 1
    return made.attempt == made.attempt[last_row]
