"""What needs no sandbox of the two judges that run code: references, fences, comparisons."""

import json
from typing import Any

import pytest

from verifiers import python_code, sql_query
from verifiers.code_block import last_block
from verifiers.python_reference import Assertions, Calls, Cases, read_reference
from verifiers.same_output import same_text, same_value
from verifiers.types import Rules, Task

PYTHON = ("python", "py", "python3")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx\n```", "x\n"),
        ("```py\nx\n```\ntext\n```Python3\ny\n```\n", "y\n"),
        ("```\nx\n```", "x\n"),
        ("```python\nx\n```\nIt prints\n```\n7\n```", "x\n"),
        ("```text\nx\n```", None),
        ("```\nx\n```\n```json\ny\n```", "x\n"),
        ("~~~python\nx\n~~~", "x\n"),
        ("````python\ns = '''\n```\n'''\n````", "s = '''\n```\n'''\n"),
        ("1. so\n   ```python\n   if x:\n       y\n   ```", "if x:\n    y\n"),
        ("```python\nx = 1", "x = 1\n"),
        ("print(1)", None),
        ("inline ```x``` only", None),
        ("```python title=a.py\nx\n```", "x\n"),
        ("```python\n```", ""),
    ],
)
def test_the_last_block_of_the_language_is_the_program(text: str, code: str | None):
    assert last_block(text, PYTHON) == code


def test_a_flood_of_fences_costs_little():
    assert last_block("```python\n" * 200_000, PYTHON) is not None
    assert last_block("```" * 300_000 + "\n" + "`" * 900_000, PYTHON) == ""


CASES = Cases(inputs=("2 3", "1"), outputs=("5", "1"))


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ({"cases": [{"input": "2 3", "output": "5"}, {"input": "1", "output": "1"}]}, CASES),
        ({"inputs": ["2 3", "1"], "outputs": ["5", "1"]}, CASES),
        ({"inputs": [["a", "b"]], "outputs": [["c"]]}, Cases(inputs=("a\nb",), outputs=("c",))),
        (
            {"function": "f", "calls": [{"args": [1], "kwargs": {"k": 2}, "result": [3]}]},
            Calls(function="f", arguments=(([1], {"k": 2}),), results=(([3],),)),
        ),
        (
            {"fn_name": "f", "inputs": [[1, 2]], "outputs": [[3]]},
            Calls(function="f", arguments=(([1, 2], {}),), results=(([3], 3),)),
        ),
        (
            {"fn_name": "Solution.f", "inputs": ['"a"\n[1]'], "outputs": ["[2]"]},
            Calls(function="f", arguments=((["a", [1]], {}),), results=(([2],),)),
        ),
        ("assert f(1) == 2", Assertions(setup="", tests=("assert f(1) == 2",))),
        (["assert f()", "assert g()"], Assertions(setup="", tests=("assert f()", "assert g()"))),
        (
            {"tests": "def check(f): assert f()", "entry_point": "g", "setup": "import re"},
            Assertions(setup="import re", tests=("def check(f): assert f()\ncheck(g)",)),
        ),
        (
            "def test_it():\n    assert f()",
            Assertions(setup="", tests=("def test_it():\n    assert f()\ntest_it()",)),
        ),
    ],
)
def test_references_are_read_in_the_forms_of_the_known_data_sets(answer: Any, reference: Any):
    text = answer if isinstance(answer, str) else json.dumps(answer)

    assert read_reference(text) == reference


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "42",
        "def",
        "B",
        "x = 5",
        "def test(): assert f()",
        "{}",
        '{"cases": []}',
        '{"cases": [{"input": "1"}]}',
        '{"cases": [{"input": "1", "output": 2}]}',
        '{"inputs": ["1"], "outputs": []}',
        '{"inputs": ["1"]}',
        '{"function": "f", "calls": []}',
        '{"function": "f", "calls": [{"args": [1]}]}',
        '{"function": "f", "calls": [{"args": 1, "result": 2}]}',
        '{"function": "f()\\nimport os", "calls": [{"args": [], "result": 2}]}',
        '{"tests": ""}',
        '{"tests": "assert ("}',
        '{"tests": [1]}',
        '{"tests": "assert f()", "entry_point": "f"}',
        '{"tests": "def check(f): assert f()", "entry_point": "f() or g"}',
        '{"tests": "assert f()", "setup": "import ("}',
        '["assert (", "assert f()"]',
        "[]",
        "[1, 2]",
        '{"cases": ',
        "[" * 100_000,
        "assert " + "(" * 10_000,
    ],
)
def test_a_useless_reference_is_the_datas_fault(answer: str):
    with pytest.raises(ValueError):
        python_code.python_code(Task(answer=answer), "no fence in it")


@pytest.mark.parametrize(
    ("given", "expected", "strict", "normal"),
    [
        ("5\n", "5", True, True),
        ("5  \n\n", "5\n", True, True),
        ("a\r\nb", "a\nb", True, True),
        (" 5", "5", False, True),
        ("5\n\n6", "5\n6", False, False),
        ("0.33333334", "0.33333333", False, True),
        ("0.3334", "0.3333", False, False),
        ("2.0", "2", False, True),
        ("2.5", "2", False, False),
        ("1000001", "1000000", False, False),
        ("1000000.4", "1000000", False, False),
        ("9007199254740992.0", "9007199254740993", False, False),
        ("007", "7", False, True),
        ("1e3", "1000.0", False, True),
        ("nan", "NaN", False, False),
        ("YES", "yes", False, False),
        ("1 2", "1  2", False, True),
        ("1 2", "12", False, False),
        ("", "", True, True),
        ("", "0", False, False),
        ("1_000", "1000", False, False),
    ],
)
def test_printed_text_is_compared_by_lines_and_numbers(
    given: str, expected: str, strict: bool, normal: bool
):
    assert same_text(given, expected, strict=True) is strict
    assert same_text(given, expected, strict=False) is normal


@pytest.mark.parametrize(
    ("given", "expected", "strict", "normal"),
    [
        (1, 1, True, True),
        (1.0, 1, False, True),
        (0.1 + 0.2, 0.3, False, True),
        (1_000_001, 1_000_000, False, False),
        (True, 1, False, False),
        (1, True, False, False),
        (True, True, True, True),
        ("1", 1, False, False),
        (None, None, True, True),
        (None, 0, False, False),
        ([1, [2.0]], [1, [2]], False, True),
        ([1], [1, 2], False, False),
        ({"a": [1]}, {"a": [1]}, True, True),
        ({"a": 1, "b": 2}, {"a": 1}, False, False),
        ([], {}, False, False),
        (float("nan"), float("nan"), False, True),
        (10**400, 1.5, False, False),
    ],
)
def test_results_are_compared_with_their_types(
    given: Any, expected: Any, strict: bool, normal: bool
):
    assert same_value(given, expected, strict=True) is strict
    assert same_value(given, expected, strict=False) is normal


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("select a from t order by a", True),
        ("SELECT a FROM t ORDER\n BY a DESC", True),
        ("select * from (select a from t order by a limit 1)", False),
        ("select row_number() over (order by a) from t", False),
        ("select ' order by ' from t", False),
        ("select a -- order by a\n from t", False),
        ("select ')' from t order by a", True),
        ("select a from t", False),
    ],
)
def test_order_counts_when_the_query_has_its_own(query: str, ordered: bool):
    answer = json.dumps({"schema": "", "query": query})

    assert sql_query.read_reference(answer).ordered is ordered


@pytest.mark.parametrize(
    "answer",
    [
        "select 1",
        "[]",
        '{"query": "select 1"}',
        '{"schema": ""}',
        '{"schema": "", "query": "select 1", "rows": []}',
        '{"schema": "", "rows": [1]}',
        '{"schema": "", "rows": [[[1]]]}',
        '{"schema": "", "query": 1}',
        '{"schema": "", "query": "select 1", "ordered": 1}',
    ],
)
def test_a_useless_reference_of_a_query_is_the_datas_fault(answer: str):
    with pytest.raises(ValueError):
        sql_query.sql_query(Task(answer=answer), "no query in it")


@pytest.mark.parametrize(
    ("response", "query"),
    [
        ("```sql\nselect 1;\n```", "select 1;"),
        ("  with x as (select 1) select * from x", "with x as (select 1) select * from x"),
        ("the query is select 1", None),
        ("```sql\n```", None),
        ("<think>select 1", None),
        ("<think>```sql\nselect 2\n```</think>Select 1", "Select 1"),
    ],
)
def test_a_query_is_fenced_or_bare(response: str, query: str | None):
    assert sql_query._stated_query(Rules(), response) == query


def test_a_query_may_be_boxed_where_boxes_count():
    rules = Rules(part="last_box")

    assert sql_query._stated_query(rules, r"so \boxed{select 1}") == "select 1"
    assert sql_query._stated_query(rules, "```sql\nselect 1\n```") is None


@pytest.mark.parametrize(
    ("given", "expected", "strict", "normal"),
    [
        ([(1,), (2,)], [(2,), (1,)], True, True),
        ([(1,), (1,), (2,)], [(1,), (2,), (2,)], False, False),
        ([(1.0,)], [(1,)], True, True),
        ([(0.1 + 0.2, "a")], [(0.3, "a")], False, True),
        ([(0.1 + 0.2,), (0.3,)], [(0.3,), (0.3,)], False, True),
        ([(None,)], [(0,)], False, False),
        ([(None,)], [("",)], False, False),
        ([(None,)], [(None,)], True, True),
        ([("1",)], [(1,)], False, False),
        ([("a",)], [("A",)], False, False),
        ([(("hex", "00"),)], [("00",)], False, False),
        ([], [], True, True),
    ],
)
def test_rows_are_compared_as_a_bag(given: Any, expected: Any, strict: bool, normal: bool):
    assert sql_query.same_rows(given, expected, strict=True) is strict
    assert sql_query.same_rows(given, expected, strict=False) is normal
