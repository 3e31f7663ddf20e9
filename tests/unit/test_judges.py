"""The judges themselves, called directly; ``integration/test_judge_pool.py`` runs them for real."""

import subprocess
import sys

import pytest

from tests.golden_verdicts import GOLDEN, box
from verifiers.contains import contains
from verifiers.math_answer import math_answer
from verifiers.math_limits import refusal
from verifiers.number import number, read_number
from verifiers.registry import ALIASES, VERIFIERS, UnknownVerifier, is_ours, path_of, resolve
from verifiers.types import Task, Verdict
from verifiers.verdict_cache import VerdictCache


@pytest.mark.parametrize(("verifier", "answer", "response", "status"), GOLDEN)
def test_the_golden_verdicts_hold(verifier, answer, response, status):
    verdict = resolve(path_of(verifier))(Task(answer=answer), response)

    assert verdict.status == status, verdict
    assert (verdict.extracted is None) or status != "no_answer"


@pytest.mark.parametrize("judge", [math_answer, number])
def test_the_answer_is_shown_as_the_model_wrote_it(judge):
    assert judge(Task(answer="7"), box("007")).extracted == "007"
    assert judge(Task(answer="7"), box("8")).extracted == "8"


@pytest.mark.parametrize(
    ("judge", "answer"),
    [(number, "NaN"), (number, "seventy"), (number, "1/0"), (contains, " "), (math_answer, "")],
)
def test_a_useless_reference_is_an_error_and_never_a_wrong_answer(judge, answer):
    with pytest.raises(ValueError, match="reference answer"):
        judge(Task(answer=answer), box("7"))


@pytest.mark.parametrize("hostile", ["1" * 10**6, "1," * 500_000, "\\boxed{" * 100_000])
def test_a_million_characters_are_read_in_one_pass(hostile):
    assert number(Task(answer="5"), hostile).status in ("wrong", "no_answer")
    assert math_answer(Task(answer="5"), hostile).status == "no_answer"


@pytest.mark.parametrize(
    "hostile",
    [
        r"\dfrac{5^{(5^{(5^{(5^5)})}-4)}-5}{16}",
        "10^{10^{10}}",
        "10**(10**10)",
        "2^{100000}",
        "9^{9^9}",
        "2^{2^{2^2}}",
        "(10^9)!",
        "10000!",
        "(99999+1)!",
        "(5!)!",
        "5!!",
        "(" * 41 + "1" + ")" * 41,
        "(" * 3000 + "1" + ")" * 3000,
        "x + " + "9" * 201,
        "x" * 1001,
        r"\frac{1}{2",
        "1}{",
    ],
)
def test_hostile_mathematics_never_reaches_the_parser(hostile, monkeypatch):
    monkeypatch.setattr("verifiers.math_values.parse", pytest.fail)
    response = f"#### {hostile}"

    verdict = math_answer(Task(answer="7"), response)

    assert verdict.status == "wrong"
    assert verdict.detail.startswith("refused: ")
    # letter by letter still counts
    assert math_answer(Task(answer=hostile), response).status == "correct"


def test_a_reference_that_cannot_be_compared_is_an_error():
    with pytest.raises(ValueError, match="cannot be compared: a power too high"):
        math_answer(Task(answer="10^{10^{10}}"), box("x"))


@pytest.mark.parametrize(
    "honest",
    [
        "2^{99999}",
        "2^{2^{10}}",
        "e^{-x^2}",
        "e^{x^{2^n}}",
        "9999!",
        r"\frac{10!}{(10-3)!}",
        "(n+1)!",
        "(" * 40 + "1" + ")" * 40,
        "9" * 200,
        r"\{1, 2\}",
        "[0, 1)",
    ],
)
def test_honest_mathematics_is_not_refused(honest):
    assert refusal(honest) is None


def test_plain_integers_never_reach_the_parser(monkeypatch):
    monkeypatch.setattr("verifiers.math_values.parse", pytest.fail)

    assert math_answer(Task(answer="7"), box("8")).status == "wrong"
    assert math_answer(Task(answer="7"), box("7.0")).status == "correct"


@pytest.mark.parametrize("text", ["", "x", "1 2", "1,23", "3+4", "1/0", "nan", "1e5", "1" * 401])
def test_what_is_not_one_number_has_no_value(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("math", VERIFIERS["math"]),
        ("openai/gsm8k", VERIFIERS["number"]),
        ("HuggingFaceH4/MATH-500", VERIFIERS["math"]),
        ("tests.strange_judges:hangs", "tests.strange_judges:hangs"),
    ],
)
def test_a_name_an_alias_or_a_path_finds_its_judge(name, path):
    assert path_of(name) == path


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("maths", "did you mean 'math'"),
        ("gsm8", "did you mean 'gsm8k'"),
        ("qqqq", "there are math, number, choice"),
        ("", "there are"),
        ("no.such.module:judge", "importable module"),
        ("tests.strange_judges:", "importable module"),
        ("../evil:judge", "importable module"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line_with_the_way_out(name, hint):
    with pytest.raises(UnknownVerifier, match=hint) as caught:
        path_of(name)
    assert "\n" not in str(caught.value)


def test_every_alias_leads_somewhere_and_code_is_not_ours():
    assert {ALIASES[name] for name in ALIASES} <= VERIFIERS.keys()
    assert all(is_ours(name) for name in [*ALIASES, *VERIFIERS, "GSM8K"])
    assert not is_ours("tests.strange_judges:hangs")


def test_the_pool_can_be_imported_without_sympy():
    code = "import sys, verifiers.pool; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_cache_keeps_texts_apart_and_forgets_what_was_used_longest_ago():
    cache = VerdictCache(capacity=2)
    first, second, third = (Verdict(status="wrong", extracted=text) for text in "123")
    cache.put("p", Task(answer="ab"), "c", first)

    assert cache.get("p", Task(answer="a"), "bc") is None
    cache.put("p", Task(answer="x"), "y", second)
    assert cache.get("p", Task(answer="ab"), "c") is first
    cache.put("p", Task(answer="x"), "z", third)

    assert cache.get("p", Task(answer="x"), "y") is None
    assert cache.get("p", Task(answer="ab"), "c") is first
    assert cache.get("p", Task(answer="x"), "z") is third
    assert cache.num_hits == 3
