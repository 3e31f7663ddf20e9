"""Learners die between a step and its commit, and while they save; checkpoints are damaged."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from configs.run_files import read_jsonl
from tests.faults.save_cases import AFTER, NUM_KILLS
from tests.integration.conftest import ROOT, World, command, world
from tests.integration.runs import Account, events, records
from tests.tiny_llama import write_tiny_llama

__all__ = ["world"]  # the fixture

STEPS, EVERY = 6, 2

SETTINGS = [
    "max_lag=0", f"steps={STEPS}", f"checkpoint.every={EVERY}", "checkpoint.keep=3",
    "learner.dtype=float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def saves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("saves")
    write_tiny_llama(folder / "model", seed=0, spread=0.05)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.save_cases", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=240,
    )
    assert done.returncode == 0
    return json.loads((folder / "results.json").read_text())


@pytest.mark.row(6)
def test_a_learner_killed_at_twenty_points_of_a_save_loses_no_checkpoint(saves):
    assert len(saves["killed"]) == NUM_KILLS
    for row in saves["killed"]:
        assert row["killed"], row
        assert row["newest"] == (row["step"] if row["spec"] in AFTER else row["before"]), row
        assert row["complaints"] == [], row
        assert row["on disk"] and row["loaded"], row


@pytest.mark.row(6)
def test_what_a_killed_save_leaves_behind_is_gone_after_the_next(saves):
    first, last = saves["whole"]

    assert (first["killed"], last["killed"]) == (False, False)
    assert last["newest"] == last["step"]
    assert last["left over"] == 0
    # One of the save, one of a checkpoint that was being removed; none of the kills before.
    assert 0 < max(row["left over"] for row in saves["killed"]) <= 2


class Runs:
    """A run that nobody disturbed, and a copy of it that is made to go on from its past."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.fired = world, folder
        assert self.train("whole").returncode == 0
        self.whole, self.hurt = world.run_dir("whole"), world.run_dir("hurt")
        shutil.copytree(self.whole, self.hurt)
        (self.hurt / "summary.json").unlink()

    def train(
        self, name: str, *settings: str, resume: bool = False, faults: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        if faults:
            folder = self.fired / faults
            folder.mkdir()
            environment |= {"LACONIC_FAILPOINTS": faults, "LACONIC_FAILPOINTS_DIR": str(folder)}
        arguments = [*self.world.settings, *SETTINGS, f"name={name}", *settings]
        done = subprocess.run(
            command("train", "tiny", *arguments, *(["--resume"] if resume else [])),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        print(done.stdout, done.stderr)
        return done

    def resume(self, faults: str, *settings: str) -> subprocess.CompletedProcess[str]:
        return self.train("hurt", *settings, resume=True, faults=faults)

    def checkpoint(self, step: int) -> Path:
        return self.hurt / "checkpoints" / f"step-{step:06d}"


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(world, tmp_path_factory.mktemp("fired"))


def flip_a_bit(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 1]))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def losses(run_dir: Path) -> list[tuple[int, float]]:
    """Every row there ever was, those of steps that were taken back included."""
    return [(row["step"], row["loss"]) for row in read_jsonl(run_dir / "metrics.jsonl")]


@pytest.mark.timeout(1200)
@pytest.mark.row(5)
@pytest.mark.row(7)
def test_a_flipped_bit_is_found_and_a_learner_killed_after_its_step_costs_nothing(runs: Runs):
    flip_a_bit(runs.checkpoint(6) / "learner/state-00000.safetensors")

    done = runs.resume("learner.stepped=kill@2", "cluster.learner_restarts=0")

    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "checkpoint step-000006 is damaged (learner/state-00000.safetensors has changed)" in said
    assert "resumed at step 4" in said
    assert "learner-0 died during step" in said
    assert len(losses(runs.hurt)) == STEPS + 1  # the fifth once more, and of the sixth no word
    assert len(records(runs.hurt, "ack")) == STEPS + 1


@pytest.mark.timeout(1200)
@pytest.mark.row(5)
@pytest.mark.row(7)
def test_a_torn_checkpoint_is_passed_over_and_every_loss_is_the_undisturbed_runs(runs: Runs):
    """Goes on with the run of the test before; the learner dies once more, and comes back."""
    truncate(runs.checkpoint(4) / "model/model.safetensors")

    done = runs.resume("learner.stepped=kill@3", "cluster.learner_restarts=1")

    assert done.returncode == 0
    said = done.stdout + done.stderr
    assert "checkpoint step-000004 is damaged (model/model.safetensors has changed)" in said
    assert "resumed at step 2" in said
    assert len(events(runs.hurt, "learner_lost")) == 1
    undisturbed = dict(losses(runs.whole))
    again = losses(runs.hurt)
    assert sorted(undisturbed) == list(range(1, STEPS + 1))
    assert len(again) > 2 * STEPS - 2
    assert again == [(step, undisturbed[step]) for step, _ in again]
    assert Account(runs.hurt).trained_tickets == Account(runs.whole).trained_tickets


@pytest.mark.row(5)
def test_it_ends_with_the_bits_of_the_undisturbed_run(runs: Runs):
    ours, theirs = (
        {
            file.name: {name: t.numpy().tobytes() for name, t in load_file(file).items()}
            for file in (folder / f"checkpoints/step-{STEPS:06d}").glob("*/*.safetensors")
        }
        for folder in (runs.hurt, runs.whole)
    )

    assert {"state-00000.safetensors", "progress-0.safetensors", "model.safetensors"} <= set(ours)
    assert ours == theirs
