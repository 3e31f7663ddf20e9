"""Checkpoints are whole or absent, and the newest whole one is found."""

import shutil
from pathlib import Path

import pytest

from cluster.checkpoint import LATEST, CheckpointStore, TrainState, check
from cluster.export import export_model
from configs.errors import UserError


def commit(store: CheckpointStore, step: int, content: str = "weights") -> Path:
    folder = store.begin(step)
    (folder / "model").mkdir()
    (folder / "model" / "a.safetensors").write_text(f"{content} {step}")
    (folder / "learner").mkdir()
    (folder / "learner" / "shard").write_bytes(bytes(1000))
    return store.commit(folder, TrainState(step=step, end_ticket=4 * step, seconds=1.5)).path


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep=2)


def test_the_newest_is_found_with_its_state(store: CheckpointStore, tmp_path: Path):
    for step in (9, 10, 11):
        commit(store, step)

    newest, complaints = store.newest()

    assert newest is not None
    assert newest.state == TrainState(step=11, end_ticket=44, seconds=1.5)
    assert complaints == []
    assert (tmp_path / "checkpoints" / LATEST).read_text() == "step-000011"


def test_only_the_newest_are_kept_and_the_oldest_of_them_is_known(
    store: CheckpointStore, tmp_path: Path
):
    for step in (1, 2, 3):
        commit(store, step)

    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [LATEST, "step-000002", "step-000003"]
    assert store.oldest_ticket() == 8


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest", "no manifest"])
def test_a_damaged_one_is_passed_over_and_named(store: CheckpointStore, damage: str):
    commit(store, 1)
    newest = commit(store, 2)
    file = newest / "model" / "a.safetensors"
    match damage:
        case "flip":
            file.write_text("wEights 2")
        case "truncate":
            file.write_text("weights")
        case "remove":
            file.unlink()
        case "manifest":
            (newest / "manifest.json").write_text("{")
        case "no manifest":
            (newest / "manifest.json").unlink()

    found, complaints = store.newest()

    assert found is not None
    assert found.state.step == 1
    assert damage == "no manifest" or "step-000002 is damaged" in complaints[0]


def test_a_crash_before_the_rename_leaves_nothing_behind(store: CheckpointStore, tmp_path: Path):
    commit(store, 1)
    unfinished = store.begin(2)
    (unfinished / "shard").write_text("half")

    assert store.newest()[0].state.step == 1  # type: ignore[union-attr]
    assert list(store.begin(2).iterdir()) == []


def test_a_step_taken_again_replaces_its_checkpoint(store: CheckpointStore):
    commit(store, 1, "old")

    path = commit(store, 1, "new")

    assert (path / "model" / "a.safetensors").read_text() == "new 1"
    assert check(path) is None


def test_damaged_checkpoints_of_later_steps_are_discarded(store: CheckpointStore, tmp_path: Path):
    commit(store, 1)
    shutil.rmtree(commit(store, 2) / "model")

    store.discard_after(1)

    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("step*")) == ["step-000001"]


def test_export_copies_the_newest_whole_model(store: CheckpointStore, tmp_path: Path):
    commit(store, 1)
    (commit(store, 2) / "model" / "a.safetensors").write_text("torn")

    came_from = export_model(tmp_path, tmp_path / "out")

    assert came_from.name == "step-000001"
    assert (tmp_path / "out" / "a.safetensors").read_text() == "weights 1"
    with pytest.raises(UserError, match="exists"):
        export_model(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="neither a run directory nor a checkpoint"):
        export_model(tmp_path / "nowhere", tmp_path / "other")
