"""An objective with its numbers, as the learner calls it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from learner.objectives.base import Objective, Term, View
from learner.objectives.registry import resolve
from verifiers.plugins import settings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    name: str
    objective: Objective
    settings: Any

    def __call__(self, view: View) -> list[Term]:
        return self.objective(view, self.settings)

    def at(self, step: int) -> "Bound":
        """As of an optimizer step, counted from 0."""
        if self.objective.at_step is None:
            return self
        return replace(self, settings=self.objective.at_step(self.settings, step))


def bind(name: str, settings: Mapping[str, Any]) -> Bound:
    """Raises UserError, one line, for what is unknown or cannot be set."""
    objective = resolve(name)
    numbers = settings_of("learner.objective_settings", name, objective.settings, settings)
    return Bound(name=name, objective=objective, settings=numbers)
