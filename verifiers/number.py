"""Judge an answer that is one plain number, as in GSM8K."""

import re
from collections import deque
from decimal import Decimal
from fractions import Fraction

from verifiers.answer import (
    committed_answer,
    judged_part,
    number_matches,
    numbers,
    reference_answer,
    references,
)
from verifiers.types import Strictness, Task, Verdict
from verifiers.units import PERCENT, split_percent

MAX_NUMBER_CHARS = 400
"""A longer number is refused: no reference answer needs it, and big fractions cost time."""

_DRESSING = re.compile(
    r"\\[!,;: $]|[$€£]|(?<!\d)[~\s]+|[~\s]+(?!\d)|\^\{?\\circ\}?|\\(?:left|right)(?![a-zA-Z])"
)
"""What may stand around or inside a number. A blank between digits separates two numbers."""

_FRACTION = re.compile(r"([-+]?)\\[dtc]?frac\{(\d++)\}\{(\d++)\}")
_MINUS = str.maketrans("−–", "--")
_PLAIN = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d*+)?|[-+]?\.\d++")
_WORDS = re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf)\s*\{[^{}]*\}")


def number(task: Task, response: str) -> Verdict:
    """Compare numbers as numbers: ``007``, ``7.0`` and ``$7`` are 7.

    The answer is the last box, else a ``####`` line, else the last number of the text. A percent
    sign may be missing; with "strict" it is the hundredth that it says, with "lenient" it may be
    either, and three digits are enough where the reference is no integer.
    """
    golds = [_reference(answer) for answer in references(task.answer)]
    part = judged_part(response, task.rules.part)
    found = committed_answer(task, part)
    if not found:
        found = _last_number(part.translate(_MINUS))
    if found is None:
        return Verdict(status="no_answer")
    bare, is_percent = split_percent(found)
    given = _number_in(bare)
    if given is None:
        return Verdict(status="wrong", extracted=found, detail="not one plain number")
    level = task.rules.strictness
    is_right = any(_equal(*gold, given, is_percent, level) for gold in golds)
    return Verdict(status="correct" if is_right else "wrong", extracted=found)


def _equal(
    wanted: Fraction, wants_percent: bool, given: Fraction, is_percent: bool, level: Strictness
) -> bool:
    if level == "lenient":
        return agree_loosely(wanted, wants_percent, given, is_percent)
    if level == "strict":
        return _share(wanted, wants_percent) == _share(given, is_percent)
    return wanted == given


def agree_loosely(wanted: Fraction, wants_percent: bool, given: Fraction, is_percent: bool) -> bool:
    """To three digits, and 50% may be 50 or the half that it is."""
    shares = _share(wanted, wants_percent), _share(given, is_percent)
    return agree_to_three_digits(wanted, given) or agree_to_three_digits(*shares)


def _share(value: Fraction, is_percent: bool) -> Fraction:
    return value / 100 if is_percent else value


def _reference(answer: str) -> tuple[Fraction, bool]:
    text, is_percent = split_percent(reference_answer(answer))
    value = read_number(text)
    if value is None:
        raise ValueError(f"the reference answer {answer[:80]!r} is not a number")
    return value, is_percent


def _last_number(text: str) -> str | None:
    """With its percent sign, where one follows."""
    matches = deque(number_matches(text), maxlen=1)
    if not matches:
        return None
    last = matches[0]
    percent = PERCENT.match(last.string, last.end())
    return last.group() + (percent.group() if percent else "")


def read_number(text: str) -> Fraction | None:
    r"""The value of a text that is nothing but a number: ``1,234``, ``\$12``, ``12.0``, ``1/2``."""
    if len(text) > MAX_NUMBER_CHARS:
        return None
    plain = _DRESSING.sub("", text.translate(_MINUS).replace("{,}", ","))
    fraction = _FRACTION.fullmatch(plain)
    if fraction:
        plain = "{}{}/{}".format(*fraction.groups())
    top, slash, bottom = plain.rstrip(".").partition("/")
    if not _PLAIN.fullmatch(top) or (slash and not _PLAIN.fullmatch(bottom)):
        return None
    value, divisor = (Fraction(part.replace(",", "")) for part in (top, bottom or "1"))
    return value / divisor if divisor else None


def agree_to_three_digits(wanted: Fraction, given: Fraction) -> bool:
    """Whether the difference is below half a unit of the third digit; an integer was counted, and
    is not rounded."""
    if wanted == given or wanted.denominator == 1:
        return wanted == given
    first_digit = (Decimal(wanted.numerator) / Decimal(wanted.denominator)).adjusted()
    return abs(wanted - given) * 2 <= Fraction(10) ** (first_digit - 2)


def _number_in(found: str) -> Fraction | None:
    r"""The number, or the only one among words: ``x = 72``, ``72 \text{ clips}``, ``72%``."""
    value = read_number(found)
    if value is not None:
        return value
    text = _WORDS.sub(" ", found.replace("{,}", ",").replace(r"\$", "")).rpartition("=")[2]
    candidates = numbers(text.translate(_MINUS))
    if len(candidates) != 1 or re.search(r"[\^!*()]|\\[a-z]+", text):
        return None
    return read_number(candidates[0])
