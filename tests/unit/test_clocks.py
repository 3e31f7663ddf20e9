"""Waits, leases and silences are measured by a clock that never jumps."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("actors", "cluster", "configs", "dashboard", "evaluation", "learner", "verifiers")

BETWEEN_PROCESSES = {
    "cluster/check_recorded.py": "whether a run wrote its state lately",
    "actors/compaction.py": "how long ago a file took the place of others, perhaps in another life",
    "dashboard/server/run.py": "the same, for the page",
    "dashboard/server/views/generators.py": "how long ago a run last heard of an engine",
    "dashboard/server/views/overview.py": "how long ago a run made progress",
    "cluster/scale.py": "two processes of a run that may have started on different days",
}
"""A monotonic clock means nothing in another process."""


def wall_clocks(tree: ast.AST) -> list[int]:
    """Lines that ask what time it is in seconds, as one would to wait. Stamps are ``time_ns``."""
    names = ("time.time", "datetime.now", "datetime.datetime.now", "datetime.utcnow")
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if ast.unparse(call.func) in names]


@pytest.mark.row(25)
def test_nobody_waits_by_the_wall_clock():
    found = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
        if wall_clocks(ast.parse(path.read_text()))
    }

    assert found == set(BETWEEN_PROCESSES)


@pytest.mark.row(25)
def test_no_stamp_is_compared():
    """``time_ns`` is for records: a lease or a deadline made of it would follow the clock."""
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare):
                    assert "time_ns()" not in ast.unparse(node), f"{path}:{node.lineno}"


def test_a_wall_clock_is_found():
    assert wall_clocks(ast.parse("a = 1\nif time.time() > end: pass")) == [2]
    assert wall_clocks(ast.parse("end = datetime.datetime.now() + wait")) == [1]
    assert wall_clocks(ast.parse("time.monotonic(); time.time_ns()")) == []
