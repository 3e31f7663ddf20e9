"""A planted collapse on the real parts: seen, taken back, ended, and the good model is exported."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cluster.check import check
from cluster.export import export_model
from cluster.models import models_dir
from tests.integration.conftest import Laconic
from tests.integration.runs import events

pytestmark = pytest.mark.long

COLLAPSE = [
    "name=collapse", "steps=20", "debug=true", "batch.problems=4", "filter.length_budget=256",
    "learner.optimizer.lr=0.02", "learner.optimizer.warmup_steps=0",
    "guardrail.every=1", "guardrail.problems=32", "guardrail.rollbacks=1",
    "eval.problems=16", "eval.max_tokens=256",
]  # fmt: skip
"""Far too high a rate from the first step on (1e-3 takes twenty): the loss stays finite."""


@pytest.fixture(scope="module")
def run_dir(laconic: Laconic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    done = laconic("train", "tiny", f"runs_dir={runs}", *COLLAPSE, timeout_s=1200)
    assert done.returncode == 0
    return runs / "collapse"


@pytest.mark.timeout(2400)  # where nobody has made the model yet, that comes first
def test_a_collapse_is_seen_and_taken_back_and_the_second_one_ends_the_run(run_dir: Path):
    looks = events(run_dir, "guardrail")
    # A look at what it went back to may come before that is committed, and known to be good.
    first, *worse = [look for look in looks if look["what_next"] != "resume"]
    assert [look["what_next"] for look in (first, *worse)] == ["go_on", "go_back", "end"]
    assert first["version"] == 0 and first["accuracy"] > 0.25
    assert all(look["at_best"] < -0.05 and look["is_breach"] for look in worse)

    assert next(event["to"] for event in events(run_dir, "rolled_back")) == 0
    assert "the guardrail ended it" in events(run_dir, "ended_early")[0]["why"]
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["steps"] < 20
    assert (summary["guardrail"]["num_breaches"], summary["guardrail"]["is_over"]) == (2, True)
    assert summary["after"]["accuracy"] > 0, "the good weights are evaluated"


def test_what_is_exported_is_the_model_that_it_began_with(run_dir: Path, tmp_path: Path):
    export_model(run_dir, tmp_path / "exported")

    exported = load_file(tmp_path / "exported" / "model.safetensors")
    began = load_file(models_dir() / "tiny" / "model.safetensors")
    assert exported.keys() == began.keys()
    for name, weight in began.items():
        assert torch.allclose(exported[name].float(), weight.float(), atol=1e-2), name


def test_nothing_is_lost_by_going_back(run_dir: Path):
    assert check(run_dir).violations == []


def test_a_run_that_the_guardrail_ended_is_not_gone_on_with(run_dir: Path, laconic: Laconic):
    steps = len(events(run_dir, "checkpoint"))

    again = laconic("train", "tiny", f"runs_dir={run_dir.parent}", *COLLAPSE, "--resume")

    assert again.returncode == 0
    assert len(events(run_dir, "checkpoint")) == steps
    assert json.loads((run_dir / "summary.json").read_text())["guardrail"]["is_over"]
