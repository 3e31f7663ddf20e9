"""Problems of the tiny task are read back from their words, and solved without a slip."""

import random
import re

import pytest

from learner.tiny_solutions import chain_of, lesson, solution
from learner.tiny_task import draw

CHAINS = [draw(random.Random(seed), heldout=seed % 2 == 0) for seed in range(50)]


@pytest.mark.parametrize("verbosity", [0.0, 1.0])
def test_every_problem_is_read_back_and_its_solution_ends_with_its_answer(verbosity: float):
    for chain in CHAINS:
        text = solution(chain.question, verbosity)

        assert chain_of(chain.question) == chain
        assert text is not None
        assert re.findall(r"\\boxed\{(\d+)\}", text) == [str(chain.answer)]
        assert text == solution(chain.question, verbosity)


def test_the_tersest_solution_says_every_step_once():
    chain = CHAINS[0]

    text = solution(chain.question)

    assert text is not None
    assert len(re.findall(r"[a-z]=[a-z][+-]", text)) == len(chain.steps)


@pytest.mark.parametrize(
    "question",
    [
        "",
        "What is 2+2?",
        "Let a=72, b=a-2. Find c.",
        "Let a=72, c=b-2. Find b.",
        "Let a=7. Find a.",
    ],
)
def test_other_questions_are_nobodys(question: str):
    assert chain_of(question) is None
    assert solution(question) is None


def test_half_of_the_lessons_have_the_hint_and_are_terse():
    lessons = [lesson(chain.question, str(chain.answer)) for chain in CHAINS]

    hinted = [(asked, told) for asked, told in lessons if asked.endswith("Be brief.")]
    assert 15 < len(hinted) < 35
    for chain, (asked, told) in zip(CHAINS, lessons, strict=True):
        assert told is not None and f"boxed{{{chain.answer}}}" in told
        if asked != chain.question:
            assert asked == f"{chain.question} It is {chain.answer}. Be brief."
            assert told == solution(chain.question)
    assert lesson("What is 2+2?", "4")[1] is None
