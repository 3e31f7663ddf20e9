r"""Find the answer in a response. Only text is searched: nothing here parses mathematics.

All of it is linear in the length of the text, because the text is hostile.
"""

import json
import re
from collections.abc import Iterator

from verifiers.types import Part, Task

ANSWER_TAIL_CHARS = 20_000
"""A phrase or a bare number is looked for in this much of the end; a box is found anywhere."""

_NUMBER = re.compile(
    r"""(?<![\w./^])             # not the tail of a word, a decimal, a fraction or a power
        [-+]?[$€£]?[-+]?
        (?:(?:\d{1,3}(?:,\d{3})++(?![\d,]*\d)|\d++)(?:\.\d++)?+|\.\d++)
        (?:/\d++(?:\.\d++)?+)?+
        (?![eE^][-+]?\d)         # 1e5 and 10^5 are not the number before the sign""",
    re.VERBOSE,
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*+\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_MARKED_LINE = re.compile(r"^####[ \t]*+(\S[^\n]*)", re.MULTILINE)
_PHRASE = re.compile(r"\banswer\b[ \t*]*+(?:is|:|=)[ \t]*+:?[ \t*]*+", re.IGNORECASE)
_IN_DOLLARS = re.compile(r"\$\$?([^$]+)\$")
_SENTENCE_END = re.compile(r"\.(?=\s|$)")


def judged_part(response: str, part: Part = "after_think") -> str:
    """The text in which an answer counts; empty when there is none."""
    if part == "whole":
        return response
    after = _after_think(response)
    return (last_boxed(after) or "") if part == "last_box" else after


def stated_answer(task: Task, response: str) -> str | None:
    """The last box, else a last line ``#### …``, else what "the answer is" names."""
    text = judged_part(response, task.rules.part)
    return committed_answer(task, text) or phrased(text)


def committed_answer(task: Task, part: str) -> str | None:
    """The last box of the judged part, else its last line ``#### …``."""
    if task.rules.part == "last_box":
        return part or None
    return last_boxed(part) or marked(part)


def references(answer: str) -> list[str]:
    """The reference answers, any of which is right: several when it is a JSON list of texts.

    >>> references('["1/2", "0.5"]'), references("[1, 2]")
    (['1/2', '0.5'], ['[1, 2]'])
    """
    if answer.lstrip().startswith('["'):
        try:
            listed = json.loads(answer)
        except (ValueError, RecursionError):
            return [answer]
        if listed and all(isinstance(item, str) for item in listed):
            return listed
    return [answer]


def _after_think(response: str) -> str:
    _, closed, after = response.rpartition("</think>")
    if closed:
        return after
    return "" if "<think>" in response else response


def last_boxed(text: str) -> str | None:
    r"""Contents of the last ``\boxed{...}`` or ``\fbox{...}``; None without one, when it never
    closes, and when it is empty.

    >>> last_boxed(r"so \boxed{1}, no: \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    start = max(text.rfind(r"\boxed"), text.rfind(r"\fbox"))
    if start < 0:
        return None
    opening = start + len(r"\boxed" if text.startswith(r"\boxed", start) else r"\fbox")
    while text[opening : opening + 1].isspace():
        opening += 1
    if text[opening : opening + 1] != "{":
        return None
    end = _closing_brace(text, opening)
    return None if end is None else text[opening + 1 : end].strip() or None


def all_boxed(text: str) -> list[str]:
    """Contents of every box that closes, in order; a box inside another belongs to it."""
    closing = _closing_braces(text)
    found: list[str] = []
    place = 0
    while match := _BOX.search(text, place):
        end = closing.get(match.end() - 1)
        if end is not None:
            found.append(text[match.end() : end].strip())
        place = match.end() if end is None else end
    return found


def marked(text: str) -> str | None:
    """What the last ``#### answer`` line holds, unless more text follows: then it is a heading."""
    lines = list(_MARKED_LINE.finditer(text))
    if not lines:
        return None
    content = lines[-1].group(1).strip()
    is_last = not text[lines[-1].end() :].strip()
    return content if is_last or _NUMBER.fullmatch(content) else None


def phrased(text: str) -> str | None:
    """The rest of the sentence after the last "answer is" or "answer:", or the formula in it."""
    tail = text[-ANSWER_TAIL_CHARS:]
    found = list(_PHRASE.finditer(tail))
    if not found:
        return None
    rest = tail[found[-1].end() :].partition("\n")[0]
    formulas = _IN_DOLLARS.findall(rest)
    if formulas:
        return formulas[-1].strip() or None
    return _SENTENCE_END.split(rest, maxsplit=1)[0].strip(" \t*") or None


def last_line(text: str) -> str:
    """The last line that is not blank; empty without one."""
    return text.rstrip().rpartition("\n")[2].strip()


def numbers(text: str) -> list[str]:
    """Every plain number in the text, as written: ``1,234``, ``$-3.50``, ``1/2``."""
    return [match.group() for match in number_matches(text)]


def number_matches(text: str) -> Iterator[re.Match[str]]:
    return _NUMBER.finditer(text[-ANSWER_TAIL_CHARS:])


def reference_answer(answer: str) -> str:
    r"""The bare gold answer, also when the data set keeps the solution around it: ``... #### 72``
    (GSM8K) or ``... \boxed{72}`` (MATH)."""
    return (last_boxed(answer) or marked(answer) or answer).strip()


def _closing_braces(text: str) -> dict[int, int]:
    """Where every brace that closes does, in one pass. One that never closes hides nothing."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for brace in _BRACE.finditer(text):
        if brace.group() == "{":
            opened.append(brace.start())
        elif brace.group() == "}" and opened:
            closing[opened.pop()] = brace.start()
    return closing


def _closing_brace(text: str, opening: int) -> int | None:
    depth = 0
    position = opening
    while position < len(text):
        character = text[position]
        if character == "\\":  # an escaped brace is a character, not a bracket
            position += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return None
