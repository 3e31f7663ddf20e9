"""What the driver keeps in a checkpoint, and what it does when the learner has to go back; only the
actors are fakes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.checkpoint import CURRICULUM, MANIFEST, CheckpointStore, TrainState
from cluster.train import Run
from configs.errors import UserError
from configs.load import load
from tests.groups import ACCEPTED, WRONG, group

pytestmark = pytest.mark.row(22)


class Actor:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.saving = Path()

    async def save(self, folder: Path) -> None:
        self.saving = folder

    async def saved(self) -> None:
        (self.saving / "weights").write_text("made")

    async def commit(self, step: int, oldest_ticket: int) -> None:
        self.told.append((step, oldest_ticket))

    async def load(self, path: Path) -> None:
        self.told.append(path.name)

    async def event(self, kind: str, **fields: Any) -> None:
        self.told.append((kind, fields))

    def note(self, line: str) -> None:
        self.told.append(line)


class World:
    def __init__(self, folder: Path, checkpoints: tuple[int, ...], *settings: str) -> None:
        self.learner, self.recorder, self.display, self.queue = (Actor() for _ in range(4))
        self.store = CheckpointStore(folder, keep=2)
        for step in checkpoints:
            begun = self.store.begin(step)
            (begun / "weights").write_text(f"of step {step}")
            self.store.commit(begun, TrainState(step=step, end_ticket=step, seconds=0.0))
        actors: Any = SimpleNamespace(
            learner=self.learner,
            recorder=self.recorder,
            queue=self.queue,
            staff=None,
            generators=(),
            judges=None,
        )
        job: Any = SimpleNamespace(
            config=load("tiny", ["data.heldout=null", *settings]),
            run_dir=SimpleNamespace(path=folder, checkpoints=folder, is_resumed=False),
            display=self.display,
            prepared=SimpleNamespace(source=None),
        )
        self.run: Any = Run(job, actors, tracker=None)  # pyright: ignore[reportArgumentType]


async def test_the_newest_checkpoint_is_loaded_and_that_is_said_and_recorded(tmp_path: Path):
    world = World(tmp_path, checkpoints=(2, 4))

    await world.run._roll_back(7)

    assert world.learner.told == ["step-000004"]
    assert world.recorder.told == [("rolled_back", {"step": 7, "to": 4})]
    [line] = world.display.told
    assert line == (
        "step 7: 3 optimizer steps in a row were not finite; going on from the weights of step 4"
    )


async def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path):
    world = World(tmp_path, checkpoints=(2, 4))
    (tmp_path / "step-000004/weights").write_text("something else")

    await world.run._roll_back(7)

    assert world.learner.told == ["step-000002"]
    assert "step-000004 is damaged" in world.display.told[0]


async def test_without_a_checkpoint_the_run_ends_with_one_line(tmp_path: Path):
    world = World(tmp_path, checkpoints=())

    with pytest.raises(UserError, match=r"3 optimizer steps in a row.*no checkpoint") as failure:
        await world.run._roll_back(7)

    assert "\n" not in str(failure.value)
    assert world.learner.told == []


async def test_a_checkpoint_holds_what_the_curriculum_knows_and_its_manifest_says_so(
    tmp_path: Path,
):
    world = World(tmp_path, checkpoints=())
    curriculum = world.run._curriculum
    curriculum.learn([group(0, "p", [ACCEPTED, WRONG]), group(1, "q", [WRONG])])

    assert await (await world.run._checkpoint(1, 2))

    checkpoint, complaints = world.store.newest()
    assert (checkpoint is not None, complaints) == (True, [])
    assert checkpoint is not None
    assert json.loads(checkpoint.curriculum.read_text()) == curriculum.state()
    assert CURRICULUM in json.loads((checkpoint.path / MANIFEST).read_text())["files"]
    assert world.queue.told == [(1, 2)]
    checkpoint.curriculum.write_text("{}")
    assert "curriculum.json has changed" in world.store.newest()[1][0]


async def test_a_checkpoint_that_cannot_be_written_is_said_and_the_fourth_in_a_row_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def at_once(seconds: float) -> None: ...

    monkeypatch.setattr("cluster.train.asyncio.sleep", at_once)
    world = World(tmp_path, checkpoints=(2,))
    write = world.learner.saved

    async def full() -> None:
        raise OSError(28, "No space left on device")

    world.learner.saved = full  # pyright: ignore[reportAttributeAccessIssue]
    for step in (3, 4, 5):
        assert not await (await world.run._checkpoint(step, 2 * step))
    kinds = [kind for kind, _ in world.recorder.told]
    assert kinds == ["checkpoint_failed"] * 3
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["step-000002"]

    with pytest.raises(UserError, match=r"4 checkpoints in a row.*No space left.*--resume"):
        await (await world.run._checkpoint(6, 12))
    world.learner.saved = write  # pyright: ignore[reportAttributeAccessIssue]
    assert await (await world.run._checkpoint(7, 14))
    newest, _ = world.store.newest()
    assert newest is not None and newest.state.step == 7


async def test_a_learner_that_hangs_while_it_saves_is_not_a_full_disk(tmp_path: Path):
    world = World(tmp_path, checkpoints=())

    async def hangs(folder: Path) -> None:
        raise TimeoutError("waited 1800 s for the learner to save version 3")

    world.learner.save = hangs  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TimeoutError, match="to save version 3"):
        await world.run._checkpoint(3, 6)
