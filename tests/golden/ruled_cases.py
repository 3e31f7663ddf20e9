"""``(verifier, reference, response, rules, status, reason)``: what the rules of a run change."""

from tests.golden import box

_MATH_BY_LEVEL = [
    # reference, box; whether it is right when strict, normal, lenient
    (r"\frac13", "0.333333", "-++"),
    (r"\frac13", "0.333", "--+"),
    (r"\frac13", "0.33", "---"),
    (r"-\frac13", "-0.333", "--+"),
    (r"-\frac13", "0.333", "---"),
    (r"\frac12", "0.5", "+++"),
    (r"\frac12", r"\frac{2}{4}", "+++"),
    (r"\pi", "3.141593", "-++"),
    (r"\pi", "3.14", "--+"),
    (r"\pi", "3.1", "---"),
    (r"\pi", "3.15", "---"),
    (r"\sqrt2", "1.41", "--+"),
    (r"\sqrt2", "1.4142135623730951", "-++"),
    (r"\sqrt8", r"2\sqrt2", "+++"),
    (r"2.5\pi", r"\frac{5\pi}{2}", "+++"),
    (r"2.5\pi", "7.854", "--+"),
    ("1.5x", r"\frac{3x}{2}", "+++"),
    ("1.1^2", "1.21", "+++"),
    ("0.1", "0.1000001", "-++"),
    (r"\frac{22}{7}", "3.14", "--+"),
    ("1234", "1230", "---"),  # what was counted is not rounded
    ("1234.5", "1235", "--+"),
    ("7", "7.001", "---"),
    ("7", "7.0", "+++"),
    ("10^{-20}", r"1.0000001 \times 10^{-20}", "-++"),
    ("10^{-20}", r"1.01 \times 10^{-20}", "---"),
    (r"12\text{ cm}", "12", "-++"),
    ("12", r"12\text{ cm}", "-++"),
    (r"12\text{ cm}", r"12\,\text{centimeters}", "+++"),
    (r"12\text{ cm}", r"12\text{ m}", "--+"),
    (r"12\text{ cm}^2", r"12\text{ square centimeters}", "+++"),
    (r"12\text{ cm}^2", r"12\text{ cm}^3", "--+"),
    (r"\$12", "12", "-++"),
    (r"\$12", r"12\text{ dollars}", "+++"),
    (r"90^\circ", "90", "-++"),
    (r"90^\circ", r"90\text{ degrees}", "+++"),
    (r"50\%", "50", "-++"),
    (r"50\%", "0.5", "-++"),
    (r"50\%", r"50 \%", "+++"),
    (r"12.5\%", "12.5", "--+"),
    (r"12.5\%", r"\frac18", "-++"),
    ("0.125", r"12.5\%", "-++"),
    (r"12.5\%", "1.25", "---"),
    ("(1,2)", r"\{1,2\}", "-++"),
    (r"\{1,2\}", r"\{2,1\}", "+++"),
    ("1,2", "2,1", "+++"),
    ("(3,4)", "(4,3)", "---"),
    ("[0,1)", "(0,1)", "--+"),
    ("[0,1)", "0,1", "--+"),
    ("[0,1]", "[0,2]", "---"),
    ("[0.5,1]", r"[\frac12,1]", "+++"),
    (r"(0,1)\cup(2,3)", r"[0,1]\cup[2,3]", "--+"),
    ("x>3", r"(3,\infty)", "+++"),
    ("x=5", "5", "+++"),
    ("101_2", "101", "-++"),
    ("101_2", "101_{2}", "+++"),
    (r"\text{Evelyn}", "Evelyn", "+++"),
]

_NUMBER_BY_LEVEL = [
    ("72", "72.0", "+++"),
    ("72", "72.1", "---"),
    ("3.14159", "3.14", "--+"),
    ("3.14159", "3.1", "---"),
    ("1234", "1230", "---"),
    ("50%", "50%", "+++"),
    ("50%", "50", "-++"),
    ("50%", "0.5", "+-+"),
    ("0.5", "50%", "+-+"),
    ("50", "50%", "-++"),
    ("1/3", "0.333", "--+"),
]

_LEVELS = ("strict", "normal", "lenient")


def _by_level(judge: str, pairs: list[tuple[str, str, str]]) -> list[tuple]:
    return [
        (judge, gold, box(given), {"strictness": level}, {"+": "correct", "-": "wrong"}[mark], None)
        for gold, given, marks in pairs
        for level, mark in zip(_LEVELS, marks, strict=True)
    ]


STRICT = {"strictness": "strict"}
WHOLE = {"part": "whole"}
LAST_BOX = {"part": "last_box"}
THOUGHT = r"<think>\boxed{4}</think> the answer is 5"

_OTHERS = [
    # which part counts
    ("math", "4", THOUGHT, WHOLE, "correct", ""),
    ("math", "4", THOUGHT, {}, "wrong", ""),
    ("math", "5", THOUGHT, LAST_BOX, "no_answer", ""),
    ("math", "4", r"<think>\boxed{4}", WHOLE, "correct", ""),
    ("math", "5", r"so \boxed{5} or 6", LAST_BOX, "correct", ""),
    ("number", "6", r"so \boxed{5} or 6", LAST_BOX, "wrong", ""),
    ("number", "5", "so 5", LAST_BOX, "no_answer", ""),
    ("number", "4", "<think>4", WHOLE, "correct", ""),
    ("contains", "Rome", r"Rome or \boxed{Paris}", LAST_BOX, "wrong", ""),
    ("contains", "Paris", r"Rome or \boxed{in Paris}", LAST_BOX, "correct", ""),
    ("contains", "Rome", "<think>Rome</think>Paris", WHOLE, "correct", ""),
    ("string", "Rome", "Rome", LAST_BOX, "no_answer", ""),
    ("string", "Rome", box("rome"), LAST_BOX, "correct", ""),
    ("choice", "B", "The answer is B", LAST_BOX, "no_answer", ""),
    ("choice", "B", box("B"), LAST_BOX, "correct", ""),
    ("choice", "B", "<think>the answer is B</think>", WHOLE, "correct", ""),
    ("regex", "^5$", box("5"), LAST_BOX, "correct", ""),
    ("json", "[1]", r"[2] \boxed{[1]}", LAST_BOX, "correct", ""),
    # why it is wrong
    ("math", r"12\text{ cm}", box(r"12\text{ m}"), {}, "wrong", "unit"),
    ("choice", "B", box("42"), {}, "wrong", "not_a_choice"),
    ("choice", "B", box("A, B"), {}, "wrong", "several"),
    ("json", "[1]", "nothing", {}, "no_answer", "found"),
    ("json", "[1]", "[1, 2", {}, "wrong", "not_json"),
    ("json", "[1]", "[1]]", {}, "wrong", "not_json"),
    ("json", '{"a": 1}', '{"a": 1, "a": 1}', {}, "wrong", "duplicate_keys"),
    ("json", "[1]", "[-Infinity]", {}, "wrong", "not_finite"),
    ("json", "[1]", "[1e999]", {}, "wrong", "not_finite"),
    ("json", "[1]", "[" + "1" * 4301 + "]", {}, "wrong", "long_number"),
    ("json", "[1]", "[" * 51 + "]" * 51, {}, "wrong", "too_deep"),
    ("json", "[1]", "[" * 50 + "]" * 50, {}, "wrong", "value"),
    ("json", '{"schema": {"type": "array"}}', "{}", {}, "wrong", "schema"),
    ("json", "[1]", "[2]", {}, "wrong", "value"),
    ("composite", '{"all": ["math", "string"], "answer": "5"}', box("x=5"), {}, "wrong", "string"),
    ("composite", '{"any": ["math", "string"], "answer": "5"}', box("6"), {}, "wrong", "math"),
    # strict
    ("json", '{"a": 1}', '{"a": 1, "b": 2}', STRICT, "wrong", "value"),
    ("json", '{"a": {}}', '{"a": {"b": 1}}', STRICT, "wrong", "value"),
    ("json", '{"a": {}}', '{"a": {"b": 1}}', {}, "correct", ""),
    ("json", '{"a": 1}', '{"a": 1.0}', STRICT, "correct", ""),
    ("string", "Paris", box("paris"), STRICT, "wrong", ""),
    ("string", "Paris", box("Paris"), STRICT, "correct", ""),
    ("string", "Paris", box(r"\text{Paris}"), STRICT, "wrong", ""),
    ("string", " Paris ", "Paris\n", STRICT, "correct", ""),
    ("regex", r"\d+", "42 apples", STRICT, "wrong", ""),
    ("regex", r"\d+", "42", STRICT, "correct", ""),
    ("regex", r"\d+", "The answer is 42.", STRICT, "correct", ""),
    ("regex", r"[A-Z].*\.", "The answer is 42.", STRICT, "correct", ""),
    ("composite", '{"all": ["math"], "answer": "1/3"}', box("0.333333"), STRICT, "wrong", "math"),
]

RULED = [*_by_level("math", _MATH_BY_LEVEL), *_by_level("number", _NUMBER_BY_LEVEL), *_OTHERS]
