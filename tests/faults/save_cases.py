"""What ``test_checkpoints`` runs in a process of its own: a learner that is killed while it saves.

Each save happens in a child that is forked for it, so nothing has to start again:
``python -m tests.faults.save_cases FOLDER``.
"""

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import xxhash
from safetensors.torch import load_file
from torch import Tensor

from cluster.checkpoint import CheckpointStore, TrainState
from configs import failpoints
from learner import checkpoint
from learner.publish import tensor_bytes
from learner.trainer import LearnerRank
from tests.integration.learner_cases import Queue, configuration, lease

NUM_KILLS, SEED = 20, 7

NUM_FILES = 6
"""Three of state, the progress of the rank, the weights of the model, and what lies beside them."""

BEFORE = [
    *(f"learner.saving=kill@{number}" for number in range(1, NUM_FILES + 1)),
    "learner.saved=kill",
    "checkpoint.manifest=kill",
    "checkpoint.rename=kill",
]
"""Where the checkpoint is not there yet."""

AFTER = ["checkpoint.latest=kill", "checkpoint.prune=kill"]


def kills() -> list[str]:
    """Each point once, then some again; in an order of chance."""
    dice = random.Random(SEED)
    points = BEFORE + AFTER
    chosen = points + dice.choices(points, k=NUM_KILLS - len(points))
    dice.shuffle(chosen)
    return chosen


class Cases:
    def __init__(self, folder: Path) -> None:
        self.store = CheckpointStore(folder / "checkpoints", keep=2)
        self.folder = folder
        self.loop = asyncio.Runner()
        self.learner = LearnerRank(0, configuration(1, "1"), Queue(), str(folder / "model"))
        address = self.loop.run(self.learner.address())
        self.loop.run(self.learner.start(address, "cpu", NUM_KILLS))
        self.known: dict[int, str] = {}
        """By step, what the learner held after it."""

    def run(self) -> dict[str, Any]:
        first = self.killed(0, "")
        rows = [self.killed(step, spec) for step, spec in enumerate(kills(), start=1)]
        last = self.killed(NUM_KILLS + 1, "")
        return {"whole": [first, last], "killed": rows}

    def killed(self, step: int, spec: str) -> dict[str, Any]:
        """One step, a save of it in a child, and what is left of that."""
        before = self.newest_step()
        self.loop.run(self.learner.step(lease(step)))
        self.known[step] = self.held()
        status = self.in_child(step, spec)
        newest, complaints = self.store.newest()
        assert newest is not None
        self.loop.run(self.learner.load(str(newest.path)))
        return {
            "spec": spec,
            "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
            "before": before,
            "step": step,
            "newest": newest.state.step,
            "complaints": complaints,
            "on disk": digest(files_of(newest.path)) == self.known[newest.state.step],
            "loaded": self.held() == self.known[newest.state.step],
            "left over": len(list((self.folder / "checkpoints").glob("*.tmp*"))),
        }

    def newest_step(self) -> int | None:
        newest, _ = self.store.newest()
        return None if newest is None else newest.state.step

    def held(self) -> str:
        """Of what the learner would save now."""
        files = self.learner._state.snapshot(self.learner._num_applied).files
        return digest({n: t for name in files if "/state-" in name for n, t in files[name].items()})

    def in_child(self, step: int, spec: str) -> int:
        child = os.fork()
        if child == 0:
            self.save_and_exit(step, spec)
        return os.waitpid(child, 0)[1]

    def save_and_exit(self, step: int, spec: str) -> None:
        try:
            os.environ[failpoints.SPECS] = spec
            asyncio.run(self.save(step))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    async def save(self, step: int) -> None:
        folder = self.store.begin(step)
        await self.learner.save(str(folder))
        await self.learner.saved()
        self.store.commit(folder, TrainState(step=step, end_ticket=step, seconds=0.0))


def files_of(path: Path) -> dict[str, Tensor]:
    files = (path / "learner").glob("state-*.safetensors")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def digest(tensors: dict[str, Tensor]) -> str:
    result = xxhash.xxh3_128()
    for name in sorted(tensors):
        result.update(name.encode())
        result.update(tensor_bytes(tensors[name]))
    return result.hexdigest()


def main() -> None:
    folder = Path(sys.argv[1])
    with mock.patch.object(checkpoint, "BUCKET_ELEMENTS", 30_000):
        results = Cases(folder).run()
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
