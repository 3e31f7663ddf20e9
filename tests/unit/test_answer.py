import pytest

from verifiers.answer import (
    all_boxed,
    committed_answer,
    judged_part,
    last_boxed,
    last_line,
    marked,
    numbers,
    phrased,
    reference_answer,
    references,
    stated_answer,
)
from verifiers.types import Rules, Task


@pytest.mark.parametrize(
    ("response", "part"),
    [
        ("no thinking at all", "no thinking at all"),
        ("<think>a</think>b", "b"),
        ("a</think>b</think>c", "c"),
        ("the prompt opened it</think> done", " done"),
        ("<think>still thinking", ""),
        ("all of it is thought</think>", ""),
    ],
)
def test_only_what_follows_the_last_think_tag_is_the_answer(response, part):
    assert judged_part(response) == part


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{3}", "3"),
        (r"\boxed{1} then \boxed{2} then words", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{1} and \fbox{2}", "2"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"\boxed{a\\}", r"a\\"),
        (r"\boxed{1} \boxed{never closed", None),
        (r"\boxed{never closed\}", None),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed", None),
        (r"\boxed 5", None),
        ("no box", None),
    ],
)
def test_the_last_box_counts_and_only_whole(text, found):
    assert last_boxed(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("sum\n#### 72", "72"),
        ("#### 1\n#### 2\n\n", "2"),
        ("#### 72\nQuestion: what else?", "72"),
        ("#### Step 3\nnow add", None),
        (r"#### \frac12", r"\frac12"),
        ("costs #### 3", None),
        ("#### ", None),
    ],
)
def test_a_marked_line_is_an_answer_and_a_heading_is_not(text, found):
    assert marked(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is 5.", "5"),
        ("The answer is 5.5. Good.", "5.5"),
        ("Answer: 12", "12"),
        ("**Final Answer:** **12**", "12"),
        ("the answer is $3$ or rather: the answer is $4$, done", "4"),
        ("The answer is 3. No, the answer is 4. Yes.", "4"),
        ("The answer is 3\nSo the answer is 4", "4"),
        ("the answer is: blue", "blue"),
        ("the answer is ", None),
        ("answers are 5", None),
        ("the answer", None),
    ],
)
def test_the_last_phrase_that_names_the_answer_counts(text, found):
    assert phrased(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("48 and 24", ["48", "24"]),
        ("1,234,567 or 12,34", ["1,234,567", "12", "34"]),
        ("1,2345", ["1", "2345"]),
        ("$-3.50 and -$4", ["$-3.50", "-$4"]),
        ("3-5", ["3", "5"]),
        ("a half is .5 or 1/2.", [".5", "1/2"]),
        ("x2, H2O, 1e5, 10^5 and v1.2.3", []),
        ("72km", ["72"]),
    ],
)
def test_numbers_are_read_as_they_are_written(text, found):
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("answer", "bare"),
    [("72", "72"), ("48 / 2 = 24\n#### 24", "24"), (r"so \boxed{\pi}.", r"\pi"), (" x ", "x")],
)
def test_a_reference_may_come_with_its_solution(answer, bare):
    assert reference_answer(answer) == bare


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\boxed{1} and \fbox{ 2 }", ["1", "2"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{\boxed{1}}", [r"\boxed{1}"]),
        (r"\boxed{open \boxed{1} \boxed{2}", ["1", "2"]),
        (r"\boxed{1} \boxed{open", ["1"]),
        (r"} \boxed{1\}2}", [r"1\}2"]),
        (r"\\boxed{1}", ["1"]),
        (r"\boxed{}", [""]),
        ("none", []),
    ],
)
def test_every_box_that_closes_is_found_and_one_that_does_not_hides_none(text, found):
    assert all_boxed(text) == found


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\nb", "b"), ("a\n b \n\n \t", "b"), ("a", "a"), ("", ""), (" \n ", "")],
)
def test_the_last_line_is_the_last_that_is_not_blank(text, line):
    assert last_line(text) == line


@pytest.mark.parametrize(
    ("response", "committed", "stated"),
    [
        ("#### 1\nThe answer is 2: \\boxed{3}", "3", "3"),
        ("The answer is 2.\n#### 1", "1", "1"),
        ("The answer is 2.", None, "2"),
        ("2", None, None),
        (r"<think>\boxed{1}</think>The answer is 2.", None, "2"),
    ],
)
def test_a_box_goes_before_a_mark_and_a_mark_before_a_phrase(response, committed, stated):
    task = Task(answer="")

    assert committed_answer(task, judged_part(response)) == committed
    assert stated_answer(task, response) == stated


def test_with_the_last_box_as_the_judged_part_nothing_else_is_an_answer():
    task = Task(answer="", rules=Rules(part="last_box"))

    assert stated_answer(task, r"\boxed{1} #### 2") == "1"
    assert stated_answer(task, "The answer is 2.\n#### 2") is None


@pytest.mark.parametrize(
    ("answer", "listed"),
    [
        ("5", ["5"]),
        ('["a", "b"]', ["a", "b"]),
        (' ["a"]', ["a"]),
        ("[1, 2]", ["[1, 2]"]),
        ('["a", 1]', ['["a", 1]']),
        ('["a"', ['["a"']),
        ("[]", ["[]"]),
        ('["' + "[" * 100_000, ['["' + "[" * 100_000]),
    ],
)
def test_a_json_list_of_texts_is_several_references(answer, listed):
    assert references(answer) == listed
