r"""Refuse mathematics that no honest answer needs and that a parser could hang on.

This saves time, no more: what slips through is stopped by the wall clock of the judge process.
"""

import math
import re

MAX_CHARS = 1000
MAX_DEPTH = 40
MAX_DIGITS = 200
MAX_EXPONENT = 99_999
MAX_TOWER_DIGITS = 4
"""A literal exponent that is itself a power may have this many digits: 2^{2^{10}} passes."""
MAX_FACTORIAL_DIGITS = 4

_OPEN = r"\s*(?:\\left)?[\s{(\[]*[-+]?"
_EXPONENT = re.compile(rf"(?:\^|\*\*){_OPEN}(\d++)")
_TOWER = re.compile(rf"(?=(?:\^|\*\*){_OPEN}(\d++)\s*(?:\^|\*\*){_OPEN}(\d++)\s*(\^|\*\*)?)")
_FACTORIAL = re.compile(r"(\d++|[)}\]])\s*!")
_FACTORIAL_OF_FACTORIAL = re.compile(r"!\s*!")


def refusal(text: str) -> str | None:
    """Why this text is not handed to the parser, or None when it may be."""
    if len(text) > MAX_CHARS:
        return f"longer than {MAX_CHARS} characters"
    depth = _depth(text)
    if depth is None:
        return "braces do not close"
    if depth > MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH}"
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", text):
        return f"a number of more than {MAX_DIGITS} digits"
    if _has_huge_power(text):
        return "a power too high to compute"
    if _has_huge_factorial(text):
        return "a factorial too high to compute"
    return None


def _depth(text: str) -> int | None:
    """Deepest nesting of brackets of any kind; None when the braces do not balance."""
    depth = deepest = braces = 0
    for character in text.replace(r"\{", "(").replace(r"\}", ")"):
        if character in "({[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")}]":
            depth -= 1
        braces += (character == "{") - (character == "}")
        if braces < 0:
            return None
    return None if braces else deepest


def _has_huge_power(text: str) -> bool:
    if any(int(exponent) > MAX_EXPONENT for exponent in _EXPONENT.findall(text)):
        return True
    for base, exponent, further in _TOWER.findall(text):
        digits = int(exponent) * math.log10(max(int(base), 1))
        if further or digits > MAX_TOWER_DIGITS:
            return True
    return False


def _has_huge_factorial(text: str) -> bool:
    if _FACTORIAL_OF_FACTORIAL.search(text):
        return True
    for match in _FACTORIAL.finditer(text):
        argument = match.group(1)
        if argument.isdigit():
            if len(argument) > MAX_FACTORIAL_DIGITS:
                return True
        elif _is_huge_inside(text[: match.start()]):
            return True
    return False


def _is_huge_inside(before: str) -> bool:
    """Judge a factorial's bracketed argument by its text, which ends ``before``."""
    depth = 1
    start = len(before)
    while start > 0 and depth:
        start -= 1
        depth += (before[start] in ")}]") - (before[start] in "({[")
    inside = before[start:]
    return bool(re.search(rf"\^|\*\*|!|\d{{{MAX_FACTORIAL_DIGITS + 1}}}", inside))
