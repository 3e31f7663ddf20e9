"""The demo's promise: the made model says less and is right no less often."""

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Laconic


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.timeout(2400)  # where nobody has made the model yet, that comes first
def test_the_demo_shortens_by_three_fifths_and_keeps_the_accuracy(
    laconic: Laconic, runs: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LACONIC__RUNS_DIR", str(runs))
    # Half of it: by then it is short enough, and on a slow machine this saves minutes.
    monkeypatch.setenv("LACONIC__STEPS", "12")
    monkeypatch.setenv("LACONIC__EVAL__PROBLEMS", "200")

    done = laconic("demo", timeout_s=2100)

    assert done.returncode == 0
    [run_dir] = runs.glob("demo-*")
    assert str(run_dir) in done.stdout
    summary = json.loads((run_dir / "summary.json").read_text())
    before, after = summary["before"], summary["after"]
    assert 0.5 <= before["accuracy"] <= 0.8
    assert after["mean_tokens"] <= 0.4 * before["mean_tokens"]
    assert after["accuracy"] >= before["accuracy_ci"][0]
    for word in ("before", "after", f"{after['mean_tokens']:.1f}"):
        assert word in done.stdout
