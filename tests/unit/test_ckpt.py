"""``laconic ckpt``: what a run has kept, whether it is whole, and fewer of it."""

import json
import time
from pathlib import Path

import pytest

from cluster.checkpoint import CheckpointStore, TrainState
from cluster.ckpt import lines, prune, rows, verify
from configs.errors import UserError
from tests.said import Laconic

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three checkpoints of a run that is over."""
    store = CheckpointStore(tmp_path / "checkpoints", keep=3)
    for step in (2, 4, 6):
        folder = store.begin(step)
        (folder / "shard").write_bytes(bytes(step))
        store.commit(folder, TrainState(step=step, end_ticket=8 * step, seconds=1.0))
    return tmp_path


def steps(run: Path) -> list[int]:
    return [row["step"] for row in rows(run)]


def heartbeat(run: Path, *, seconds_ago: float, phase: str = "training") -> None:
    at_us = int((time.time() - seconds_ago) * 1e6)
    (run / "state.json").write_text(json.dumps({"phase": phase, "heartbeat_us": at_us}))


def test_a_list_says_step_size_and_which_is_the_latest(run: Path):
    found = rows(run)

    assert [(row["step"], row["bytes"], row["end_ticket"]) for row in found] == [
        (2, 2, 16),
        (4, 4, 32),
        (6, 6, 48),
    ]
    assert [row["is_latest"] for row in found] == [False, False, True]
    assert "tickets below 48  LATEST" in list(lines(found))[-1]
    (run / "checkpoints/step-000004/manifest.json").write_text("{")
    assert "tickets below ?" in list(lines(rows(run)))[1]


def test_every_checkpoint_or_one_is_verified(run: Path):
    (run / "checkpoints/step-000004/shard").write_bytes(bytes(5))

    assert dict(verify(run, None)) == {
        "step-000002": None,
        "step-000004": "shard has changed",
        "step-000006": None,
    }
    assert dict(verify(run, 6)) == {"step-000006": None}
    with pytest.raises(UserError, match=r"no checkpoint of step 5; laconic ckpt list"):
        list(verify(run, 5))


def test_the_newest_whole_ones_stay(run: Path):
    assert [folder.name for folder in prune(run, 2)] == ["step-000002"]
    assert steps(run) == [4, 6]
    assert (run / "checkpoints/LATEST").read_text() == "step-000006"


def test_a_damaged_one_does_not_count_and_the_last_whole_one_stays(run: Path):
    for step in (4, 6):
        (run / f"checkpoints/step-00000{step}/shard").write_bytes(bytes(1))

    assert prune(run, 1) == []
    assert steps(run) == [2, 4, 6]


@pytest.mark.parametrize(
    ("seconds_ago", "phase", "is_refused"),
    [(1, "training", True), (9, "starting", True), (11, "training", False), (1, "finished", False)],
)
def test_nothing_is_removed_under_a_run_that_goes_on(
    run: Path, seconds_ago: float, phase: str, is_refused: bool
):
    heartbeat(run, seconds_ago=seconds_ago, phase=phase)

    if is_refused:
        with pytest.raises(UserError, match="is going on"):
            prune(run, 1)
    else:
        assert len(prune(run, 1)) == 2


def test_bad_input_is_one_line(run: Path):
    with pytest.raises(UserError, match="--keep 0 would leave nothing"):
        prune(run, 0)
    for ask in (rows, lambda folder: prune(folder, 1)):
        with pytest.raises(UserError, match="holds no run with checkpoints"):
            ask(run / "nowhere")


def test_the_commands_print_and_fail_as_they_say(run: Path, laconic: Laconic):
    listed = json.loads(laconic("ckpt", "list", str(run), "--json").stdout)
    assert [row["step"] for row in listed] == [2, 4, 6]
    removed = laconic("ckpt", "prune", str(run), "--keep", "2")
    assert removed.stdout == f"removed {run / 'checkpoints/step-000002'}\n"
    whole = laconic("ckpt", "verify", str(run))
    assert whole.stdout == "step-000004 is whole\nstep-000006 is whole\n"
    (run / "checkpoints/step-000006/shard").write_bytes(bytes(1))
    damaged = laconic("ckpt", "verify", str(run))
    assert damaged.code == 1
    assert damaged.stderr == "laconic: step-000006 is damaged: shard has changed\n"
    assert laconic("ckpt", "verify", str(run), "3").code == 2
