"""A whole pipeline on the real parts: killed in its second stage, and gone on with."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from cluster.check import check
from tests.integration.conftest import Laconic, command
from tests.integration.runs import is_alive, processes, records, wait_until
from verifiers.parent import die_with_parent

pytestmark = pytest.mark.long

PIPELINE = """
run: tiny
set:
  data: {max_prompt_tokens: 96}
  engine: {max_model_len: 768}
  learner: {micro_batch_tokens: 2048}
  eval: {problems: 8, max_tokens: 200}
  checkpoint: {every: 1}
  sampling: {group_size: 4}
  debug: true
stages:
  sft:
    recipe: sft
    set: {steps: 1, batch: {problems: 8}, filter: {length_budget: 640}}
  opsd:
    recipe: opsd
    set:
      steps: 2
      batch: {problems: 8}
      filter: {length_budget: 200}
      learner: {teacher: {prompt: "{problem} It is {answer}. Be brief."}}
"""
"""The first and the last stage of ``sft-rlvr-opsd``, as short as they can be."""


@pytest.fixture(scope="module")
def folder(laconic: Laconic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed once the second stage has taken a step, resumed to the end."""
    runs = tmp_path_factory.mktemp("runs")
    (runs / "short.yaml").write_text(PIPELINE)
    arguments = ["pipeline", str(runs / "short.yaml"), f"runs_dir={runs}", "name=p"]
    second = runs / "p" / "2-opsd"
    driver = subprocess.Popen(command(*arguments), preexec_fn=partial(die_with_parent, os.getpid()))
    try:
        wait_until(lambda: _is_over(driver) or records(second, "ack"), "a step of OPSD", 900)
        assert driver.poll() is None, "it ended before it could be killed"
        parts = processes(second)
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not any(map(is_alive, parts.values())), "the parts to follow", 120)
    report = json.loads((runs / "p" / "report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["sft"]

    resumed = laconic(*arguments, "--resume", timeout_s=900)

    assert resumed.returncode == 0
    return runs / "p"


def _is_over(driver: "subprocess.Popen[bytes]") -> bool:
    return driver.poll() is not None


@pytest.mark.timeout(2400)
def test_every_stage_ran_once_to_its_end_on_problems_of_its_own(folder: Path):
    report = json.loads((folder / "report.json").read_text())

    assert report["is_finished"]
    stages = report["stages"]
    assert [stage["name"] for stage in stages] == ["sft", "opsd"]
    assert [stage["steps"] for stage in stages] == [1, 2]
    assert [stage["objective"] for stage in stages] == ["sft", "opsd"]
    for stage in stages:
        for when in ("before", "after"):
            assert 0 <= stage[when]["accuracy"] <= 1 and stage[when]["mean_tokens"] > 0
        assert stage["trained_tokens"] > 0
    assert (stages[0]["generated_tokens"], stages[1]["generated_tokens"] > 0) == (0, True)
    for one, others in report["overlap"]["measured"].items():
        assert all(share == (one == other) for other, share in others.items())
    for name in ("report.md", "report.html"):
        assert "opsd" in (folder / name).read_text()


def test_the_second_stage_starts_from_what_the_first_ended_with(folder: Path):
    stages = json.loads((folder / "report.json").read_text())["stages"]

    assert stages[1]["model"] == str(folder / "1-sft/checkpoints/step-000001/model")
    assert os.path.isdir(stages[1]["model"])


@pytest.mark.parametrize("stage", ["1-sft", "2-opsd"])
def test_every_stage_lost_and_doubled_nothing(folder: Path, stage: str):
    assert check(folder / stage).violations == []


def test_the_kill_was_in_the_middle_of_the_second_stage(folder: Path):
    starts = {
        stage: len(json.loads((folder / stage / "run.json").read_text())["starts"])
        for stage in ("1-sft", "2-opsd")
    }

    assert starts == {"1-sft": 1, "2-opsd": 2}
