"""Judge a response by a pattern. A slow pattern is stopped by the judge's wall clock."""

import re

from verifiers.answer import judged_part, references, stated_answer
from verifiers.types import Task, Verdict


def regex(task: Task, response: str) -> Verdict:
    """Correct when the reference, a pattern of ``re``, is found in the response; with "strict" when
    it matches the whole of the stated answer or of the response."""
    patterns = [_compiled(answer) for answer in references(task.answer)]
    text = judged_part(response, task.rules.part).strip()
    if not text:
        return Verdict(status="no_answer")
    is_strict = task.rules.strictness == "strict"
    stated = stated_answer(task, response) if is_strict else None
    for pattern in patterns:
        if is_strict:
            found = pattern.fullmatch(stated or text) or pattern.fullmatch(text)
        else:
            found = pattern.search(text)
        if found:
            return Verdict(status="correct", extracted=found.group())
    return Verdict(status="wrong", extracted=stated)


def _compiled(answer: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(answer)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the reference answer {answer[:80]!r} is no pattern: {error}") from error
    if pattern.search(""):
        raise ValueError(f"the reference answer {answer[:80]!r} matches every response")
    return pattern
