"""The surroundings of every test: one thread a process, no hub, kernels kept in the environment;
``--fault-table`` writes what was seen of the fault suite into a page, ``--screenshots`` pictures of
the dashboard into a folder."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults import table

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(Path(sys.prefix) / "torch_extensions"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="page to write the fault suite's table into")
    parser.addoption("--screenshots", type=Path, help="folder to write the page's pictures into")
    parser.addoption("--million", type=Path, help="a run of 1,000,000 rollouts to time the page on")


def pytest_configure(config: pytest.Config) -> None:
    page = config.getoption("--fault-table")
    if page is not None:
        config.pluginmanager.register(FaultTable(page))


class FaultTable:
    def __init__(self, page: Path) -> None:
        self._page = page
        self._rows: dict[str, set[int]] = {}
        self._seen: dict[str, table.Seen] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            marks = item.iter_markers("row")
            self._rows[item.nodeid] = {number for mark in marks for number in mark.args}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self._seen.get(report.nodeid)
        if before is not None and before.outcome != "passed":
            return
        self._seen[report.nodeid] = table.Seen(
            test=report.nodeid, outcome=report.outcome, reason=_reason(report)
        )

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """What was interrupted, or collected only, says nothing about the rows."""
        if self._seen and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            table.write(self._page, self._rows, self._seen.values())


def _reason(report: pytest.TestReport) -> str:
    if report.outcome == "passed":
        return ""
    found: Any = report.longrepr
    if isinstance(found, tuple):  # a skip: file, line, words
        return str(found[2]).removeprefix("Skipped: ")
    crash = getattr(found, "reprcrash", None)
    return str(crash.message if crash is not None else found)
