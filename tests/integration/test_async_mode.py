"""``max_lag=1``: engines and learner work at the same time, and a slow learner costs nothing."""

import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from actors.replay_log import read_log
from configs.run_files import latest_rollouts, read_jsonl
from tests.integration.conftest import World, command
from tests.integration.runs import Account, events, is_alive, processes, wait_until

STEPS = 5
GROUPS = 4


def stop_and_go(pid: int, ended: threading.Event) -> None:
    """Let a process run one tenth of the time."""
    with suppress(ProcessLookupError):  # the run is over
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(0.9)
            os.kill(pid, signal.SIGCONT)
            ended.wait(0.1)


@pytest.fixture(scope="module")
def run_dir(world: World) -> Path:
    """A run whose learner is kept ten times slower than it is."""
    folder = world.run_dir("async")
    driver = subprocess.Popen(
        command(
            "train", "tiny", *world.settings, "name=async", "max_lag=1", f"steps={STEPS}",
            f"batch.problems={GROUPS}", "recorder.seal_s=0.5", "judge.actors=2",
            "judge.audit_share=0.5", "judge.audit_verifier=number",
        ),
    )  # fmt: skip
    ended = threading.Event()
    try:
        wait_until(lambda: events(folder, "started"), "the run to start", 200)
        slower = threading.Thread(
            target=stop_and_go, args=(processes(folder)["learner-0"], ended), daemon=True
        )
        slower.start()
        assert driver.wait(timeout=200) == 0
    finally:
        ended.set()
        driver.kill()
    return folder


def test_a_share_of_the_verdicts_is_kept_with_a_second_opinion(run_dir: Path):
    audited = list(read_jsonl(run_dir / "verdicts.jsonl"))
    rollouts = {row["rollout_id"]: row for row in latest_rollouts(run_dir).to_pylist()}

    assert 0.3 * len(rollouts) < len(audited) < 0.7 * len(rollouts)
    assert len({row["rollout_id"] for row in audited}) == len(audited)
    for row in audited:
        rollout = rollouts[row["rollout_id"]]
        assert (row["status"], row["extracted"]) == (rollout["verdict"], rollout["answer"])
        assert row["second"]["verifier"] == "number"
        assert row["agree"] == (row["second"]["status"] == row["status"])


def test_both_judges_worked_and_said_how_long_it_took(run_dir: Path):
    last = list(read_jsonl(run_dir / "metrics.jsonl"))[-1]

    assert last["judge_workers"] == 2
    assert last["judge_judged"] >= last["rollouts"]
    assert 0 < last["judge_ms_p50"] <= last["judge_ms_p99"]
    assert last["judge_errors"] == last["judge_killed"] == 0


def test_rollouts_are_written_while_the_learner_steps(run_dir: Path):
    steps = list(read_jsonl(run_dir / "metrics.jsonl"))
    rollouts = latest_rollouts(run_dir).to_pylist()

    def overlap(step: dict[str, Any]) -> int:
        return sum(
            rollout["start_us"] < step["stepped_us"] and rollout["end_us"] > step["leased_us"]
            for rollout in rollouts
            if rollout["step"] != step["step"] - 1
        )

    assert len(steps) == STEPS
    assert sum(overlap(step) for step in steps) > 0


@pytest.mark.row(24)
def test_no_trained_rollout_exceeds_the_bound_and_the_bound_is_used(run_dir: Path):
    rows = latest_rollouts(run_dir).to_pylist()

    lags = {row["step"] - row["first_version"] for row in rows if row["fate"] == "trained"}

    assert lags == {0, 1}


@pytest.mark.row(24)
def test_a_slow_learner_bounds_the_queue_and_nothing_is_dropped(run_dir: Path):
    out, most = 0, 0
    for record in read_log(run_dir / "queue"):
        if record["kind"] == "issue":
            out += 1
        elif record["kind"] == "ack":
            out -= record["end"] - record["first"]
        most = max(most, out)
    account = Account(run_dir)

    assert most == 2 * GROUPS  # (max_lag + 1) batches: all that the gate lets out, and no more
    assert account.dropped == {}
    assert account.trained == account.outcomes["accepted"]
    assert account.queued == 0
    assert account.trained_tickets == list(range(STEPS * GROUPS))


def test_every_rollout_is_on_record_with_its_reason_or_its_fate(run_dir: Path):
    rows = latest_rollouts(run_dir).to_pylist()

    assert len(rows) == STEPS * GROUPS * 8
    for row in rows:
        assert row["accepted"] == (row["reason"] is None) == (row["fate"] == "trained")
    assert {row["reason"] for row in rows} <= {None, "truncated"}


def test_the_parts_are_gone_when_the_run_is(run_dir: Path):
    left = {name: pid for name, pid in processes(run_dir).items() if is_alive(pid)}

    assert left == {}
