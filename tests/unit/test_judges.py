"""The judges themselves, called directly; ``integration/test_judge_pool.py`` runs them for real."""

import json
import subprocess
import sys
import time
from fractions import Fraction

import jsonschema
import pytest

from tests.golden_verdicts import GOLDEN, box, disagreements
from verifiers.json_value import json_value
from verifiers.math_answer import math_answer
from verifiers.math_limits import refusal
from verifiers.math_text import words
from verifiers.number import agree_to_three_digits, number, read_number
from verifiers.registry import ALIASES, VERIFIERS, UnknownVerifier, is_ours, path_of, resolve
from verifiers.types import Rules, Task, Verdict
from verifiers.units import split_unit
from verifiers.verdict_cache import VerdictCache

TEXT_JUDGES = ("math", "number", "choice", "string", "contains", "regex", "json", "composite")


def judged(judge: str, answer: str, response: str, **rules) -> Verdict:
    return resolve(path_of(judge))(Task(answer=answer, rules=Rules(**rules)), response)


# One test a judge: a thousand of them would cost the fast tier more than the verdicts do. Those of
# mathematics need sympy's seconds and stand in integration/test_golden_mathematics.py.
@pytest.mark.parametrize("judge", [judge for judge in TEXT_JUDGES if judge != "math"])
def test_the_golden_verdicts_hold(judge):
    assert disagreements(judge) == []


def test_the_golden_set_is_large_and_says_no_often_enough():
    refused = [case for case in GOLDEN if case[3] != "correct"]

    assert len(set(GOLDEN)) == len(GOLDEN) >= 560
    assert sum(case[0] == "math" for case in GOLDEN) >= 300
    assert len(refused) >= 0.4 * len(GOLDEN)
    assert {case[0] for case in GOLDEN} == set(TEXT_JUDGES)


@pytest.mark.parametrize("judge", [math_answer, number])
def test_the_answer_is_shown_as_the_model_wrote_it(judge):
    assert judge(Task(answer="7"), box("007")).extracted == "007"
    assert judge(Task(answer="7"), box("8")).extracted == "8"


BAD_REFERENCES = [
    ("math", ""),
    ("math", " "),
    ("math", "$$"),
    ("number", "NaN"),
    ("number", "seventy"),
    ("number", "1/0"),
    ("number", ""),
    ("number", '["7", "x"]'),
    ("contains", " "),
    ("contains", '["a", " "]'),
    ("string", ""),
    ("string", "\n"),
    ("choice", ""),
    ("choice", "AB"),
    ("choice", "12"),
    ("choice", "Paris"),
    ("choice", "A, B"),
    ("regex", ""),
    ("regex", "["),
    ("regex", "(?P<n"),
    ("regex", "x*"),
    ("regex", "a{99999999999999}"),
    ("regex", "(" * 3000 + ")" * 3000),
    ("json", ""),
    ("json", "{"),
    ("json", "NaN"),
    ("json", '{"a": 1, "a": 2}'),
    ("json", "[" * 60 + "]" * 60),
    ("json", '{"schema": {"type": "number"}, "value": "x"}'),
    ("json", '{"schema": {"type": "nothing"}}'),
    ("json", '{"schema": 5}'),
    ("json", '{"schema": {"pattern": "("}}'),
    ("json", '{"schema": {"$ref": "#"}}'),
    ("json", '{"schema": {"$ref": "#/$defs/none"}}'),
    ("json", '{"schema": {"anyOf": [true, {"$ref": "#none"}]}}'),
    ("json", '{"schema": {"$ref": "http://127.0.0.1:9/schema.json"}}'),
    ("json", '{"schema": {"$schema": "https://example.org/mine"}}'),
    ("composite", ""),
    ("composite", "[]"),
    ("composite", "{}"),
    ("composite", '{"all": []}'),
    ("composite", '{"all": ["math"], "any": ["math"], "answer": "5"}'),
    ("composite", '{"all": ["math"]}'),
    ("composite", '{"all": ["math"], "answer": "5", "extra": 1}'),
    ("composite", '{"all": [{"verifier": "math", "answers": "5"}], "answer": "5"}'),
    ("composite", '{"all": ["math", "math"], "answer": "5"}'),
    ("composite", '{"all": [5], "answer": "5"}'),
    ("composite", '{"all": [{"verifier": "math", "name": ""}], "answer": "5"}'),
    ("composite", '{"all": ["no_such_judge"], "answer": "5"}'),
    ("composite", '{"all": ["tests.strange_judges:hangs"], "answer": "5"}'),
    ("composite", '{"any": ["math", "number"], "answer": "x+1"}'),
    ("composite", "[" * 100_000),
]


@pytest.mark.parametrize(("judge", "answer"), BAD_REFERENCES)
@pytest.mark.parametrize("response", ["", box("7"), box("x+1")])
def test_a_useless_reference_is_an_error_whatever_the_response(judge, answer, response):
    with pytest.raises(ValueError, match="reference answer"):
        judged(judge, answer, response)


def test_a_reference_that_cannot_be_parsed_is_an_error(monkeypatch):
    monkeypatch.setattr("verifiers.math_values.parse", lambda *_args, **_kwargs: [])

    with pytest.raises(ValueError, match=r"reference answer 'unread.*' cannot be parsed"):
        judged("math", "unread + 1", "")


def test_every_gate_of_json_is_shut_behind_one_that_is_not_passed():
    answer = '{"schema": {"type": "object"}, "value": {"a": 1, "b": [2, 3]}}'

    def scores(response: str, **rules) -> list[float]:
        verdict = judged("json", answer, response, **rules)
        assert list(verdict.scores) == ["found", "parsed", "schema", "value"]
        return list(verdict.scores.values())

    assert scores("nothing") == [0, 0, 0, 0]
    assert scores('{"a": 1') == [1, 0, 0, 0]
    assert scores("[]") == [1, 1, 0, 0]
    assert scores("{}") == [1, 1, 1, 0]
    assert scores('{"b": [2, 3]}') == [1, 1, 1, pytest.approx(2 / 3)]
    assert scores('{"a": 1, "b": [2, 3, 4]}') == [1, 1, 1, 3 / 4]
    assert scores('{"a": 1, "b": [2, 3], "c": 4}') == [1, 1, 1, 1]
    assert scores('{"a": 1, "b": [2, 3], "c": 4}', strictness="strict") == [1, 1, 1, 3 / 4]


def test_a_schema_is_read_in_the_dialect_that_it_names():
    old = "http://json-schema.org/draft-04/schema#"
    schema = {"type": "number", "maximum": 5, "exclusiveMaximum": True}

    assert judged("json", json.dumps({"schema": schema | {"$schema": old}}), "5").status == "wrong"
    with pytest.raises(ValueError, match="reference answer's schema is invalid"):
        judged("json", json.dumps({"schema": schema}), "5")


def test_a_recursive_schema_is_followed_but_not_for_ever():
    schema = {"type": "array", "items": {"$ref": "#"}}
    answer = json.dumps({"schema": schema})

    assert judged("json", answer, "[" * 50 + "]" * 50).status == "correct"
    assert judged("json", answer, "[[], [1]]").reason == "schema"


def test_a_reference_of_json_is_prepared_once(monkeypatch):
    answer = '{"schema": {"type": "string", "minLength": 3}}'
    assert json_value(Task(answer=answer), '"abc"').status == "correct"
    monkeypatch.setattr(jsonschema.Draft202012Validator, "check_schema", pytest.fail)

    assert json_value(Task(answer=answer), '"ab"').status == "wrong"


def test_the_parts_of_a_composite_are_told_apart_by_name():
    parts = [{"verifier": "math", "name": "sum"}, {"verifier": "math", "answer": "6"}, "number"]
    answer = json.dumps({"any": parts, "answer": "5"})

    verdict = judged("composite", answer, box("6"))

    assert verdict.status == "correct"
    assert verdict.scores == {"sum": 0.0, "math": 1.0, "number": 0.0}
    assert verdict.extracted == "6"


def nested(depth: int) -> str:
    answer: object = "5"
    for _ in range(depth):
        answer = {"all": ["composite" if isinstance(answer, dict) else "math"], "answer": answer}
    return json.dumps(answer)


def test_composites_nest_three_deep_and_no_deeper():
    assert judged("composite", nested(3), box("5")).status == "correct"
    assert judged("composite", nested(3), box("6")).status == "wrong"
    with pytest.raises(ValueError, match="reference answer nests"):
        judged("composite", nested(4), box("5"))


@pytest.mark.parametrize("status", ["error", "timeout"])
@pytest.mark.parametrize("kind", ["all", "any"])
def test_a_part_that_fails_makes_no_wrong_answer(monkeypatch, status, kind):
    def failing(task: Task, response: str) -> Verdict:
        return Verdict(status=status, detail="no sandbox")

    monkeypatch.setattr("verifiers.contains.contains", failing)

    with pytest.raises(RuntimeError, match=r"contains: .*no sandbox"):
        judged("composite", json.dumps({kind: ["math", "contains"], "answer": "5"}), box("6"))


def test_a_composite_passes_the_rules_of_the_run_on():
    answer = '{"all": ["math"], "answer": "1/3"}'

    assert judged("composite", answer, box("0.333")).status == "wrong"
    assert judged("composite", answer, box("0.333"), strictness="lenient").status == "correct"


@pytest.mark.parametrize("judge", TEXT_JUDGES)
@pytest.mark.parametrize(
    "hostile",
    [
        "1" * 10**6,
        "1," * 500_000,
        "\\boxed{" * 100_000,
        "}" * 10**6,
        "{" * 10**6,
        '{"' * 500_000,
        '"\\"' * 300_000,
        "```json\n" * 100_000,
        "####\n" * 200_000,
        "answer is " * 100_000,
        "answer: C, " * 90_000,
        "\n" * 10**6,
        "<think>" * 140_000,
        "\ud800" * 10**6,
        "%" * 10**6,
        "B " * 500_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_a_million_characters_are_read_in_one_pass(judge, hostile):
    answers = {"choice": "B", "json": "[5]", "composite": '{"all": ["math"], "answer": "5"}'}
    start = time.process_time()  # not the clock on the wall: the machine may do something else

    verdict = judged(judge, answers.get(judge, "5"), hostile)

    assert verdict.status in ("wrong", "no_answer")
    assert time.process_time() - start < 10, "in a second pass for each character it takes hours"


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


def test_a_reference_is_parsed_once_for_all_its_answers(monkeypatch):
    def count(text, *args, **kwargs):
        texts.append(text)
        return real(text, *args, **kwargs)

    texts: list[str] = []
    real = sys.modules["verifiers.math_values"].parse
    monkeypatch.setattr("verifiers.math_values.parse", count)

    for value in ("z^2", "z^3", "z^4"):
        assert math_answer(Task(answer="z+11"), box(value)).status == "wrong"

    assert texts.count(r"\boxed{z+11}") == 1


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        (r"12\text{ cm}", "12", "cm"),
        (r"12 \mathrm{~cm}", "12", "cm"),
        (r"\frac{1}{2}\text{ square feet}", r"\frac{1}{2}", "ft^2"),
        (r"3\text{ m}^3", "3", "m^3"),
        ("25 miles per hour", "25", "mi per h"),
        ("5 apples", "5", "apples"),
        (r"\$12", "12", "$"),
        ("$12", "12", "$"),
        (r"-\$12", "-12", "$"),
        (r"90^\circ", "90", "°"),
        ("90°", "90", "°"),
        ("$12$", "$12$", ""),
        (r"\text{east}", r"\text{east}", ""),
        ("x + xy", "x + xy", ""),
        ("a + 3d", "a + 3d", ""),
        ("2 or 3", "2 or 3", ""),
        (r"5\text{ million}", r"5\text{ million}", ""),
        (r"5\text{ percent}", r"5\text{ percent}", ""),
        (r"\sin x", r"\sin x", ""),
        (r"2\pi", r"2\pi", ""),
    ],
)
def test_a_unit_is_told_from_a_variable(text, value, unit):
    assert split_unit(text) == (value, unit)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r"\text{(A)}", "a"),
        (r"\text{No Solution}.", "no solution"),
        ("no solution", "no solution"),
        ("xy", None),
        ("x - y - z", None),
        (r"\text{5 cm}", None),
        (r"\pi", None),
        ("", None),
    ],
)
def test_words_are_told_from_mathematics(text, plain):
    assert words(text) == plain


@pytest.mark.parametrize(
    ("wanted", "given", "agree"),
    [
        ("1/3", "0.333", True),
        ("1/3", "0.3328", False),
        ("1/3", "0.3338", True),
        ("0.00123456", "0.00123", True),
        ("0.00123456", "0.00124", False),
        ("-1/3", "-0.333", True),
        ("-1/3", "0.333", False),
        ("1000", "1001", False),
        ("1000.5", "1001", True),
        ("0", "0", True),
        ("0", "0.001", False),
    ],
)
def test_three_digits_agree(wanted, given, agree):
    assert agree_to_three_digits(Fraction(wanted), Fraction(given)) is agree


@pytest.mark.parametrize("text", ["", "x", "1 2", "1,23", "3+4", "1/0", "nan", "1e5", "1" * 401])
def test_what_is_not_one_number_has_no_value(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("math", VERIFIERS["math"]),
        ("openai/gsm8k", VERIFIERS["number"]),
        ("HuggingFaceH4/MATH-500", VERIFIERS["math"]),
        ("TIGER-Lab/MMLU-Pro", VERIFIERS["choice"]),
        ("gpqa_diamond", VERIFIERS["choice"]),
        ("ARC-Challenge", VERIFIERS["choice"]),
        ("openai_humaneval", VERIFIERS["python"]),
        ("livecodebench", VERIFIERS["python"]),
        ("spider", VERIFIERS["sql"]),
        ("IFEval", VERIFIERS["composite"]),
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
