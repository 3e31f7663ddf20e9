"""Thresholds of filters that follow the run: a quantile of what their measure was lately."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from actors.quantile import quantile
from verifiers.steps import Step
from verifiers.types import GroupOutcome

WINDOW = 256
"""Newest values that a threshold is taken from."""

MIN_VALUES = 32
"""With fewer there is no threshold."""


class RunningLimits:
    def __init__(self, shares: Mapping[str, float]) -> None:
        """``shares``: which quantile of its measure a filter asks for, by its name."""
        self._shares = dict(shares)
        self._values = {name: deque[float](maxlen=WINDOW) for name in self._shares}

    def current(self) -> tuple[tuple[str, float], ...]:
        return tuple(
            (name, quantile(values, self._shares[name]))
            for name, values in self._values.items()
            if len(values) >= MIN_VALUES
        )

    def learn(self, groups: Sequence[GroupOutcome]) -> None:
        own = (o for group in groups for o in group.outcomes if not o.is_expert)
        for name, value in (measure for outcome in own for measure in outcome.measures):
            if name in self._values and math.isfinite(value):
                self._values[name].append(value)

    def state(self) -> dict[str, Any]:
        return {name: list(values) for name, values in self._values.items()}

    def restore(self, state: dict[str, Any]) -> None:
        for name, values in self._values.items():
            values.clear()
            values.extend(state[name])


def followed(steps: Sequence[Step]) -> dict[str, float]:
    """Those of ``filter.steps`` that follow the run, and which quantile of it."""
    return {step.name: step.quantile for step in steps if step.quantile is not None}
