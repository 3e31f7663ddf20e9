"""Judge a multiple-choice answer: the letter (or the digit) of one choice."""

import re

from verifiers.answer import (
    ANSWER_TAIL_CHARS,
    committed_answer,
    judged_part,
    last_line,
    reference_answer,
    references,
)
from verifiers.types import Task, Verdict

PHRASE_CHARS = 200
"""Behind "the answer is" no choice is named later than this."""

_DRESSING = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|it|sf)|mbox|left|right|bf|rm)(?![a-zA-Z])"
    r"|\\[()\[\]!,;: ]|[*$`{}\"“”]"
)
_PHRASE = re.compile(
    r"\b(?:answer|choice|option)[ \t*]*+(?:is|would be|must be|should be|:|=)[ \t*]*+:?",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\s*+(?:(?:the|option|choice|answer|letter)\b[ \t:]*+)*+", re.IGNORECASE)
_CHOICE = re.compile(
    r"(?P<open>[(\[]?)\s*+(?P<name>[A-Za-z1-9])(?:\s*+(?P<close>[)\]]|[.:](?!\w)))?+"
)
_CONTINUES = re.compile(r"[\w'’-]|[.,]\d|\s*+[\^+*=]|\s++[<>]")
_ANOTHER = re.compile(r"\s*+(?:(?:[,/;&]|and\b|or\b)\s*+)++", re.IGNORECASE)
_GOES_ON = re.compile(r"\s*+(?:$|[^\w\s]|(?:because|since|as|for|and|or|with|which|is)\b)")
"""What may follow a bare ``A``, ``I`` or small letter; before anything else it is a word."""
_LIST_GOES_ON = re.compile(r"\s*+(?:$|[^\w\s]|(?:and|or|are|both)\b)", re.IGNORECASE)
"""What may follow a second name: "B, C is wrong" names only B."""


def choice(task: Task, response: str) -> Verdict:
    """The choice is named by the last box, a ``####`` line, "the answer is", or a last line that
    is nothing else. Several named at once are wrong."""
    golds = [_reference(answer) for answer in references(task.answer)]
    text = judged_part(response, task.rules.part)
    stated = committed_answer(task, text)
    names = _names(stated) if stated else _phrased(text) or _alone(text)
    if not names:
        if not stated:
            return Verdict(status="no_answer")
        return Verdict(status="wrong", extracted=stated, reason="not_a_choice")
    if len(names) > 1:
        listed = ", ".join(sorted(names))
        return Verdict(
            status="wrong", extracted=listed, reason="several", detail=f"names {listed} at once"
        )
    (name,) = names
    return Verdict(status="correct" if name in golds else "wrong", extracted=name)


def _reference(answer: str) -> str:
    found = _CHOICE.fullmatch(_DRESSING.sub("", reference_answer(answer)).strip())
    if found is None:
        raise ValueError(f"the reference answer {answer[:80]!r} is not the letter of a choice")
    return found["name"].upper()


def _phrased(text: str) -> set[str]:
    """What the last "the answer is" that names a choice names."""
    tail = text[-ANSWER_TAIL_CHARS:]
    named: set[str] = set()
    for phrase in _PHRASE.finditer(tail):
        rest = tail[phrase.end() : phrase.end() + PHRASE_CHARS]
        named = _names(rest.partition("\n")[0]) or named
    return named


def _alone(text: str) -> set[str]:
    line = _DRESSING.sub("", last_line(text)).strip()
    found = _CHOICE.fullmatch(line, _end_of(_NAMED, line, 0))
    return {found["name"].upper()} if found else set()


def _names(statement: str) -> set[str]:
    """The choices a statement starts with: ``B``, ``(B) 42``, ``B or C``."""
    text = _DRESSING.sub("", statement)
    found = _CHOICE.match(text, _end_of(_NAMED, text, 0))
    if found is None or _is_word(found, text):
        return set()
    names = {found["name"].upper()}
    while found := _next(found, text):
        names.add(found["name"].upper())
    return names


def _next(found: re.Match[str], text: str) -> re.Match[str] | None:
    """The next name of a list of choices."""
    start = _end_of(_ANOTHER, text, found.end())
    if start == found.end() and (found["close"] or found["name"].isdigit()):
        return None  # what follows "(B)" is the text of that choice
    following = _CHOICE.match(text, start)
    if following is None or following["name"].isdigit() != found["name"].isdigit():
        return None
    rest = text[following.end() : following.end() + 40]
    if _CONTINUES.match(rest) or not (following["close"] or _LIST_GOES_ON.match(rest)):
        return None
    return following


def _end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start


def _is_word(found: re.Match[str], text: str) -> bool:
    """Whether the character begins a word or a number, or is an article or a pronoun."""
    rest = text[found.end() : found.end() + 40]
    if found["close"]:
        return False
    if _CONTINUES.match(rest):
        return True
    return (found["name"].islower() or found["name"] in "AI") and not _GOES_ON.match(rest)
