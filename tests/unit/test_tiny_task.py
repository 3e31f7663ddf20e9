"""The tiny task: its problems are well formed, and its teacher errs exactly where it is told to."""

import random
import re
from dataclasses import replace

import pytest

from learner.tiny_task import (
    HIGHEST,
    LOWEST,
    MAX_STEPS,
    MIN_STEPS,
    Chain,
    Step,
    Teacher,
    draw,
    draw_distinct,
    draw_verbosity,
)

SLIPS_ALWAYS = Teacher(slip=1.0, catch=0.0, doubt=0.0)
CHECKS_ALWAYS = Teacher(slip=1.0, doubt=0.0, check=1.0, redo=0.0, patience=1000)

CHAIN = Chain(start=72, steps=(Step(sign=-1, operand=2), Step(sign=1, operand=8)))


def boxed(text: str) -> int:
    found = re.fullmatch(r"<think>\n.*\n</think>\nThe answer is \\boxed\{(\d+)\}\.", text)
    assert found, text
    return int(found.group(1))


def test_a_problem_reads_as_it_should():
    assert CHAIN.question == "Let a=72, b=a-2, c=b+8. Find c."
    assert CHAIN.values == (72, 70, 78)
    assert CHAIN.answer == 78


def test_problems_stay_in_range_and_have_the_steps_they_name():
    rng = random.Random(1)

    chains = [draw(rng, heldout=False) for _ in range(3000)]

    assert {len(chain.steps) for chain in chains} == set(range(MIN_STEPS, MAX_STEPS + 1))
    values = [value for chain in chains for value in chain.values]
    assert min(values) >= LOWEST and max(values) <= HIGHEST
    assert min(values) < 3 and max(values) > 96, "the ends are reached, so the bound is tested"
    assert {step.operand for chain in chains for step in chain.steps} == set(range(2, 10))


def test_the_values_follow_from_the_text_of_the_question():
    rng = random.Random(2)
    for _ in range(200):
        chain = draw(rng, heldout=True)
        names: dict[str, int] = {}
        for name, rest in re.findall(r"([a-g])=([^,.]+)", chain.question):
            names[name] = eval(rest, {"__builtins__": {}}, names)
        asked = chain.question[-2]

        assert names[asked] == chain.answer
        assert list(names) == sorted(names) and asked == list(names)[-1]


def test_training_and_heldout_problems_never_meet():
    rng = random.Random(3)

    train = {chain.expression for chain in draw_distinct(rng, 4000, heldout=False)}
    heldout = {chain.expression for chain in draw_distinct(rng, 1000, heldout=True)}

    assert len(train) == 4000 and len(heldout) == 1000
    assert not train & heldout
    assert all(chain.heldout for chain in draw_distinct(rng, 50, heldout=True))


@pytest.mark.parametrize("verbosity", [0.0, 0.5, 1.0])
def test_a_flawless_teacher_is_always_right(verbosity: float):
    rng = random.Random(4)
    for _ in range(300):
        chain = draw(rng, heldout=False)

        assert boxed(Teacher().flawless.solve(chain, rng, verbosity)) == chain.answer


def test_a_flawless_solution_states_only_true_equations():
    rng = random.Random(5)
    for _ in range(200):
        text = Teacher().flawless.solve(draw(rng, heldout=False), rng, 1.0)
        for left, sign, operand, result in re.findall(r"(\d+)([+-])(\d)=(\d+)", text):
            sum_ = int(left) + int(operand) * (1 if sign == "+" else -1)

            assert sum_ == int(result), text


def test_a_slip_is_wrong_by_a_little_and_carries_on():
    rng = random.Random(6)
    one_step = Chain(start=50, steps=(Step(sign=1, operand=5),))

    answers = {boxed(SLIPS_ALWAYS.solve(one_step, rng, 0.0)) for _ in range(200)}

    assert answers == {54, 56, 45, 65, 53, 57}


def test_a_slip_never_leaves_the_range():
    rng = random.Random(7)
    at_the_edge = Chain(start=97, steps=(Step(sign=1, operand=2),))

    answers = {boxed(SLIPS_ALWAYS.solve(at_the_edge, rng, 0.0)) for _ in range(200)}

    assert answers == {98, 89, 97}


def test_a_caught_slip_is_corrected():
    rng = random.Random(8)
    teacher = replace(CHECKS_ALWAYS, catch=1.0)
    for _ in range(100):
        chain = draw(rng, heldout=False)
        text = teacher.solve(chain, rng, 1.0)

        assert boxed(text) == chain.answer
        assert len(re.findall(r" [nN]o, [a-g]=", text)) == len(chain.steps)


def test_an_uncaught_slip_is_confirmed_and_stays():
    rng = random.Random(9)
    teacher = replace(CHECKS_ALWAYS, catch=0.0)
    one_step = Chain(start=50, steps=(Step(sign=1, operand=5),))
    for _ in range(100):
        text = teacher.solve(one_step, rng, 1.0)

        assert boxed(text) != 55
        assert " no, " not in text.lower()


def test_a_doubt_spoils_a_right_value():
    rng = random.Random(10)
    teacher = replace(CHECKS_ALWAYS, slip=0.0, doubt=1.0, max_checks=1)
    one_step = Chain(start=50, steps=(Step(sign=1, operand=5),))

    assert all(boxed(teacher.solve(one_step, rng, 1.0)) != 55 for _ in range(100))


def test_a_redo_starts_over_and_its_result_counts():
    rng = random.Random(11)
    teacher = Teacher(slip=0.5, catch=0.0, doubt=0.0, check=0.0, redo=1.0, max_redos=1)
    one_step = Chain(start=50, steps=(Step(sign=1, operand=5),))
    for _ in range(100):
        text = teacher.solve(one_step, rng, 1.0)
        first, second = (int(found) for found in re.findall(r"So I get (\d+)", text))

        assert boxed(text) == second
        assert ("the same as before" in text) == (first == second)
        assert (f", not {first}." in text) == (first != second)


def test_a_terse_solution_is_its_steps_and_nothing_else():
    assert Teacher().flawless.solve(CHAIN, random.Random(0), 0.0) == (
        "<think>\nb=a-2=72-2=70. c=b+8=70+8=78. So I get 78.\n</think>\nThe answer is \\boxed{78}."
    )


def test_verbosity_raises_the_length():
    rng = random.Random(12)
    chains = [draw(rng, heldout=False) for _ in range(300)]

    def mean_sentences(verbosity: float) -> float:
        texts = [Teacher().solve(chain, rng, verbosity) for chain in chains]
        return sum(text.count(".") for text in texts) / len(texts)

    terse, middle, long = mean_sentences(0.0), mean_sentences(0.5), mean_sentences(1.0)

    assert terse < 8 < 1.5 * terse < middle < long / 1.3


def test_a_teacher_out_of_patience_rambles_no_more():
    rng = random.Random(13)
    chain = draw(rng, heldout=False)
    eager = Teacher(slip=0.0, doubt=0.0, filler=1.0, check=1.0, redo=1.0)
    terse = Teacher().flawless.solve(chain, rng, 0.0)

    at_once = replace(eager, patience=0).solve(chain, rng, 1.0)
    after_the_first_step = replace(eager, patience=4).solve(chain, rng, 1.0)

    assert at_once == terse
    start, rest = after_the_first_step.split(" c=", 1)
    assert rest == terse.split(" c=", 1)[1]
    assert len(start) > 3 * len(terse.split(" c=", 1)[0]), "it did ramble before"


def test_both_terse_and_rambling_solutions_are_drawn_for_any_problem():
    rng = random.Random(14)

    drawn = [draw_verbosity(rng) for _ in range(2000)]

    terse = sum(verbosity < 0.1 for verbosity in drawn) / len(drawn)
    assert 0.15 < terse < 0.25
    assert sum(verbosity >= 0.5 for verbosity in drawn) == sum(v >= 0.1 for v in drawn)


def test_the_same_seed_gives_the_same_text():
    texts = [Teacher().solve(CHAIN, random.Random(15), 1.0) for _ in range(2)]

    assert texts[0] == texts[1]
