"""What a view is given: a run, one moment of its rows, and what was asked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.server import filters
from dashboard.server.errors import Refused
from dashboard.server.filters import Values, Where
from dashboard.server.run import Run
from dashboard.server.store import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Args:
    """Query parameters, read strictly."""

    values: Values

    def several(self, name: str) -> list[str]:
        return [value for value in self.values.get(name, ()) if value != ""]

    def text(self, name: str, default: str = "") -> str:
        found = self.several(name)
        if len(found) > 1:
            raise Refused("bad_request", f"{name} takes one value, got {len(found)}", name)
        return found[0] if found else default

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise Refused("bad_request", f"{name} is missing", name)
        return value

    def choice(self, name: str, known: Sequence[str]) -> str:
        """The first of them when it is not given."""
        value = self.text(name, known[0])
        if value not in known:
            raise Refused(
                "bad_request", f"{name}={value[:60]!r} is none of {', '.join(known)}", name
            )
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.maybe_integer(name)
        if value is None:
            return default
        if not low <= value <= high:
            raise Refused("bad_request", f"{name}={value} is not from {low} to {high}", name)
        return value

    def maybe_integer(self, name: str) -> int | None:
        value = self.text(name)
        try:
            return int(value) if value else None
        except ValueError:
            raise Refused(
                "bad_request", f"{name}={value[:60]!r} is no whole number", name
            ) from None

    def flag(self, name: str) -> bool:
        return self.text(name) in ("1", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    run: Run
    db: Snapshot
    args: Args
    cursor: str = ""
    """The run's, of a moment before this one: no row between the two is promised."""
    matching: str | None = None
    """Where the text matches ``q``, as a condition."""
    is_searched: bool = True
    """All texts were looked through for it."""

    def where(self, without: Collection[str] = ()) -> Where:
        """The filters of the request."""
        return filters.where(
            self.args.values,
            without=without,
            tagged=self.run.annotations.tagged,
            matching=None if self.matching is None else lambda q: str(self.matching),
        )

    def given(self, without: Collection[str] = ()) -> dict[str, list[str]]:
        """The filters of the request, to be handed on in a link."""
        found = filters.given(self.args.values)
        return {name: several for name, several in found.items() if name not in without}

    def link(self, **more: Any) -> dict[str, Any]:
        """Filters of V6 that show the rows of this request that are also these."""
        return self.given(tuple(more)) | more


def share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
