"""Parts by their names, ours or somebody's own as ``module:NAME``, and the numbers they take.

Nothing is imported until somebody asks for it; what is somebody's own runs its module then.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from configs.errors import UserError
from configs.section import Section

Part = TypeVar("Part")
Numbers = TypeVar("Numbers", bound=Section)


def find_part(what: str, name: str, ours: Mapping[str, str], kind: type[Part]) -> Part:
    """``find_part("objective", "grpo", OBJECTIVES, Objective)``.

    Raises UserError, one line, which names the nearest of ours."""
    path = ours.get(name.strip().lower(), name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise UserError(_unknown(what, name, ours))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise UserError(
            f"{what} {name!r} names no importable module and object (module:NAME): "
            + " ".join(str(error).split())
        ) from error
    if not isinstance(found, kind):
        raise UserError(f"{what} {name!r} is no {kind.__module__}.{kind.__qualname__}")
    return found


def read_numbers(key: str, name: str, section: type[Numbers], values: Mapping[str, Any]) -> Numbers:
    """The numbers that ``key`` of the configuration gives to the part ``name``."""
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, (key, *first["loc"])))
        words = first["msg"].removeprefix("Value error, ")
        known = ", ".join(section.model_fields) or "none"
        raise UserError(f"{where}: {words}; {name} has {known}") from error


def _unknown(what: str, name: str, ours: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name.strip().lower(), ours, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ours)}"
    return f"no {what} is called {name!r}; {hint} (or name your own as module:NAME)"
