"""Right answers that are right for the wrong reason. Which of these count is the run's choice."""

import re
from collections.abc import Callable
from dataclasses import replace

from verifiers.answer import all_boxed, judged_part, marked
from verifiers.types import Guard, Task, Verdict

LIST_ITEMS = 5
"""Candidates in a row, one of them the answer, that make a list and not an answer."""

ITEM_WORDS = 3
LIST_TAIL_CHARS = 20_000

_SEPARATOR = re.compile(r"[,;/|\n]|\b(?:or|and)\b")
_DECORATION = " \t*-•.:()$"


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
    if extracted and re.search(rf"(?<!\w){re.escape(extracted)}(?!\w)", task.prompt, re.IGNORECASE):
        return "the answer stands in the prompt"
    return ""


def _many_boxes(task: Task, text: str, extracted: str) -> str:
    num_boxes = len(_distinct_boxes(text))
    return f"{num_boxes} different boxes" if num_boxes > 1 else ""


def _answer_list(task: Task, text: str, extracted: str) -> str:
    """Guessing: so many candidates that one of them had to be right."""
    boxes = _distinct_boxes(text)
    if len(boxes) >= LIST_ITEMS:
        return f"{len(boxes)} different boxes"
    if boxes or marked(text) or not extracted:
        return ""  # one answer was committed to
    run: list[str] = []
    for piece in [*_SEPARATOR.split(text[-LIST_TAIL_CHARS:]), "the end of the last run"]:
        item = piece.strip(_DECORATION).casefold()
        if item and len(item.split()) <= ITEM_WORDS:
            run.append(item)
        elif item:
            if len(set(run)) >= LIST_ITEMS and extracted.strip(_DECORATION).casefold() in run:
                return f"one of {len(set(run))} candidates in a row"
            run = []
    return ""


def _distinct_boxes(text: str) -> set[str]:
    return {"".join(box.split()) for box in all_boxed(text)}


_GUARDS: dict[Guard, Callable[[Task, str, str], str]] = {
    "copied": _copied,
    "many_boxes": _many_boxes,
    "answer_list": _answer_list,
}
