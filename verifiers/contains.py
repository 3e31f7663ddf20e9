"""Judge an answer that is a word or a short phrase, such as the name of a capital."""

import re
import unicodedata

from verifiers.answer import answer_part
from verifiers.types import Verdict


def contains(answer: str, response: str) -> Verdict:
    """Correct when the answer stands in the response as whole words; case and spacing are free."""
    gold = _plain(answer)
    if not gold:
        raise ValueError("the reference answer is empty: every response would contain it")
    text = _plain(answer_part(response))
    if not text:
        return Verdict(status="no_answer")
    found = re.search(rf"(?<!\w){re.escape(gold)}(?!\w)", text)
    if found is None:
        return Verdict(status="wrong")
    return Verdict(status="correct", extracted=found.group())


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
