"""Judge a short text that must be the answer, not merely occur in the response."""

import re
import unicodedata

from verifiers.answer import judged_part, last_line, references, stated_answer
from verifiers.types import Strictness, Task, Verdict

_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|tt|normal)?|math(?:rm|bf|it)|mbox)\s*+\{([^{}]*+)\}")
_AROUND = " \t\n\"'`“”‘’«»*_$"
_AFTER = ".,;:!?"


def string(task: Task, response: str) -> Verdict:
    """The answer is the last box, a ``####`` line, what "the answer is" names, or the last line.

    Case, spacing, the form of characters, quotes and punctuation around it and ``\\text`` are
    free; "strict" wants the same text.
    """
    level = task.rules.strictness
    golds = {_plain(answer, level) for answer in references(task.answer)}
    if "" in golds:
        raise ValueError("the reference answer is empty")
    found = stated_answer(task, response)
    if found is None and task.rules.part != "last_box":
        found = last_line(judged_part(response, task.rules.part))
    if not found:
        return Verdict(status="no_answer")
    is_right = _plain(found, level) in golds
    return Verdict(status="correct" if is_right else "wrong", extracted=found)


def _plain(text: str, level: Strictness) -> str:
    if level == "strict":
        return text.strip()
    words = unicodedata.normalize("NFKC", _TEXT.sub(r"\1", text)).casefold().split()
    plain = " ".join(words)
    return plain.strip(_AROUND).rstrip(_AFTER).strip(_AROUND) or plain
