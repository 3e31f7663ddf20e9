"""JSON as its standard has it, from text that nobody vouches for."""

import json
import math
import re
from typing import Any

MAX_DEPTH = 50
MAX_NUMBER_CHARS = 4300
"""Python itself refuses to read a longer integer: the time grows with the square."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)


class NotStrictJson(ValueError):
    """JSON that some parsers would take. ``reason`` says in a word why not."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def strict_json(text: str) -> Any:
    """The value. NotStrictJson, or a plain ValueError where it is no JSON at all."""
    if _depth(text) > MAX_DEPTH:
        raise NotStrictJson("too_deep", f"nested deeper than {MAX_DEPTH}")
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )


def _depth(text: str) -> int:
    depth = deepest = 0
    for token in _TOKEN.finditer(text):
        mark = token.group()
        depth += (mark in "{[") - (mark in "}]")
        deepest = max(deepest, depth)
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise NotStrictJson("duplicate_keys", "a key stands twice in an object")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise NotStrictJson("long_number", f"a number longer than {MAX_NUMBER_CHARS} characters")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise NotStrictJson("not_finite", f"{text[:40]} is beyond every float")
    return value


def _constant(name: str) -> Any:
    raise NotStrictJson("not_finite", f"{name} is no JSON")
