"""Checkpoints are whole or absent, and the newest whole one is found."""

import errno
import math
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import checkpoint
from cluster.checkpoint import LATEST, CheckpointStore, NoRoom, TrainState, check, step_of
from cluster.export import export_model
from configs import failpoints
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


def steps(store: CheckpointStore) -> list[int]:
    return [step_of(folder) for folder in store.folders()]


def kept_after(folder: Path, *, until: int, **settings: float) -> list[int]:
    store = CheckpointStore(folder, keep=2, **settings)  # type: ignore[arg-type]
    for step in range(1, until + 1):
        commit(store, step)
    return steps(store)


def test_those_of_every_so_many_steps_are_kept_for_good(tmp_path: Path):
    assert kept_after(tmp_path, until=10, keep_every=3) == [3, 6, 9, 10]


def test_those_kept_for_good_make_room_the_oldest_first_and_the_newest_stay(tmp_path: Path):
    commit(CheckpointStore(tmp_path / "one", keep=2), 1)
    size = checkpoint.size_of(tmp_path / "one" / "step-000001")

    enough_for_three = 3.5 * size / 2**30
    assert kept_after(tmp_path / "a", until=8, keep_every=2, max_gib=enough_for_three) == [6, 7, 8]
    too_little = 0.5 * size / 2**30
    assert kept_after(tmp_path / "b", until=8, keep_every=2, max_gib=too_little) == [7, 8]


def test_groups_that_a_kept_checkpoint_may_ask_for_are_not_forgotten(tmp_path: Path):
    kept_after(tmp_path, until=7, keep_every=3)

    assert CheckpointStore(tmp_path, keep=2).oldest_ticket() == 4 * 3


def test_two_saves_at_a_time_leave_each_other_alone(store: CheckpointStore, tmp_path: Path):
    slow, quick = store.begin(4), store.begin(5)
    (slow / "shard").write_text("of 4")
    (quick / "shard").write_text("of 5")

    store.commit(quick, TrainState(step=5, end_ticket=5, seconds=0.0))
    third = store.begin(6)
    store.commit(slow, TrainState(step=4, end_ticket=4, seconds=0.0))

    assert steps(store) == [4, 5]
    assert third.is_dir()
    assert (tmp_path / "checkpoints" / LATEST).read_text() == "step-000005"


def test_a_save_that_was_given_up_while_it_was_committed_never_becomes_a_checkpoint(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
):
    """The learner died, and its steps after 3 are taken again; a thread is still writing step 4."""
    commit(store, 3)
    folder = store.begin(4)
    (folder / "shard").write_text("of a step that was taken back")
    monkeypatch.setattr(
        checkpoint, "failpoint", lambda name: name == POINTS[1] and store.discard_after(3)
    )

    with pytest.raises(OSError, match="step 4 was given up while it was written"):
        store.commit(folder, TrainState(step=4, end_ticket=4, seconds=0.0))

    assert steps(store) == [3]
    assert not folder.exists()


def test_what_a_crash_left_behind_goes_and_with_it_saves_that_were_given_up(
    store: CheckpointStore, tmp_path: Path
):
    crashed = CheckpointStore(tmp_path / "checkpoints", keep=2).begin(3)
    given_up, live = store.begin(7), store.begin(8)
    store.abandon(given_up)

    again = store.begin(7)

    assert not crashed.exists()
    assert not given_up.exists()
    assert live.is_dir()
    assert again.is_dir()


def test_a_disk_without_room_is_said_before_anything_is_written(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    size = checkpoint.size_of(commit(store, 1))
    free = SimpleNamespace(free=math.ceil(1.5 * size) - 1)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: free)
    before = sorted((tmp_path / "checkpoints").iterdir())

    with pytest.raises(NoRoom, match=r"free some, or lower checkpoint\.keep") as failure:
        store.begin(2)

    assert failure.value.errno == errno.ENOSPC
    assert sorted((tmp_path / "checkpoints").iterdir()) == before
    free.free += 1
    commit(store, 2)


POINTS = ["checkpoint.manifest", "checkpoint.rename", "checkpoint.latest", "checkpoint.prune"]


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch):
    def at(spec: str) -> None:
        monkeypatch.setenv(failpoints.SPECS, spec)
        failpoints._faults.cache_clear()

    yield at
    failpoints._faults.cache_clear()


@pytest.mark.parametrize("point", POINTS)
def test_a_disk_that_fails_at_any_place_leaves_whole_checkpoints_and_the_save_can_be_repeated(
    store: CheckpointStore, tmp_path: Path, fail_at, point: str
):
    for step in (1, 2):
        commit(store, step)
    fail_at(f"{point}=enospc")

    with pytest.raises(OSError, match="No space left"):
        commit(store, 3)

    newest, complaints = store.newest()
    assert newest is not None
    assert (newest.state.step in (2, 3), complaints) == (True, [])
    assert (tmp_path / "checkpoints" / (tmp_path / "checkpoints" / LATEST).read_text()).is_dir()
    commit(store, 3)
    assert steps(store) == [2, 3]
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {LATEST, "step-000002", "step-000003"}


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_dies_at_any_place_leaves_whole_checkpoints(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
):
    """As a kill would, without the clean-up that an error gets."""

    class Killed(BaseException): ...

    def die(name: str) -> None:
        if name == point:
            raise Killed

    for step in (1, 2):
        commit(store, step)
    monkeypatch.setattr(checkpoint, "failpoint", die)
    with pytest.raises(Killed):
        commit(store, 3)
    monkeypatch.undo()

    restarted = CheckpointStore(tmp_path / "checkpoints", keep=2)
    newest, complaints = restarted.newest()
    assert newest is not None
    assert newest.state.step == (2 if point in POINTS[:2] else 3)
    assert complaints == []
    assert (tmp_path / "checkpoints" / (tmp_path / "checkpoints" / LATEST).read_text()).is_dir()
    commit(restarted, 4)
    assert steps(restarted) == [newest.state.step, 4]
    assert not list((tmp_path / "checkpoints").glob("*.tmp*"))


def test_a_folder_that_is_not_committed_is_no_checkpoint_whatever_its_name_ends_with(
    store: CheckpointStore, tmp_path: Path
):
    commit(store, 1)
    shutil.copytree(
        tmp_path / "checkpoints/step-000001", tmp_path / "checkpoints/step-000002.tmp-1234567890ab"
    )

    assert steps(store) == [1]


def test_latest_never_names_a_checkpoint_that_was_discarded(store: CheckpointStore, tmp_path: Path):
    commit(store, 1)
    shutil.rmtree(commit(store, 2) / "model")

    store.discard_after(1)
    assert (tmp_path / "checkpoints" / LATEST).read_text() == "step-000001"

    store.discard_after(0)
    assert not (tmp_path / "checkpoints" / LATEST).exists()


def test_nobody_else_can_read_a_checkpoint(store: CheckpointStore, tmp_path: Path):
    folder = commit(store, 1)

    for path in (folder, folder.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_checkpoint_that_everybody_may_write_is_not_loaded(store: CheckpointStore):
    commit(store, 1).chmod(0o707)

    with pytest.raises(UserError, match=r"everybody may write to .*chmod -R o-w") as refusal:
        store.newest()

    assert "\n" not in str(refusal.value)


def test_a_checkpoint_of_another_user_is_not_loaded(
    store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = commit(store, 1)
    owned_by = {"me": os.geteuid(), "root": 0, "somebody": 4321}
    real = folder.stat()

    def owned(who: str) -> None:
        values = [*real[:4], owned_by[who], *real[5:]]
        monkeypatch.setattr(type(folder), "stat", lambda *_, **__: os.stat_result(values))

    for who in ("me", "root"):
        owned(who)
        checkpoint._require_trusted(folder)
    owned("somebody")
    with pytest.raises(UserError, match=r"belongs to user 4321.*chown -R"):
        checkpoint._require_trusted(folder)
