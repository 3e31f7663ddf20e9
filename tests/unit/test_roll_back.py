"""What the driver does when the learner has to go back; only the actors are fakes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.checkpoint import CheckpointStore, TrainState
from cluster.train import Run
from configs.errors import UserError
from configs.load import load


class Actor:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def load(self, path: Path) -> None:
        self.told.append(path.name)

    async def event(self, kind: str, **fields: Any) -> None:
        self.told.append((kind, fields))

    def note(self, line: str) -> None:
        self.told.append(line)


class World:
    def __init__(self, folder: Path, checkpoints: tuple[int, ...]) -> None:
        self.learner, self.recorder, self.display = Actor(), Actor(), Actor()
        self.store = CheckpointStore(folder, keep=2)
        for step in checkpoints:
            begun = self.store.begin(step)
            (begun / "weights").write_text(f"of step {step}")
            self.store.commit(begun, TrainState(step=step, end_ticket=step, seconds=0.0))
        actors: Any = SimpleNamespace(
            learner=self.learner,
            recorder=self.recorder,
            queue=None,
            staff=None,
            generators=(),
            judges=None,
        )
        job: Any = SimpleNamespace(
            config=load("tiny", ["data.heldout=null"]),
            run_dir=SimpleNamespace(path=folder, checkpoints=folder, is_resumed=False),
            display=self.display,
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
