"""The surroundings of every test: one thread a process, no hub, kernels kept in the environment;
``--fault-table`` writes what was seen of the fault suite into a page, ``--screenshots`` pictures of
the dashboard into a folder."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.faults import table

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path(sys.prefix) / "torch_extensions"))

ROWS = "rows"
"""The property of a test that says which rows of the fault suite it shows."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="page to write the fault suite's table into")
    parser.addoption("--fault-seen", type=Path, help="what sessions before saw of it, to add to")
    parser.addoption("--screenshots", type=Path, help="folder to write the page's pictures into")
    parser.addoption("--million", type=Path, help="a run of 1,000,000 rollouts to time the page on")


def pytest_configure(config: pytest.Config) -> None:
    page = config.getoption("--fault-table")
    if page is not None and not hasattr(config, "workerinput"):  # workers tell the one that has it
        config.pluginmanager.register(FaultTable(page, config.getoption("--fault-seen")))


def pytest_itemcollected(item: pytest.Item) -> None:
    rows = {number for mark in item.iter_markers("row") for number in mark.args}
    item.user_properties.append((ROWS, sorted(rows)))


class FaultTable:
    def __init__(self, page: Path, seen: Path | None) -> None:
        """``seen``: a file that grows from session to session of one table."""
        self._page = page
        self._file = seen
        self._rows: dict[str, Any] = {}
        self._seen: dict[str, table.Seen] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._rows[report.nodeid] = dict(report.user_properties).get(ROWS, [])
        before = self._seen.get(report.nodeid)
        if before is not None and before.outcome != "passed":
            return
        self._seen[report.nodeid] = table.Seen(
            test=report.nodeid, outcome=report.outcome, reason=_reason(report)
        )

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """What was interrupted, or collected only, says nothing about the rows."""
        if self._seen and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._add_to_file()
            table.write(self._page, self._rows, self._seen.values())

    def _add_to_file(self) -> None:
        if self._file is None:
            return
        if self._file.exists():
            before = json.loads(self._file.read_text())
            self._rows = before["rows"] | self._rows
            self._seen = {one["test"]: table.Seen(**one) for one in before["seen"]} | self._seen
        seen = [asdict(one) for one in self._seen.values()]
        self._file.write_text(json.dumps({"rows": self._rows, "seen": seen}))


def _reason(report: pytest.TestReport) -> str:
    if report.outcome == "passed":
        return ""
    found: Any = report.longrepr
    if isinstance(found, tuple):  # a skip: file, line, words
        return str(found[2]).removeprefix("Skipped: ")
    crash = getattr(found, "reprcrash", None)
    return str(crash.message if crash is not None else found)
