"""An objective with its numbers, as the learner calls it."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from configs.errors import UserError
from learner.objectives.base import Need, Term, View
from learner.objectives.registry import resolve

PROVIDED: frozenset[Need] = frozenset()
"""What the learner can put into a view besides logits and targets."""

Bound = Callable[[View], list[Term]]


def bind(name: str, settings: Mapping[str, Any]) -> Bound:
    """Raises UserError, one line, for what is unknown, cannot be set, or cannot be provided."""
    objective = resolve(name)
    missing = sorted(objective.needs - PROVIDED)
    if missing:
        raise UserError(
            f"learner.objective={name} needs {', '.join(missing)}, which runs do not provide yet; "
            "sft and dft need nothing"
        )
    try:
        numbers = objective.settings.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, ("learner.objective_settings", *first["loc"])))
        known = ", ".join(objective.settings.model_fields) or "none"
        raise UserError(f"{key}: {first['msg']}; {name} has {known}") from error
    return lambda view: objective(view, numbers)
