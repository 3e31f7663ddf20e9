"""Whether a program's output is the expected one. Both are data here; neither can say so itself."""

import math
import re
from typing import Any

TOLERANCE = 1e-6
NEAR_ZERO = 1e-9

_WHOLE = re.compile(r"[-+]?\d{1,400}")
_NUMBER = re.compile(r"[-+]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][-+]?\d{1,4})?")


def same_text(given: str, expected: str, *, strict: bool) -> bool:
    """Line by line, blanks at ends ignored; unless strict, ``0.3333333`` is also ``0.33333334``.

    A whole number is expected exactly, though ``2.0`` will do for ``2``.
    """
    given_lines, expected_lines = _lines(given), _lines(expected)
    if given_lines == expected_lines:
        return True
    if strict or len(given_lines) != len(expected_lines):
        return False
    for given_line, expected_line in zip(given_lines, expected_lines, strict=True):
        words, expected_words = given_line.split(), expected_line.split()
        if len(words) != len(expected_words):
            return False
        if not all(map(_same_word, words, expected_words)):
            return False
    return True


def same_value(given: Any, expected: Any, *, strict: bool) -> bool:
    """Of values that came as JSON. True is not 1; unless strict, 1.0 is, and floats may differ in
    their last digits."""
    if isinstance(expected, bool) or isinstance(given, bool):
        return given is expected
    if isinstance(expected, int | float) and isinstance(given, int | float):
        if strict:
            return type(given) is type(expected) and given == expected
        return same_number(given, expected, TOLERANCE)
    if type(given) is not type(expected):
        return False
    if isinstance(expected, list):
        return len(given) == len(expected) and all(
            same_value(one, other, strict=strict)
            for one, other in zip(given, expected, strict=True)
        )
    if isinstance(expected, dict):
        return given.keys() == expected.keys() and all(
            same_value(given[key], expected[key], strict=strict) for key in expected
        )
    return given == expected


def same_number(given: int | float, expected: int | float, tolerance: float) -> bool:
    """Whole numbers are equal or not; with a fraction on either side they may be close."""
    if given == expected or (given != given and expected != expected):
        return True
    if isinstance(given, int) and isinstance(expected, int):
        return False
    try:
        return math.isclose(given, expected, rel_tol=tolerance, abs_tol=tolerance * 1e-3)
    except OverflowError:  # an integer beyond every float
        return False


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _same_word(given: str, expected: str) -> bool:
    if given == expected:
        return True
    if not (_NUMBER.fullmatch(given) and _NUMBER.fullmatch(expected)):
        return False
    if _WHOLE.fullmatch(expected):
        return (int(given) if _WHOLE.fullmatch(given) else float(given)) == int(expected)
    return math.isclose(float(given), float(expected), rel_tol=TOLERANCE, abs_tol=NEAR_ZERO)
