"""Learner, queue, judges and recorder of a real run die, hang and come back while it trains.

One run for all tests, in their order: each takes it over with everything at work and leaves it so.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from cluster.checkpoint import CheckpointStore
from configs.run_files import read_jsonl
from tests.faults.live import Live, training
from tests.integration.conftest import Laconic, World, laconic, world
from tests.integration.runs import Account

__all__ = ["laconic", "world"]  # the fixtures

HANG_S = 20
"""``cluster.part_timeout_s``: a process that starts again imports for seconds on a busy machine."""

BACK_S = 120

SETTINGS = (
    "steps=5000", "max_lag=1", "checkpoint.every=3", f"cluster.part_timeout_s={HANG_S}",
    "cluster.part_restarts=8", "cluster.learner_restarts=8",
)  # fmt: skip

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def live(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    faults = {
        "LACONIC_FAILPOINTS": "queue.append=enospc*4@60,learner.stepped=kill@8,"
        "judge.judged=kill@20,queue.appended=kill@120,recorder.sealed=kill@12",
        "LACONIC_FAILPOINTS_DIR": str(tmp_path_factory.mktemp("fired")),
    }
    with training(world, "parts", *SETTINGS, environment=faults) as run:
        yield run


@pytest.mark.row(12)
@pytest.mark.row(13)
def test_a_full_disk_is_waited_for(live: Live):
    live.wait(lambda: live.events("disk_trouble"), "the disk to be full", 60)

    live.wait(lambda: live.events("disk_back"), "room on the disk", 60)

    live.wait_for_steps(1)


@pytest.mark.row(5)
def test_a_learner_killed_between_its_step_and_the_queue_goes_on_from_the_checkpoint(live: Live):
    lost = live.wait(lambda: live.events("learner_lost"), "the loss", 60)
    assert "learner-0 died during step" in lost[0]["why"]

    live.wait(lambda: live.events("learner_back"), "the learner", BACK_S)

    live.wait_for_steps(4)


@pytest.mark.row(8)
@pytest.mark.row(9)
@pytest.mark.row(13)
def test_parts_killed_between_what_they_did_and_the_answer_are_asked_again(live: Live):
    def back() -> set[str]:
        return {event["name"] for event in live.events("part_back")}

    live.wait(lambda: back() == {"judge-0", "queue", "recorder"}, "all of them", 2 * BACK_S)

    live.wait_for_steps(2)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param("judge-0", kill, marks=pytest.mark.row(14)),
        pytest.param("queue", kill, marks=[pytest.mark.row(8), pytest.mark.row(9)]),
        pytest.param("recorder", kill, marks=pytest.mark.row(8)),
        pytest.param("judge-0", stop, marks=pytest.mark.row(3)),
        pytest.param("queue", stop, marks=pytest.mark.row(25)),
    ],
)
def test_a_part_that_dies_or_hangs_starts_again(live: Live, name: str, how: Callable[[int], None]):
    before = {kind: len(live.events(kind)) for kind in ("part_back", "part_hung")}

    how(live.pid(name))

    back = live.wait(lambda: live.events("part_back")[before["part_back"] :], "the part", BACK_S)
    assert [event["name"] for event in back] == [name]
    hung = live.events("part_hung")[before["part_hung"] :]
    assert [event["name"] for event in hung] == ([name] if how is stop else [])
    live.wait_for_more("settle", 8)
    live.wait_for_steps(2)


@pytest.mark.row(5)
def test_a_learner_that_is_killed_comes_back_and_engines_stay(live: Live):
    engine, before = live.pid("generator-0"), len(live.events("learner_back"))

    kill(live.pid("learner-0"))

    [back] = live.wait(lambda: live.events("learner_back")[before:], "the learner", BACK_S)
    live.wait_for_steps(4)
    assert live.pid("generator-0") == engine
    assert live.events("engine_lost") == []
    assert back["seconds"] < 60


@pytest.mark.row(25)
def test_a_run_that_goes_on_is_not_resumed_by_another(live: Live, world: World, laconic: Laconic):
    done = laconic("train", "tiny", *world.settings, *SETTINGS, "name=parts", "--resume")

    assert done.returncode == 2
    assert f"written by process {live.driver.pid}" in done.stderr
    live.wait_for_steps(1)


@pytest.mark.row(11)
def test_a_signal_ends_it_within_half_a_minute_and_all_is_accounted_for(live: Live):
    live.driver.send_signal(signal.SIGTERM)

    assert live.driver.wait(timeout=30) == 75

    newest, complaints = CheckpointStore(live.folder / "checkpoints", keep=2).newest()
    assert newest is not None and complaints == []
    account = Account(live.folder)
    steps = len(account.steps)
    assert newest.state.step == steps
    assert newest.state.end_ticket == len(account.trained_tickets)
    assert sorted(account.steps) == list(range(steps))
    assert account.trained_tickets == list(range(account.trained_tickets[-1] + 1))
    outcomes = account.outcomes
    assert outcomes["accepted"] == account.trained + account.queued + account.dropped.total()
    assert len(account.issued) == len(account.settled) + len(account.running)
    newest = {row["step"]: row for row in read_jsonl(live.folder / "metrics.jsonl")}
    assert sorted(newest) == list(range(1, steps + 1))
    state = json.loads((live.folder / "state.json").read_text())
    assert state["phase"] == "stopped"
