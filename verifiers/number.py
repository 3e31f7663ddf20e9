"""Judge an answer that is one plain number, as in GSM8K."""

import re
from fractions import Fraction

from verifiers.answer import (
    judged_part,
    last_boxed,
    marked,
    numbers,
    reference_answer,
    references,
)
from verifiers.types import Task, Verdict

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

    The answer is the last box, else a ``####`` line, else the last number of the text.
    """
    golds = [_reference(answer) for answer in references(task.answer)]
    part = judged_part(response, task.rules.part)
    found = part if task.rules.part == "last_box" else last_boxed(part) or marked(part)
    if not found:
        found = next(reversed(numbers(part.translate(_MINUS))), None)
    if found is None:
        return Verdict(status="no_answer")
    given = _number_in(found)
    if given is None:
        return Verdict(status="wrong", extracted=found, detail="not one plain number")
    return Verdict(status="correct" if given in golds else "wrong", extracted=found)


def _reference(answer: str) -> Fraction:
    value = read_number(reference_answer(answer))
    if value is None:
        raise ValueError(f"the reference answer {answer[:80]!r} is not a number")
    return value


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
