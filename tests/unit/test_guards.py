import time

import pytest

from tests.golden import box
from verifiers.judging import judged
from verifiers.registry import path_of
from verifiers.types import Rules, Task, Verdict


def verdict(judge: str, answer: str, response: str, *guards: str, prompt: str = "") -> Verdict:
    rules = Rules(guards=guards)  # type: ignore[arg-type]
    return judged(path_of(judge), Task(answer=answer, prompt=prompt, rules=rules), response)


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Is it 12 or 13?", "12"),
        ("Is it PARIS\nor Rome?", "Paris"),
        ("From 3, 4 and 5 choose one.", "4"),
        ("x is 7.", "7"),
        (r"Which is right, $\frac{1}{2}$ or 1?", r"\frac{1}{2}"),
    ],
)
def test_an_answer_that_stands_in_the_prompt_is_copied(prompt, answer):
    got = verdict("math", answer, box(answer), "copied", prompt=prompt)

    assert (got.status, got.reason) == ("wrong", "copied")
    assert got.extracted == answer


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("What is 112 + 1?", "12"),
        ("It costs 5.5 dollars.", "5"),
        ("It costs 5.5 dollars.", "5.5.5"),
        ("There are 1,234 of them.", "234"),
        ("There are 12,345 of them.", "12"),
        ("Half of it is 1/2.", "1"),
        ("What is 2^10?", "10"),
        ("Is it a parisian?", "Paris"),
        ("", "5"),
    ],
)
def test_an_answer_inside_a_longer_one_of_the_prompt_is_not(prompt, answer):
    assert verdict("string", answer, box(answer), "copied", prompt=prompt).status == "correct"


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{1} or \boxed{2}",
        r"\boxed{2} \fbox{3} \boxed{2}",
        r"\boxed{ \boxed{7} \boxed{2}",  # one that never closes hides nothing
        r"<think>\boxed{2}</think>\boxed{4} \boxed{2}",
    ],
)
def test_several_boxes_are_refused(response):
    got = verdict("math", "2", response, "many_boxes")

    assert (got.status, got.reason) == ("wrong", "many_boxes")


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{2}",
        r"\boxed{2} I say \boxed{2}, or \boxed{ 2 }.",
        r"\boxed{\dfrac{4}{2}} so \boxed{\frac{4}{2}}",
        r"\boxed{\boxed{2}}",
        r"<think>\boxed{3} or \boxed{4}</think>\boxed{2}",
        r"#### 2",
    ],
)
def test_the_same_box_again_is_one_box(response):
    assert verdict("math", "2", response, "many_boxes").status == "correct"


@pytest.mark.parametrize(
    ("judge", "answer", "response"),
    [
        ("contains", "Rome", "Paris, London, Berlin, Rome, Madrid"),
        ("contains", "Rome", "- Paris\n- London\n- Berlin\n- Rome\n- Madrid"),
        ("contains", "Rome", "1. Paris\n2. London\n3. Berlin\n4. Rome\n5. Madrid"),
        ("contains", "Rome", "Paris or London or Berlin or Madrid or Rome?"),
        ("contains", "Rome", "PARIS / LONDON / BERLIN / ROME / MADRID"),
        ("contains", "Rome", "It is Oslo.\nParis; London; Berlin; Rome; Madrid; Oslo"),
        ("contains", "Rome", box("Paris, London, Berlin, Rome, Madrid")),
        ("contains", "Rome", "The answer is Paris, London, Berlin, Madrid or Rome."),
        ("contains", "7", "3, 4, 5, 6, 7"),
        ("contains", "7", "3,4,5,6,7,8,9"),
        ("number", "7", "3, 4, 5, 6, 7"),
        ("number", "1500", "1,100, 1,200, 1,300, 1,400, 1,500"),
        ("number", "7", "3\n4\n\n5\n6\n7"),
        ("string", "Rome", "Paris\nLondon\nBerlin\nMadrid\nRome"),
        ("math", "5", " ".join(box(str(value)) for value in range(1, 6))),
    ],
)
def test_a_list_of_guesses_is_refused(judge, answer, response):
    assert verdict(judge, answer, response).status == "correct"

    got = verdict(judge, answer, response, "answer_list")

    assert (got.status, got.reason) == ("wrong", "answer_list")


@pytest.mark.parametrize(
    ("judge", "answer", "response"),
    [
        ("math", "2, 3, 5, 7, 11", box("2, 3, 5, 7, 11")),
        ("math", r"\{1,2,3,4,5,6\}", "The answer is $1, 2, 3, 4, 5, 6$."),
        ("math", "5", "We try 1, 2, 3, 4, 5, 6 and only one fits. " + box("5")),
        ("math", "6", r"\boxed{1} \boxed{2} \boxed{3} \boxed{6}"),  # four are not yet a list
        ("number", "25", "The numbers are 3, 4, 5, 6, 7, so their sum is 25."),
        ("number", "12", "x=3\ny=4\nz=5\nx+y=7\nx+y+z=12\n12"),
        ("number", "14", "3 + 4 = 7\n7 * 2 = 14\n14 - 0 = 14\n14"),
        ("number", "7", "Of 1, 2, 3, 4, 5, 6 and 7 it is the last.\n#### 7"),
        ("number", "24", "She has 3 apples, 4 pears, 5 plums, 6 figs, 6 nuts, and thus 24"),
        ("number", "40", "Monday 5, Tuesday 10, Wednesday 15, and the rest: 40."),
        ("contains", "Rome", "Paris, London, Berlin, Oslo, Madrid are wrong. The answer is Rome."),
        ("contains", "Rome", "Well, as you know, it is, of course, Rome, the old city."),
        ("contains", "Rome", "Paris, London, Berlin, Rome"),
        ("contains", "Rome", "u=1\nv=2\nw=3\nx=4\ny=5\nRome"),
        ("contains", "Rome", "Rome, Rome, Rome, Rome, Rome, Rome"),
        ("choice", "B", "A) red\nB) blue\nC) green\nD) black\nE) white\n\nB"),
        ("choice", "B", "(A) 3, (B) 4, (C) 5, (D) 6, (E) 7. The answer is (B)."),
    ],
)
def test_an_honest_answer_is_no_list_of_guesses(judge, answer, response):
    got = verdict(judge, answer, response, "answer_list")

    assert got.status == "correct", got


def test_the_first_guard_of_the_run_gives_the_reason():
    response = " ".join(box(str(value)) for value in range(1, 6))

    assert verdict("math", "5", response, "answer_list", "many_boxes").reason == "answer_list"
    assert verdict("math", "5", response, "many_boxes", "answer_list").reason == "many_boxes"


def test_guards_only_look_at_what_is_correct():
    got = verdict("math", "9", r"\boxed{1}\boxed{2}", "many_boxes")

    assert (got.status, got.reason) == ("wrong", "")


@pytest.mark.parametrize(
    "hostile",
    [r"\boxed{" * 100_000, "}" * 500_000 + "{" * 500_000, "7, " * 300_000, "- " * 400_000],
)
def test_a_million_characters_are_guarded_in_one_pass(hostile):
    start = time.process_time()  # not the clock on the wall: the machine may do something else

    verdict("contains", "7", hostile + " 7", "copied", "many_boxes", "answer_list", prompt=hostile)

    assert time.process_time() - start < 20
