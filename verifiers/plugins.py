"""Parts by their names, ours or somebody's own ``module:NAME``, and the numbers they are given.

Nothing is imported until a name asks for it.
"""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import ValidationError

from configs.errors import UserError
from configs.section import Section

S = TypeVar("S", bound=Section)
OWN = "module:NAME"


class PluginFailed(RuntimeError):
    """A part raised, or gave what it may not give; one line that names it."""


def resolve(kind: str, name: str, ours: Mapping[str, str], own: str = OWN) -> Any:
    """``resolve("objective", "grpo", OBJECTIVES)``, or somebody's own, which runs its module.

    Raises UserError, one line."""
    path = ours.get(name.strip().lower(), name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise UserError(_unknown(kind, name, ours, own))
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # somebody's module may fail in any way
        raise UserError(
            f"{kind} {name!r} names no importable module and object ({own}): "
            + " ".join(f"{type(error).__name__}: {error}".split())
        ) from error


def settings_of(key: str, name: str, section: type[S], values: Mapping[str, Any]) -> S:
    """The numbers of the part ``name``, which stand at ``key``. Raises UserError, one line."""
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, (key, *first["loc"])))
        known = ", ".join(section.model_fields) or "none"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {message}; {name} has {known}") from error


@contextmanager
def blamed(part: str) -> Iterator[None]:
    """What is raised inside says which part it was."""
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split())
        raise PluginFailed(f"{part} failed: {type(error).__name__}: {words}") from error


def _unknown(kind: str, name: str, ours: Mapping[str, str], own: str) -> str:
    near = difflib.get_close_matches(name.strip().lower(), ours, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ours)}"
    return f"no {kind} is called {name!r}; {hint} (or name your own as {own})"
