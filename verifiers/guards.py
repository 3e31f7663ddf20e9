"""Right answers that are right for the wrong reason. Which of these count is the run's choice."""

import re
from collections.abc import Callable
from dataclasses import replace

from verifiers.answer import all_boxed, judged_part, last_boxed, marked, phrased
from verifiers.math_text import bare
from verifiers.types import Guard, Task, Verdict

LIST_ITEMS = 5
"""Candidates in a row, one of them the answer, that make a list and not an answer."""

ITEM_WORDS = 3
"""A longer piece between commas is prose."""
LIST_TAIL_CHARS = 20_000

_SEPARATOR = re.compile(r"[,;|\n]|(?<!\d)/|/(?!\d)|\b(?:or|and|is|are)\b", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECORATION = " \t*-•.:()$?!"
_BULLET = re.compile(r"\s*+(?:[-*•]|\(?[a-zA-Z\d]{1,2}[.)])\s++(?=\S)")
_BOX_OPENS = re.compile(r"\\(?:boxed|fbox)\s*+\{|\}")
_PROSE = re.compile(
    r"\b(?:as|at|be|because|but|by|for|from|hence|i|if|in|it|my|of|on|since|so|that|then|there|this"
    r"|thus|to|was|we|well|which|with|you)\b"
)
_NUMBER = re.compile(r"[-+−]?[$€£]?[\d.,/]*\d%?")
_CALCULATES = re.compile(r"[=+×*<>≤≥^\\]|\d\s*-\s*\d")


def guarded(task: Task, response: str, verdict: Verdict) -> Verdict:
    """The verdict, or ``wrong`` under the name of the first of the task's guards that objects."""
    if verdict.status != "correct":
        return verdict
    text = judged_part(response, "whole" if task.rules.part == "whole" else "after_think")
    for guard in task.rules.guards:
        objection = _GUARDS[guard](task, text, (verdict.extracted or "").strip())
        if objection:
            return replace(verdict, status="wrong", reason=guard, detail=objection)
    return verdict


def _copied(task: Task, text: str, extracted: str) -> str:
    """The answer already stands in the question. Useful where a question never holds its answer;
    elsewhere it would refuse honest ones, so it is not on by default."""
    answer = _plain(extracted)
    whole = rf"(?<![\w\\])(?<!\d[.,/^]){re.escape(answer)}(?!\w|[.,/^]\d)"
    if answer and re.search(whole, _plain(task.prompt)):
        return "the answer stands in the prompt"
    return ""


def _many_boxes(task: Task, text: str, extracted: str) -> str:
    num_boxes = len(_distinct_boxes(text))
    return f"{num_boxes} different boxes" if num_boxes > 1 else ""


def _answer_list(task: Task, text: str, extracted: str) -> str:
    """Guessing: so many candidates that one of them had to be right."""
    num_boxes = len(_distinct_boxes(text))
    if num_boxes >= LIST_ITEMS:
        return f"{num_boxes} different boxes"
    answer = _item(extracted)
    stated = last_boxed(text) or marked(text) or phrased(text)
    if not answer or (stated and _item(stated) == answer):
        return ""  # one answer was committed to, even if that is a list
    for run in _runs(_BOX_OPENS.sub("\n", text[-LIST_TAIL_CHARS:]), answer):
        if len(run) >= LIST_ITEMS and answer in run:
            return f"one of {len(run)} candidates in a row"
    return ""


def _runs(text: str, answer: str) -> list[set[str]]:
    """The different candidates of every uninterrupted list: short, and of the answer's kind.

    A calculation or a piece of prose ends a list, an empty piece does not.
    """
    runs: list[set[str]] = [set()]
    for piece in _SEPARATOR.split(_THOUSANDS.sub("", text)):
        item = _item(_BULLET.sub("", piece, count=1))
        if item and _is_candidate(item, answer):
            runs[-1].add(item)
        elif item and runs[-1]:
            runs.append(set())
    return runs


def _is_candidate(item: str, answer: str) -> bool:
    if item == answer:
        return True
    if len(item.split()) > ITEM_WORDS or _PROSE.search(item) or _CALCULATES.search(item):
        return False
    return _kind(item) == _kind(answer)


def _kind(item: str) -> str:
    if _NUMBER.fullmatch(item):
        return "number"
    return "letter" if len(item) == 1 else "words"


def _item(text: str) -> str:
    return " ".join(_THOUSANDS.sub("", text).strip(_DECORATION).casefold().split())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _distinct_boxes(text: str) -> set[str]:
    r"""``\boxed{\dfrac{1}{2}}`` and ``\boxed{ \frac{1}{2} }`` are one."""
    return {"".join(bare(box).split()) for box in all_boxed(text)}


_GUARDS: dict[Guard, Callable[[Task, str, str], str]] = {
    "copied": _copied,
    "many_boxes": _many_boxes,
    "answer_list": _answer_list,
}
