"""A run's page comes and goes, and the run never waits for it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

import cluster.page
from cluster.page import Page, is_wanted
from cluster.run_dir import RunDir, locate
from configs.load import load
from configs.schema import DashboardConfig


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    config = load("tiny", [f"runs_dir={tmp_path}", "name=a"])
    run_dir = locate(config, "tiny", resume=False)
    run_dir.create(config, "tiny")
    return run_dir


@asynccontextmanager
async def shown(page: Page) -> AsyncIterator[asyncio.Task[None]]:
    staying = asyncio.create_task(page.stay())
    try:
        yield staying
    finally:
        staying.cancel()
        page.close()
        with suppress(asyncio.CancelledError):
            await staying


async def address(run_dir: RunDir, notes: Notes, *, unlike: int = 0) -> dict:
    async with asyncio.timeout(60):
        while True:
            with suppress(OSError, ValueError):
                found = json.loads((run_dir.path / "dashboard.json").read_text())
                if found["pid"] != unlike and any(found["url"] in line for line in notes.lines):
                    return found
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


async def test_it_says_where_it_is_yields_to_all_and_ends_with_the_run(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    notes = Notes()

    async with shown(Page(DashboardConfig(enabled=True), run_dir, notes)):
        found = await address(run_dir, notes)
        pid = found["pid"]
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19  # Ray's workers are at 15
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"hf_secret" not in environment
        assert b"CUDA_VISIBLE_DEVICES=\0" in environment
        assert json.loads((run_dir.path / "run.json").read_text())["dashboard"] == found["url"]
        with socket.create_connection(("127.0.0.1", found["port"]), timeout=5):
            pass

    assert not alive(pid)
    assert json.loads((run_dir.path / "run.json").read_text())["preset"] == "tiny"


async def test_a_page_that_is_killed_comes_back(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster.page, "BACK_OFF_S", 0.01)
    notes = Notes()

    async with shown(Page(DashboardConfig(), run_dir, notes)):
        first = await address(run_dir, notes)
        os.kill(first["pid"], signal.SIGKILL)
        second = await address(run_dir, notes, unlike=first["pid"])

    assert second["pid"] != first["pid"]


async def test_a_page_that_dies_again_and_again_is_given_up(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cluster.page, "BACK_OFF_S", 0.01)
    monkeypatch.setattr(cluster.page.sys, "executable", "/bin/false")
    notes = Notes()

    await asyncio.wait_for(Page(DashboardConfig(), run_dir, notes).stay(), timeout=20)

    assert "the dashboard died 4 times" in notes.lines[-1]


async def test_a_port_that_is_taken_is_said_in_one_line_and_training_goes_on(run_dir: RunDir):
    notes = Notes()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        await asyncio.wait_for(Page(DashboardConfig(port=port), run_dir, notes).stay(), timeout=60)

    (line,) = notes.lines
    assert line.startswith("no dashboard: ") and str(port) in line


async def test_a_page_that_cannot_be_started_costs_a_line(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cluster.page.sys, "executable", "/nowhere/python")
    notes = Notes()

    await Page(DashboardConfig(), run_dir, notes).stay()

    assert "no dashboard" in notes.lines[0] and "training goes on" in notes.lines[0]


def test_it_dies_with_the_process_of_the_run(tmp_path: Path):
    """Also when that is killed, and can end nothing any more."""
    code = (
        "import os, subprocess, sys; p = subprocess.Popen([sys.executable, '-m', "
        "'cluster.page_process', str(os.getpid()), sys.argv[1], '--no-open']); "
        "print(p.pid, flush=True); p.wait()"
    )
    (tmp_path / "run.json").write_text("{}")
    parent = subprocess.Popen(
        [cluster.page.sys.executable, "-c", code, str(tmp_path)],
        cwd=cluster.page.ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    deadline = time.monotonic() + 60
    while not (tmp_path / "dashboard.json").exists():
        assert time.monotonic() < deadline and alive(pid)
        time.sleep(0.05)

    parent.kill()
    parent.wait()

    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ([], True),
        (["cluster.address=local"], True),
        (["cluster.address=auto"], False),
        (["cluster.address=auto", "dashboard.enabled=true"], True),
        (["dashboard.enabled=false"], False),
    ],
)
def test_it_is_shown_where_ray_is_the_runs_own(settings: list[str], wanted: bool):
    assert is_wanted(load("tiny", settings)) is wanted
