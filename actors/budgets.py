"""The length budget of a group: the same for all, one that shrinks, or each problem its own.

What they learn of is the groups of a step, in ticket order; what they say goes into the ticket.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.coins import coin
from actors.quantile import quantile
from actors.visits import num_accepted, telling
from configs.economy import BudgetConfig
from configs.schema import RunConfig
from verifiers.types import GroupOutcome, Outcome

State = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    tokens: int
    explores: bool = False
    """It is not the problem's own, to see what longer answers do."""


class Budgets(Protocol):
    def of(self, problem_id: str, number: int, version: int) -> Budget:
        """For ticket ``number``, drawn while the engines hold ``version``."""
        ...

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        """From the groups of a step; returns alarms, one line each."""
        ...

    def pause(self, version: int) -> None:
        """Shrink no further; a schedule goes back to where it was at ``version``. Again is no
        harm."""
        ...

    def unpause(self, version: int) -> None:
        """Shrink again, from there on."""
        ...

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


def make_budgets(config: RunConfig) -> Budgets:
    longest = config.filter.length_budget
    if config.budget.kind == "adaptive":
        return AdaptiveBudgets(longest, config.budget, config.seed)
    if config.budget.kind == "schedule":
        return ScheduledBudgets(longest, config.budget, config.budget.over_steps or config.steps)
    return FixedBudget(longest)


class FixedBudget:
    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def of(self, problem_id: str, number: int, version: int) -> Budget:
        return Budget(tokens=self._tokens)

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        return []

    def pause(self, version: int) -> None: ...

    def unpause(self, version: int) -> None: ...

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None: ...


class ScheduledBudgets:
    """Shrinks in equal parts with the version, until a step's rollouts are hardly ever accepted."""

    def __init__(self, start: int, config: BudgetConfig, num_steps: int) -> None:
        assert config.end is not None, "the schema asks for an end"
        self._start, self._end, self._num_steps = start, config.end, num_steps
        self._min_accepted = config.min_accepted
        self._healthy = start
        """Smallest budget of a step that was not below ``min_accepted``."""
        self._held: int | None = None
        """The budget for the rest of the run, once the schedule has been too short."""
        self._paused_at: int | None = None
        """Version whose budget all get, while the schedule stands still."""
        self._delay = 0
        """Versions by which it is late, since it stood still."""

    def of(self, problem_id: str, number: int, version: int) -> Budget:
        if self._held is not None:
            return Budget(tokens=self._held)
        at = version if self._paused_at is None else self._paused_at
        done = min(max(at - self._delay, 0), self._num_steps)
        return Budget(tokens=self._start - (self._start - self._end) * done // self._num_steps)

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        outcomes = telling(outcome for group in groups for outcome in group.outcomes)
        if self._held is not None or not outcomes:
            return []
        smallest = min(group.budget for group in groups)
        accepted = num_accepted(outcomes)
        if accepted >= self._min_accepted * len(outcomes):
            self._healthy = min(self._healthy, smallest)
            return []
        if smallest == self._start:
            return []  # it has not begun to shrink: something else is wrong
        self._held = self._healthy
        return [
            f"the length budget goes back from {smallest} to {self._held} tokens and stays there: "
            f"{accepted} of {len(outcomes)} rollouts were accepted, less than "
            f"budget.min_accepted {self._min_accepted:g}"
        ]

    def pause(self, version: int) -> None:
        if self._paused_at is None:
            self._paused_at = version

    def unpause(self, version: int) -> None:
        if self._paused_at is not None:
            self._delay += version - self._paused_at
            self._paused_at = None

    def state(self) -> State:
        return {
            "healthy": self._healthy,
            "held": self._held,
            "paused_at": self._paused_at,
            "delay": self._delay,
        }

    def restore(self, state: State) -> None:
        self._healthy, self._held = state["healthy"], state["held"]
        # States of earlier versions know of no pause.
        self._paused_at, self._delay = state.get("paused_at"), state.get("delay", 0)


@dataclass(slots=True)
class _Lengths:
    """What is known of one problem."""

    correct: list[int] = field(default_factory=list)
    """Of its newest correct rollouts."""
    was_too_short: bool = False
    """No rollout of its last visit was accepted, within a budget of its own."""


class AdaptiveBudgets:
    """min(L, max(floor, quantile of a problem's own correct lengths, times slack))."""

    def __init__(self, longest: int, config: BudgetConfig, seed: int) -> None:
        self._longest, self._config, self._seed = longest, config, seed
        self._known: dict[str, _Lengths] = {}
        self._is_paused = False

    def of(self, problem_id: str, number: int, version: int) -> Budget:
        own = self._own(self._known.get(problem_id, _Lengths()))
        if own < self._longest and coin(self._seed, "explore", number) < self._config.explore:
            return Budget(tokens=self._longest, explores=True)
        return Budget(tokens=own)

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        if self._is_paused:
            return []
        for group in groups:
            outcomes = telling(group.outcomes)
            if not outcomes:
                continue
            known = self._known.setdefault(group.problem_id, _Lengths())
            lengths = [outcome.num_tokens for outcome in outcomes if _is_right(outcome)]
            known.correct = [*known.correct, *lengths][-self._config.memory :]
            known.was_too_short = group.budget < self._longest and num_accepted(outcomes) == 0
        return []

    def pause(self, version: int) -> None:
        self._is_paused = True

    def unpause(self, version: int) -> None:
        self._is_paused = False

    def state(self) -> State:
        return {id: [known.correct, known.was_too_short] for id, known in self._known.items()}

    def restore(self, state: State) -> None:
        self._known = {
            id: _Lengths(list(correct), was_too_short)
            for id, (correct, was_too_short) in state.items()
        }

    def _own(self, known: _Lengths) -> int:
        if known.was_too_short or len(known.correct) < self._config.min_lengths:
            return self._longest
        usual = quantile(known.correct, self._config.quantile)
        return min(self._longest, max(self._config.floor, math.ceil(usual * self._config.slack)))


def _is_right(outcome: Outcome) -> bool:
    """However long it is; one that was cut off has no length."""
    return outcome.status == "correct" and outcome.reason != "truncated"
