"""The driver is killed in the middle of an optimizer step; nothing is lost and nothing doubled."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cluster.check import check
from configs.run_files import latest_rollouts
from tests.integration.conftest import Laconic, World, command
from tests.integration.runs import (
    Account,
    events,
    is_alive,
    processes,
    records,
    wait_until,
)

STEPS = 6
GROUPS = 4
KILL_AFTER = 3
"""Acknowledged steps; checkpoints come every two, so the third is taken back."""


@pytest.fixture(scope="module")
def run_dir(world: World, laconic: Laconic) -> Path:
    """Killed while its learner stands still inside a step, then resumed to the end."""
    settings = [*world.settings, "name=killed", "max_lag=1", f"steps={STEPS}", "checkpoint.every=2"]
    folder = world.run_dir("killed")
    driver = subprocess.Popen(command("train", "tiny", *settings))
    try:
        wait_until(lambda: len(records(folder, "ack")) >= KILL_AFTER, "three steps", 240)
        learner = processes(folder)["learner-0"]
        os.kill(learner, signal.SIGSTOP)
        tickets = range(KILL_AFTER * GROUPS, (KILL_AFTER + 1) * GROUPS)
        wait_until(lambda: set(tickets) <= set(Account(folder).settled), "a leased batch")
        # The record of a group is on its way when the queue has it, and nobody waits for it.
        wait_until(lambda: is_quiet(folder), "the engines to have nothing to do", 60)
    finally:
        driver.kill()
        driver.wait()
    parts = processes(folder)
    wait_until(lambda: not any(map(is_alive, parts.values())), "the parts to follow the driver", 60)
    assert not (folder / "summary.json").exists()
    (folder / "before-resume").write_text(str(len(records(folder, "settle"))))

    resumed = laconic("train", "tiny", *settings, "--resume")

    assert resumed.returncode == 0
    assert f"step {STEPS}/{STEPS}" in resumed.stdout
    return folder


def is_quiet(folder: Path) -> bool:
    """While the learner stands still the gate is shut; soon nothing more can settle."""
    before = len(records(folder, "settle"))
    time.sleep(2.0)
    return len(records(folder, "settle")) == before


def test_it_went_on_from_the_checkpoint_and_replayed_what_was_there(run_dir: Path):
    first, second = events(run_dir, "started")

    assert first["step"] == 0
    assert second["step"] in (2, 4)
    assert int((run_dir / "before-resume").read_text()) > second["step"] * GROUPS


def test_no_problem_is_skipped_or_doubled(run_dir: Path):
    account = Account(run_dir)

    assert account.trained_tickets == list(range(STEPS * GROUPS))
    assert sorted(account.steps) == list(range(STEPS))
    assert len(set(account.problems.values())) == STEPS * GROUPS


def test_every_rollout_is_accounted_for(run_dir: Path):
    account = Account(run_dir)
    outcomes = account.outcomes

    assert len(account.issued) == len(account.running) + len(account.settled)
    assert outcomes["accepted"] == account.trained + account.queued + account.dropped.total()
    assert (account.running, account.queued) == (set(), 0)
    assert outcomes.total() == STEPS * GROUPS * 8


def test_the_record_agrees_with_the_queue(run_dir: Path):
    account = Account(run_dir)

    rows = latest_rollouts(run_dir).to_pylist()

    settled = {o[0]: o[2] for group in account.settled.values() for o in group["outcomes"]}
    assert {row["rollout_id"]: row["reason"] for row in rows} == settled
    trained = [row for row in rows if row["fate"] == "trained"]
    assert len(trained) == account.trained
    for row in trained:
        step = account.steps[row["step"]]
        assert step["first"] <= int(row["rollout_id"].split(".")[0]) < step["end"]


def test_the_checker_finds_nothing_and_sees_the_restart(run_dir: Path):
    found = check(run_dir)

    assert found.violations == []
    assert (found.tally.steps, found.tally.pending) == (STEPS, 0)
    assert found.tally.taken_back >= 1


def test_a_finished_run_resumed_says_so_and_changes_nothing(
    run_dir: Path, world: World, laconic: Laconic
):
    before = (run_dir / "summary.json").read_text()

    again = laconic(
        "train", "tiny", *world.settings, "name=killed", "max_lag=1", f"steps={STEPS}",
        "checkpoint.every=2", "--resume",
    )  # fmt: skip

    assert again.returncode == 0
    assert "finished" in again.stdout
    assert (run_dir / "summary.json").read_text() == before
