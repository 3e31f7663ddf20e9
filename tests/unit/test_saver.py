"""Checkpoint files on their way to disk, without a learner."""

import asyncio
import errno
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs.load import load
from learner import saver
from learner.saver import Saver, Snapshot
from learner.trainer import LearnerRank


def snapshot_of(**tensors: torch.Tensor) -> Snapshot:
    files = {f"learner/{name}.safetensors": {name: tensor} for name, tensor in tensors.items()}
    return Snapshot(files=files, model=None)


async def test_every_type_that_is_kept_is_read_back_to_the_bit(tmp_path: Path):
    tensors = {
        "half": torch.tensor([[1.5, -0.0]], dtype=torch.bfloat16),
        "master": torch.tensor([1e-40, float("inf")]),
        "step": torch.tensor(3.0),
        "num_applied": torch.tensor(7),
        "rng": torch.get_rng_state(),
    }
    writing = Saver()

    writing.start(snapshot_of(**tensors), tmp_path)
    await writing.finish()

    for name, tensor in tensors.items():
        read = load_file(tmp_path / f"learner/{name}.safetensors")[name]
        assert (read.dtype, read.shape) == (tensor.dtype, tensor.shape)
        assert read.view(-1).view(torch.uint8).equal(tensor.view(-1).view(torch.uint8))


async def test_a_failure_is_told_once_and_gives_the_memory_back(tmp_path: Path, monkeypatch):
    def full(_: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(saver, "failpoint", full)
    snapshot, writing = snapshot_of(a=torch.ones(2), b=torch.ones(2)), Saver()
    writing.start(snapshot, tmp_path)

    with pytest.raises(OSError, match="full"):
        await writing.finish()

    await writing.finish()
    assert snapshot.files == {}
    monkeypatch.undo()
    writing.start(snapshot_of(a=torch.ones(2)), tmp_path)
    await writing.finish()


async def test_who_gives_up_waiting_does_not_stop_the_writing(tmp_path: Path, monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr(saver, "failpoint", lambda _: opened.wait(10))
    writing = Saver()
    writing.start(snapshot_of(a=torch.ones(2)), tmp_path)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await writing.finish()
    opened.set()
    await writing.finish()

    assert (tmp_path / "learner/a.safetensors").exists()


class State:
    """In place of what a learner holds."""

    def snapshot(self, num_applied: int) -> Snapshot:
        return snapshot_of(num_applied=torch.tensor(num_applied))


def rank(*settings: str) -> Any:
    learner: Any = LearnerRank(0, load("tiny", list(settings)), None, "model")  # pyright: ignore[reportArgumentType]
    learner._state = State()
    return learner


@pytest.mark.parametrize("background", [True, False])
async def test_a_save_returns_before_or_after_its_files_are_there(
    tmp_path: Path, monkeypatch, background: bool
):
    opened = threading.Event()
    monkeypatch.setattr(saver, "failpoint", lambda _: opened.wait(10))
    learner = rank(f"checkpoint.background={str(background).lower()}")

    saving = asyncio.create_task(learner.save(str(tmp_path)))
    await asyncio.sleep(0.05)

    assert saving.done() == background
    opened.set()
    await saving
    assert (tmp_path / "learner/num_applied.safetensors").exists() or background
    await learner.saved()
    assert (tmp_path / "learner/num_applied.safetensors").exists()


async def test_a_save_waits_for_the_one_before_and_survives_its_failure(
    tmp_path: Path, monkeypatch, caplog
):
    opened, failures = threading.Event(), iter([OSError(errno.ENOSPC, "full")])

    def first_fails(_: str) -> None:
        opened.wait(10)
        for failure in failures:
            raise failure

    monkeypatch.setattr(saver, "failpoint", first_fails)
    learner = rank()
    await learner.save(str(tmp_path))

    second = asyncio.create_task(learner.save(str(tmp_path)))
    await asyncio.sleep(0.05)
    assert not second.done()
    opened.set()
    await second
    await learner.saved()

    assert (tmp_path / "learner/num_applied.safetensors").exists()
    assert "a checkpoint could not be written" in caplog.text
