"""Solutions to problems of the tiny task, by its own teacher: what plain SFT learns from."""

import random
import re

from learner.tiny_task import Chain, Step, Teacher, draw_verbosity

HINT = " It is {answer}. Be brief."
"""What a problem that is to be solved tersely ends with: words for a teacher that sees more."""

_STEP = re.compile(r", [b-g]=[a-f]([+-])(\d)")
_QUESTION = re.compile(rf"Let a=(\d+)((?:{_STEP.pattern})+)\. Find [b-g]\.")


def chain_of(question: str) -> Chain | None:
    """The problem that ``question`` asks; None: it is none of the tiny task."""
    found = _QUESTION.fullmatch(question)
    if found is None:
        return None
    steps = tuple(
        Step(sign=1 if sign == "+" else -1, operand=int(operand))
        for sign, operand in _STEP.findall(found[2])
    )
    chain = Chain(start=int(found[1]), steps=steps)
    return chain if chain.question == question else None


def solution(question: str, verbosity: float = 0.0) -> str | None:
    """A right one, thinking included, always the same for the same arguments; 0 is the tersest.
    None: it is none of the tiny task."""
    chain = chain_of(question)
    if chain is None:
        return None
    return Teacher().flawless.solve(chain, random.Random(question), verbosity)


def lesson(question: str, answer: str) -> tuple[str, str | None]:
    """What plain SFT is to ask and to hear: every other problem comes with ``HINT`` and a terse
    solution, the others as they are, solved in the model's own rambling way, but without a slip.
    The response is None for what is none of the tiny task."""
    rng = random.Random(f"{question} lesson")
    if rng.random() < 0.5:
        return question + HINT.format(answer=answer), solution(question)
    return question, solution(question, draw_verbosity(rng))
