"""Every row of the fault suite has a test, or says why not; and the table shows what was seen."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.faults.rows import NOT_BUILT, ROWS
from tests.faults.table import BEGIN, END, Seen, table, write

TESTS = Path(__file__).resolve().parents[1]


@cache
def marked_rows() -> frozenset[int]:
    """Read off the source, so that no test has to run."""
    found = set()
    for path in set(TESTS.rglob("test_*.py")) - set((TESTS / "gpu").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            # To unparse every call takes seconds.
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", None) != "row":
                continue
            if ast.unparse(node.func) == "pytest.mark.row":
                found |= {ast.literal_eval(argument) for argument in node.args}
    return frozenset(found)


def test_the_rows_are_numbered_from_one():
    assert [row.number for row in ROWS] == list(range(1, 31))


def test_every_row_has_a_test_or_says_why_not():
    numbers = {row.number for row in ROWS}

    assert marked_rows() | set(NOT_BUILT) == numbers
    assert marked_rows() & set(NOT_BUILT) == set(), "it is built now"


def line_of(text: str, number: int) -> str:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {number} |")]
    return line


def test_the_table_says_how_many_passed_failed_and_were_skipped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(NOT_BUILT, 29, "there is no page yet")
    rows = {
        "tests/a.py::test_x[1]": {1},
        "tests/a.py::test_x[2]": {1, 2},
        "tests/b.py::test_y": {2},
    }
    seen = [
        Seen(test="tests/a.py::test_x[1]", outcome="passed"),
        Seen(test="tests/a.py::test_x[2]", outcome="failed", reason="it | broke\nbadly"),
        Seen(test="tests/b.py::test_y", outcome="skipped", reason="no GPU"),
        Seen(test="tests/b.py::test_unmarked", outcome="failed"),
    ]

    shown = table(rows, seen)

    assert "1 failed, 1 passed<br>failed: `x`: it \\| broke badly<br>" in line_of(shown, 1)
    assert "a.py: x (2)<" in line_of(shown, 1)
    assert "1 failed, 1 skipped<br>" in line_of(shown, 2)
    assert "skipped: `y`: no GPU" in line_of(shown, 2)
    assert "no test of it ran" in line_of(shown, 3)
    assert NOT_BUILT[29] in line_of(shown, 29)
    assert "unmarked" not in shown
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in shown.splitlines())


def test_only_what_stands_between_the_two_lines_is_written(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nwhat was seen before\n{END}\nafter\n")

    write(page, {}, [])
    once = page.read_text()
    write(page, {}, [])

    assert page.read_text() == once
    assert once.startswith(f"before\n{BEGIN}\n| row |")
    assert once.endswith(f"|\n{END}\nafter\n")
    assert "seen before" not in once
    page.write_text("nothing here")
    with pytest.raises(ValueError, match="lacks the two lines"):
        write(page, {}, [])


def test_a_row_of_which_nothing_ran_keeps_what_was_seen_of_it(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    rows = {"a.py::test_a": [1], "b.py::test_b": [2]}
    write(page, rows, [Seen(test=test, outcome="failed") for test in rows])

    write(page, rows, [Seen(test="b.py::test_b", outcome="passed")])

    assert "1 failed" in line_of(page.read_text(), 1)
    assert "1 passed" in line_of(page.read_text(), 2)
    assert "no test of it ran" in line_of(page.read_text(), 3)


SESSION = """
import pytest

@pytest.fixture
def broken():
    raise RuntimeError("no ground")

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("left a mess")

@pytest.mark.row(1, 2)
def test_good(): ...

@pytest.mark.row(1)
def test_bad():
    assert 1 + 1 == 3, "sums"

@pytest.mark.row(2)
def test_without_ground(broken): ...

@pytest.mark.row(3)
def test_left(untidy): ...

@pytest.mark.row(4)
@pytest.mark.skip(reason="not here")
def test_elsewhere(): ...
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_real_session_writes_its_table(tmp_path: Path, workers: int):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    (tmp_path / "test_session.py").write_text(SESSION)

    done = session(tmp_path, "--numprocesses", str(workers), "test_session.py")

    assert done.returncode == 1, done.stderr
    text = page.read_text()
    assert "1 failed, 1 passed<br>failed: `bad`: AssertionError: sums" in line_of(text, 1)
    ground = "1 failed, 1 passed<br>failed: `without_ground`: RuntimeError: no ground"
    assert ground in line_of(text, 2)
    assert "1 failed<br>failed: `left`: RuntimeError: left a mess" in line_of(text, 3)
    assert "1 skipped<br>skipped: `elsewhere`: not here" in line_of(text, 4)


def test_sessions_of_one_table_add_up(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    (tmp_path / "test_session.py").write_text(SESSION)

    session(tmp_path, "--fault-seen", "seen.json", "test_session.py", "-k", "bad or good")
    session(tmp_path, "--fault-seen", "seen.json", "test_session.py", "-k", "without_ground")

    assert "1 failed, 1 passed" in line_of(page.read_text(), 1)
    assert "1 failed, 1 passed" in line_of(page.read_text(), 2)


def session(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--fault-table", "page.md", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(TESTS.parent), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
