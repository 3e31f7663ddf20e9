"""The page that ``train`` starts, watched while the run trains; then the same folder at rest."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from configs.run_files import latest_rollouts
from tests.browser.conftest import ROOT, OpenPage, serving
from tests.browser.test_shell import settled

STEPS = 4
START_S = 240
TRAIN_S = 480


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    command = [sys.executable, "-m", "cluster.main", "train", "tiny", f"steps={STEPS}"]
    command += [f"runs_dir={tmp_path}", "name=live", "eval.problems=20"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, stdout=output, stderr=output
        )
    try:
        yield process, tmp_path / "live"
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


@pytest.mark.long
@pytest.mark.timeout(START_S + TRAIN_S + 60)
def test_a_run_is_watched_while_it_trains(
    open_page: OpenPage, training: tuple["subprocess.Popen[bytes]", Path]
):
    process, run = training
    address = _address(run, process)
    page = settled(open_page("#/overview", address=address))
    step = page.locator(".statusbar .fact", has_text="step").locator(".strong")
    live = page.locator(".live")

    expect(live).to_contain_text("live", timeout=60_000)
    expect(step).not_to_have_text("0", timeout=TRAIN_S * 1000)
    seen = int(step.inner_text())
    assert 1 <= seen <= STEPS
    expect(page.get_by_role("region", name="Rollouts issued")).to_contain_text("0 unaccounted")
    assert page.watch.faults == []

    assert process.wait(timeout=TRAIN_S) == 0, (run.parent / "output").read_text(errors="replace")
    page.goto("about:blank")
    page.watch.faults.clear()  # its server left with the run
    with serving(run) as server:
        page = settled(open_page("#/funnel", address=server.address))
        rows = latest_rollouts(run).to_pylist()
        first = page.locator("table.funnel tbody tr").first.locator("td").nth(2)
        last = page.locator("table.funnel tbody tr").last.locator("td").nth(2)

        expect(first).to_have_text(f"{len(rows):,}")
        expect(last).to_have_text(f"{sum(row['fate'] == 'trained' for row in rows):,}")
        expect(page.locator("main")).to_contain_text("0 unaccounted")
        page.goto("about:blank")


def _address(run: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the page of the run listens."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return json.loads((run / "dashboard.json").read_text())["url"]
        except (OSError, ValueError):
            time.sleep(0.5)
    output = (run.parent / "output").read_text(errors="replace")
    raise AssertionError(f"no page within {START_S} s: {output[-2000:]}")
