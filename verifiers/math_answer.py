r"""Judge a mathematical answer by value: ``\frac12`` is ``0.5``. Used in judge processes only.

Importing this loads sympy (seconds). Time-outs of math-verify are off: they need the main thread
and signals; the judge process itself is what gets killed. Of its two parsers only the LaTeX one
is used, because the other one hands text to ``parse_expr``, which runs Python.
"""

import re

from math_verify import LatexExtractionConfig, parse, verify

from verifiers.answer import reference_answer, references, stated_answer
from verifiers.math_limits import refusal
from verifiers.number import read_number
from verifiers.types import Task, Verdict

_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]|\\?\$")
_ALIKE = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[!,;:]"), ""),
    (_DELIMITERS, ""),
    (re.compile(r"(?<!\d)\s+|\s+(?!\d)"), ""),
)


def math_answer(task: Task, response: str) -> Verdict:
    """The answer is the last box, else a last line ``#### …``, else what "the answer is" names.

    An answer that is refused (``math_limits``) and is not the reference letter by letter is wrong.
    """
    golds = [reference_answer(answer) for answer in references(task.answer)]
    if not all(golds):
        raise ValueError("the reference answer is empty")
    found = stated_answer(task, response)
    if found is None:
        return Verdict(status="no_answer")
    verdicts = [_compare(gold, found) for gold in golds]
    return next((verdict for verdict in verdicts if verdict.status == "correct"), verdicts[0])


def _compare(gold: str, found: str) -> Verdict:
    if _bare(gold) == _bare(found):
        return Verdict(status="correct", extracted=found)
    gold_value, value = read_number(gold), read_number(found)
    if gold_value is not None and value is not None:
        if gold_value == value:
            return Verdict(status="correct", extracted=found)
        if gold_value.denominator == value.denominator == 1:
            return Verdict(status="wrong", extracted=found)
    refused = refusal(found)
    if refused:
        return Verdict(status="wrong", extracted=found, detail=f"refused: {refused}")
    refused = refusal(gold)
    if refused:
        raise ValueError(f"the reference answer {gold[:80]!r} cannot be compared: {refused}")
    equal = verify(_parse(gold), _parse(found), timeout_seconds=None)
    return Verdict(status="correct" if equal else "wrong", extracted=found)


def _bare(text: str) -> str:
    """The text without what never changes its meaning."""
    for pattern, replacement in _ALIKE:
        text = pattern.sub(replacement, text)
    return text.rstrip(".").replace("{,}", ",")


def _parse(text: str) -> list:
    one_line = " ".join(_DELIMITERS.sub("", text).split())
    return parse(rf"\boxed{{{one_line}}}", [LatexExtractionConfig()], parsing_timeout=0)
