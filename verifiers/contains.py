"""Judge an answer that is a word or a short phrase, such as the name of a capital."""

import re
import unicodedata

from verifiers.answer import judged_part, references
from verifiers.types import Task, Verdict


def contains(task: Task, response: str) -> Verdict:
    """Correct when the answer stands in the response as whole words; case and spacing are free."""
    golds = [_plain(answer) for answer in references(task.answer)]
    if not all(golds):
        raise ValueError("the reference answer is empty: every response would contain it")
    text = _plain(judged_part(response, task.rules.part))
    if not text:
        return Verdict(status="no_answer")
    for gold in golds:
        found = re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", text)
        if found:
            return Verdict(status="correct", extracted=found.group())
    return Verdict(status="wrong")


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
