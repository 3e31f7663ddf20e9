"""Verdicts of the two judges that run code, in a real sandbox: honest answers and cheating ones."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from verifiers import sandbox
from verifiers.judging import judged
from verifiers.python_code import python_code
from verifiers.sandbox import FORCED_WAY, unavailable
from verifiers.sandbox_commands import COMMANDS
from verifiers.sql_query import sql_query
from verifiers.types import Rules, Strictness, Task, Verdict

needs_sandbox = pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "")
RULES = Rules(code_cpu_s=1, code_memory_mib=128)

SUM = {"cases": [{"input": "2 3\n", "output": "5\n"}, {"input": "10 1", "output": "11"}]}
ADD = {
    "function": "add",
    "calls": [{"args": [2, 3], "result": 5}, {"args": [20, 1], "result": 21}],
}
ASSERTS = ["assert add(2, 3) == 5", "assert add(20, 1) == 21"]
CHECK = {
    "tests": "def check(f):\n    assert f(2, 3) == 5\n    assert f(20, 1) == 21",
    "entry_point": "add",
    "setup": "import math",
}


def judge(reference: Any, code: str, rules: Rules = RULES) -> Verdict:
    answer = reference if isinstance(reference, str) else json.dumps(reference)
    return python_code(Task(answer=answer, rules=rules), f"So:\n```python\n{code}\n```\nDone.")


def result(verdict: Verdict) -> tuple[str, str, float]:
    return verdict.status, verdict.reason, verdict.scores["cases"]


@needs_sandbox
@pytest.mark.parametrize("reference", [ADD, ASSERTS, CHECK, "\n".join(ASSERTS)])
def test_a_right_function_is_correct(reference: Any):
    verdict = judge(reference, "def add(a, b):\n    return a + b\nprint('noise')")

    assert result(verdict) == ("correct", "", 1.0)
    assert verdict.extracted is not None
    assert verdict.extracted.startswith("def add")


SUMMING = [
    ("a, b = map(int, input().split())\nprint(a + b)", ("correct", "", 1.0)),
    ("import sys\nprint(sum(map(int, sys.stdin)))", ("wrong", "exception", 0.0)),
    ("print(5)", ("wrong", "wrong_output", 0.5)),
    ("print(5 if input()[0] == '2' else 1 / 0)", ("wrong", "exception", 0.5)),
    ("print(5.0, end='') if input()[0] == '2' else print(11.000)", ("correct", "", 1.0)),
    ("print(5)\nexit(1)", ("wrong", "exit", 0.0)),
    ("print(", ("wrong", "syntax", 0.0)),
    ("print(5)\n\0", ("wrong", "syntax", 0.0)),
    ("\ud800", ("wrong", "syntax", 0.0)),
    ("raise SyntaxError('no')", ("wrong", "exception", 0.0)),
    ("while True: pass", ("wrong", "cpu_limit", 0.0)),
    ("x = bytearray(1 << 30)", ("wrong", "memory_limit", 0.0)),
    ("while True: print('x' * 10_000)", ("wrong", "output_limit", 0.0)),
    ("import os\nos.abort()", ("wrong", "exit", 0.0)),
    ("print('x' * 3_000_000)", ("wrong", "output_limit", 0.0)),
    ("x = '" + "x" * 600_000 + "'", ("wrong", "too_long", 0.0)),
    ("", ("wrong", "wrong_output", 0.0)),
]


@needs_sandbox
@pytest.mark.parametrize(("code", "expected"), SUMMING)
def test_a_program_is_judged_by_what_it_prints(code: str, expected: tuple[str, str, float]):
    verdict = judge(SUM, code)

    assert (verdict.status, verdict.reason) == expected[:2], verdict
    assert verdict.scores.get("cases", 0.0) == expected[2]
    assert len(verdict.detail) < 400


@needs_sandbox
def test_sleep_is_a_timeout_because_a_busy_machine_looks_the_same():
    verdict = judge(SUM, "import time\ntime.sleep(60)", Rules(code_cpu_s=0.25))

    assert result(verdict) == ("timeout", "timeout", 0.0)
    assert verdict.detail.startswith("case 1 of 2: no end after 1.5 s")


@needs_sandbox
def test_strict_outputs_are_equal_texts():
    code = "a, b = map(int, input().split())\nprint(float(a + b))"

    assert judge(SUM, code).status == "correct"
    assert judge(SUM, code, Rules(strictness="strict")).status == "wrong"


CHEATING = {
    "exits early": "import sys\nsys.exit(0)",
    "exits when called": "import os\ndef add(a, b): os._exit(0)",
    "raises exit": "def add(a, b): raise SystemExit(0)",
    "prints what success may look like": (
        "print('[null, null]', 'correct', '{\"word\": 1, \"problems\": [null, null]}')\n"
        "import os\nos._exit(0)"
    ),
    "writes to the channel": (
        "import os\n"
        "for fd in range(1, 64):\n"
        '  for text in (b\'{"word": "x", "problems": [null, null]}\\n\',\n'
        '    b\'{"problems": [null, null]}\\n{"problems": [null]}\\n\',\n'
        '    b\'{"number": 0, "result": 0}\\n{"number": 1, "result": 0}\\n\',\n'
        "    b'{\"number\": 0}\\n[]\\n7\\nnull\\n{\\n'):\n"
        "    try: os.write(fd, text)\n"
        "    except OSError: pass\n"
        "os._exit(0)"
    ),
    "turns assertions off": (
        "import builtins, sys\n"
        "builtins.AssertionError = SystemExit\n"
        "sys.excepthook = lambda *_: None\n"
        "def add(a, b): return 0"
    ),
    "no function": "pass",
    "another function": "def sub(a, b): return a - b",
    "recursion": "def add(a, b): return add(b, a)",
    "closes everything": "import os\nos.closerange(0, 64)\ndef add(a, b): return a + b",
    "never ends when it is done": "def add(a, b):\n    while True: pass",
}


@pytest.mark.row(18)
@needs_sandbox
@pytest.mark.parametrize("reference", [ADD, ASSERTS, CHECK], ids=["calls", "asserts", "check"])
@pytest.mark.parametrize("name", CHEATING)
def test_cheating_earns_nothing(name: str, reference: Any):
    verdict = judge(reference, CHEATING[name])

    assert (verdict.status, verdict.scores["cases"]) == ("wrong", 0.0), verdict


LYING = {
    "equals everything": (
        "class Any:\n  __eq__ = lambda self, other: True\n  __hash__ = None\n"
        "def add(a, b): return Any()"
    ),
    "a number that equals everything": (
        "class Any(int):\n  __eq__ = lambda self, other: True\ndef add(a, b): return Any(0)"
    ),
    "a list that equals everything": (
        "class Any(list):\n  __eq__ = lambda self, other: True\ndef add(a, b): return Any()"
    ),
    "looks for the result in the frames": (
        "import gc, sys\n"
        "def add(a, b):\n"
        "  frame = sys._getframe()\n"
        "  while frame:\n"
        "    for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n"
        "      if 'secret' in repr(value) and isinstance(value, str): return value[:6]\n"
        "    frame = frame.f_back\n"
        "  for value in gc.get_objects():\n"
        "    if isinstance(value, dict) and 'result' in value: return value['result']\n"
    ),
    "replaces what the harness works with": (
        "import json, os\n"
        'json.dumps = lambda *_, **__: \'{"number": 0, "result": true}\'\n'
        "json.loads = lambda *_: {}\n"
        "def add(a, b): return 0"
    ),
    "true is not one": "def add(a, b): return True",
    "a set of the result": "def add(a, b): return {5, 'secret'}",
    "endless result": "def add(a, b):\n  x = []\n  x.append(x)\n  return x",
    "deep result": "def add(a, b):\n  x = 5\n  for _ in range(900): x = [x]\n  return x",
    "long number": "def add(a, b): return 10 ** 5000",
    "not a number": "def add(a, b): return float('nan')",
}


@needs_sandbox
@pytest.mark.parametrize("name", LYING)
@pytest.mark.parametrize("expected", [5, 1, "secret"])
def test_results_of_calls_cannot_lie(name: str, expected: Any):
    reference = {"function": "add", "calls": [{"args": [2, 3], "result": expected}]}

    verdict = judge(reference, LYING[name])

    assert verdict.status == "wrong", verdict


@needs_sandbox
def test_calls_fail_one_by_one():
    reference = {
        "function": "half",
        "calls": [
            {"args": [4], "result": 2},
            {"args": [0], "result": 0},
            {"args": [], "kwargs": {"n": 8}, "result": 4},
            {"args": [3], "result": 1.5},
        ],
    }

    verdict = judge(
        reference, "def half(n):\n    if not n: raise KeyError('zero')\n    return n / 2"
    )

    assert result(verdict) == ("wrong", "exception", 0.75)
    assert verdict.detail == "case 2 of 4: KeyError: 'zero'"


@needs_sandbox
def test_asserts_fail_one_by_one_and_are_named():
    verdict = judge(ASSERTS, "def add(a, b): return 5")

    assert result(verdict) == ("wrong", "wrong_output", 0.5)
    assert verdict.detail == "case 2 of 2: assert add(20, 1) == 21"


@needs_sandbox
def test_what_leetcode_imports_is_there_for_a_solution():
    code = (
        "class Solution:\n    def top(self, words: List[str]) -> Optional[str]:\n"
        "        return Counter(words).most_common(1)[0][0]"
    )
    reference = {"fn_name": "top", "inputs": ['["a", "b", "b"]'], "outputs": ['"b"']}

    assert judge(reference, code).status == "correct"


@needs_sandbox
def test_tuples_and_sets_travel_as_lists():
    reference = {"function": "f", "calls": [{"args": [], "result": [[1, 2], [1, 2], {"1": None}]}]}

    assert judge(reference, "def f(): return (1, 2), {2, 1}, {1: None}").status == "correct"


@needs_sandbox
def test_every_case_gets_a_clean_place():
    code = (
        "import os\nassert os.listdir('/tmp') == ['main.py'], os.listdir('/tmp')\n"
        "open('/tmp/x', 'w').close(); os.mkdir('/tmp/y')\n"
        "print(sum(map(int, input().split())))"
    )

    assert judge(SUM, code).status == "correct"


def test_no_block_is_no_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("verifiers.python_code.unavailable", lambda: None)
    task = Task(answer=json.dumps(SUM), rules=RULES)

    assert python_code(task, "print(5)").status == "no_answer"
    assert python_code(task, "<think>```python\nprint(5)\n```").status == "no_answer"


@needs_sandbox
def test_the_answer_is_what_follows_the_thoughts_and_never_a_box():
    text = (
        "<think>```python\nprint(0)\n```</think>```python\nprint(eval(input().replace(*' +')))\n```"
    )

    for part in ("after_think", "last_box", "whole"):
        rules = Rules(part=part, code_cpu_s=1)  # pyright: ignore[reportArgumentType]
        assert python_code(Task(answer=json.dumps(SUM), rules=rules), text).status == "correct"


SCHEMA = (
    "CREATE TABLE pets (name TEXT, age REAL, photo BLOB);"
    "INSERT INTO pets VALUES ('Ada', 3.0, x'00ff'), ('Bob', 1.5, NULL), ('Eve', 0.3, NULL);"
)
NAMES = {"schema": SCHEMA, "query": "SELECT name FROM pets"}
OLDEST = {"schema": SCHEMA, "query": "SELECT name, age FROM pets ORDER BY age DESC"}
AGES = {"schema": SCHEMA, "rows": [[0.30000000000000004], [3], [1.5]]}


def ask(reference: dict[str, Any], query: str, strictness: Strictness = "normal") -> Verdict:
    rules = Rules(code_cpu_s=1, code_memory_mib=64, strictness=strictness)
    return sql_query(Task(answer=json.dumps(reference), rules=rules), f"```sql\n{query}\n```")


@needs_sandbox
@pytest.mark.parametrize(
    ("reference", "query", "expected"),
    [
        (NAMES, "select name as who from pets order by name desc;", ("correct", "")),
        (NAMES, "WITH x AS (SELECT * FROM pets) SELECT name FROM x", ("correct", "")),
        (NAMES, "select name from pets limit 2", ("wrong", "wrong_rows")),
        (NAMES, "select name || '' from pets union all select 'x' limit 3", ("correct", "")),
        (NAMES, "select 'Ada' from pets", ("wrong", "wrong_rows")),
        (NAMES, "select name, age from pets", ("wrong", "wrong_columns")),
        (NAMES, "select nme from pets", ("wrong", "sql_error")),
        (NAMES, "selec", ("wrong", "sql_error")),
        (OLDEST, "select name, age from pets order by 2 desc", ("correct", "")),
        (OLDEST, "select name, age from pets order by age", ("wrong", "wrong_rows")),
        (OLDEST | {"ordered": False}, "select name, age from pets", ("correct", "")),
        (AGES, "select age from pets", ("correct", "")),
        (AGES | {"ordered": True}, "select age from pets", ("wrong", "wrong_rows")),
        ({"schema": SCHEMA, "rows": [[{"hex": "00FF"}]]}, "select photo from pets limit 1",
         ("correct", "")),
        ({"schema": SCHEMA, "rows": [[None]]}, "select photo from pets where name = 'Bob'",
         ("correct", "")),
        ({"schema": SCHEMA, "rows": [[0]]}, "select photo from pets where name = 'Bob'",
         ("wrong", "wrong_rows")),
        (NAMES, "drop table pets", ("wrong", "sql_error")),
        (NAMES, "insert into pets(name) values ('x') returning name", ("wrong", "sql_error")),
        (NAMES, "select name from pets; delete from pets", ("wrong", "sql_error")),
        (NAMES, "attach '/tmp/other.db' as other", ("wrong", "sql_error")),
        (NAMES, "pragma writable_schema = 1", ("wrong", "sql_error")),
        (NAMES, "select load_extension('/tmp/x')", ("wrong", "sql_error")),
        (NAMES, "-- nothing", ("wrong", "sql_error")),
        (NAMES, "with recursive c(x) as (select 1 union all select x+1 from c) "
         "select max(x) from c", ("wrong", "cpu_limit")),
        (NAMES, "with recursive c(x) as (select 1 union all select x+1 from c) "
         "select x from c", ("wrong", "output_limit")),
        (NAMES, "select hex(zeroblob(400000000))", ("wrong", "memory_limit")),
    ],
)  # fmt: skip
def test_a_query_is_judged_by_its_rows(
    reference: dict[str, Any], query: str, expected: tuple[str, str]
):
    verdict = ask(reference, query)

    assert (verdict.status, verdict.reason) == expected, verdict
    assert verdict.extracted == query


@needs_sandbox
def test_strict_numbers_are_equal():
    assert ask(AGES, "select age from pets", "strict").reason == "wrong_rows"


@needs_sandbox
@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"schema": "CREATE nothing", "query": "select 1"}, "schema fails: OperationalError"),
        ({"schema": SCHEMA, "query": "select nme from pets"}, "query fails: sql_error"),
        ({"schema": SCHEMA, "query": "delete from pets"}, "query fails: sql_error"),
    ],
)
def test_a_reference_that_sqlite_refuses_is_the_datas_fault(reference: Any, said: str):
    with pytest.raises(ValueError, match=said):
        ask(reference, "select 1")


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_choices", {})


@pytest.mark.row(18)
@pytest.mark.usefixtures("nothing_known")
def test_without_isolation_nothing_runs_and_the_verdict_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    canary = tmp_path / "canary"
    code = f"```python\nopen({str(canary)!r}, 'w')\nprint(5)\n```"
    monkeypatch.setenv(FORCED_WAY, "none")

    for path, reference in (
        ("verifiers.python_code:python_code", json.dumps(SUM)),
        ("verifiers.sql_query:sql_query", json.dumps(NAMES)),
    ):
        verdict = judged(path, Task(answer=reference), code)
        assert (verdict.status, verdict.reason) == ("error", "no_sandbox")
        assert "install bubblewrap" in verdict.detail
        assert "\n" not in verdict.detail
    assert not canary.exists()


@pytest.mark.usefixtures("nothing_known")
def test_a_kernel_that_forbids_namespaces_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(FORCED_WAY, "namespaces")
    refusal = [sys.executable, "-c", "raise SystemExit('unshare: Operation not permitted')"]
    monkeypatch.setitem(COMMANDS, "namespaces", lambda: (refusal, dict(os.environ)))

    assert "unshare: Operation not permitted" in (unavailable() or "")


@needs_sandbox
def test_a_sandbox_that_breaks_is_never_a_wrong_answer(monkeypatch: pytest.MonkeyPatch):
    broken = [sys.executable, "-c", "raise SystemExit('out of order')"]
    for way in COMMANDS:
        monkeypatch.setitem(COMMANDS, way, lambda: (broken, {}))

    verdict = judged(
        "verifiers.python_code:python_code", Task(answer=json.dumps(SUM)), "```\nprint(5)\n```"
    )

    assert verdict.status == "error"
    assert "out of order" in verdict.detail
