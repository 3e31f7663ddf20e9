r"""Judge a mathematical answer by value: ``\frac12`` is ``0.5``. Used in judge processes only:
importing this loads sympy (seconds)."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from verifiers.answer import reference_answer, references, stated_answer
from verifiers.math_limits import MAX_CHARS, refusal
from verifiers.math_text import bare, equal_in_bases, with_brackets_of, words
from verifiers.math_values import (
    DECIMALS,
    are_equal,
    is_near,
    number_of,
    parsed,
    parsed_once,
)
from verifiers.number import agree_loosely, agree_to_three_digits, read_number
from verifiers.types import Strictness, Task, Verdict
from verifiers.units import contradict, split_percent, split_unit


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a comparison, as far as it goes without a parser."""

    text: str
    bare: str
    value: Fraction | None
    rest: str
    """The text without its unit."""
    unit: str


def math_answer(task: Task, response: str) -> Verdict:
    """The answer is the last box, else a last line ``#### …``, else what "the answer is" names.

    normal: equal by value; a decimal counts to six places; a unit or a percent sign may be missing
    but not contradict; order matters in ``(1, 2)``, not in ``1, 2``.
    strict: nothing is rounded, units and percent signs agree, ``(1, 2)`` is not ``{1, 2}``.
    lenient: besides normal, three significant digits are enough where the reference is no integer,
    50% may be 0.5 or 50, units do not count and brackets are the reference's.

    An answer that is refused (``math_limits``) and is not the reference letter by letter is wrong.
    """
    golds = [_reference(answer) for answer in references(task.answer)]
    written = stated_answer(task, response)
    if written is None:
        return Verdict(status="no_answer")
    found = _side(written)
    verdicts = [_verdict(gold, found, task.rules.strictness) for gold in golds]
    return next((verdict for verdict in verdicts if verdict.status == "correct"), verdicts[0])


@lru_cache(maxsize=1024)
def _reference(answer: str) -> _Side:
    gold = _side(reference_answer(answer))
    if not gold.bare:
        raise ValueError("the reference answer is empty")
    if gold.value is None and not refusal(gold.text) and not parsed_once(gold.rest, is_exact=False):
        raise ValueError(f"the reference answer {gold.text[:80]!r} cannot be parsed")
    return gold


def _side(text: str) -> _Side:
    rest, unit = split_unit(text) if len(text) <= MAX_CHARS else (text, "")
    return _Side(text=text, bare=bare(text), value=read_number(rest), rest=rest, unit=unit)


def _verdict(gold: _Side, found: _Side, level: Strictness) -> Verdict:
    if gold.bare == found.bare and (level != "strict" or gold.unit == found.unit):
        return Verdict(status="correct", extracted=found.text)
    if _units_differ(gold, found, level):
        detail = f"unit {found.unit!r} in place of {gold.unit!r}"
        return Verdict(status="wrong", extracted=found.text, reason="unit", detail=detail)
    is_equal = _equal_as_text(gold, found, level)
    if is_equal is None:
        refused = refusal(found.text)
        if refused:
            return Verdict(status="wrong", extracted=found.text, detail=f"refused: {refused}")
        is_equal = _equal_as_mathematics(gold, found, level)
    return Verdict(status="correct" if is_equal else "wrong", extracted=found.text)


def _units_differ(gold: _Side, found: _Side, level: Strictness) -> bool:
    if level == "strict":
        has_percent = [split_percent(side.text)[1] for side in (gold, found)]
        return gold.unit != found.unit or has_percent[0] != has_percent[1]
    return level == "normal" and contradict(gold.unit, found.unit)


def _equal_as_text(gold: _Side, found: _Side, level: Strictness) -> bool | None:
    """For numbers, words and numbers of another base; None where a parser must say."""
    if gold.value is not None and found.value is not None:
        return _equal_numbers(gold.value, found.value, level, "." in gold.rest + found.rest)
    if max(len(gold.text), len(found.text)) > MAX_CHARS:
        return None
    if words(gold.text) or words(found.text):
        wanted, given = (words(side.text, least=1) for side in (gold, found))
        return wanted == given if wanted and given else None
    return equal_in_bases(gold.rest, found.rest, must_name_base=level == "strict")


def _equal_numbers(wanted: Fraction, given: Fraction, level: Strictness, is_decimal: bool) -> bool:
    if wanted == given or level == "strict" or wanted.denominator == given.denominator == 1:
        return wanted == given
    if level == "lenient" and agree_to_three_digits(wanted, given):
        return True
    rounded = round(wanted, DECIMALS) == round(given, DECIMALS)
    return is_decimal and rounded and is_near(wanted, given, is_exact=False)


def _equal_as_mathematics(gold: _Side, found: _Side, level: Strictness) -> bool:
    refused = refusal(gold.text)
    if refused:
        raise ValueError(f"the reference answer {gold.text[:80]!r} cannot be compared: {refused}")
    is_exact = level == "strict"
    wanted = parsed_once(gold.rest, is_exact=is_exact)
    if are_equal(wanted, parsed(found.rest, is_exact=is_exact), is_exact=is_exact):
        return True
    return level == "lenient" and _leniently_equal(gold.rest, found.rest)


def _leniently_equal(gold: str, found: str) -> bool:
    wanted, wants_percent = split_percent(gold)
    given, is_percent = split_percent(found)
    wanted_value = number_of(parsed_once(wanted, is_exact=False))
    given_value = number_of(parsed(given, is_exact=False))
    if wanted_value is not None and given_value is not None:
        return agree_loosely(wanted_value, wants_percent, given_value, is_percent)
    rewritten = with_brackets_of(gold, found)
    if rewritten == found:
        return False
    items = parsed_once(gold, is_exact=False), parsed(rewritten, is_exact=False)
    return are_equal(*items, is_exact=False)
