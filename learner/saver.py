"""Files of a checkpoint, written by a thread while training goes on."""

import asyncio
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from configs.failpoints import failpoint
from learner.publish import copy_model_files, write_tensors
from verifiers.durable import sync

logger = logging.getLogger(__name__)

LEARNER, MODEL = "learner", "model"
"""The two folders of a checkpoint that are the learner's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What a plain Hugging Face folder has beside the weights."""

    config: PreTrainedConfig
    source: Path
    """The starting model: tokenizer, chat template and the like are taken from there."""
    index: dict[str, Any] | None
    """Which file has which weight. None: there is one file."""

    def write(self, folder: Path) -> None:
        copy_model_files(self.source, folder)
        self.config.save_pretrained(folder)
        if self.index is not None:
            path = folder / "model.safetensors.index.json"
            path.write_text(json.dumps(self.index, indent=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One rank's share of a checkpoint, in host memory: nothing changes it any more."""

    files: dict[str, dict[str, Tensor]]
    """By the path inside the checkpoint."""
    model: ModelFiles | None
    """Rank 0's."""


class Saver:
    """One snapshot is written at a time."""

    def __init__(self) -> None:
        self._writing: Future[None] | None = None

    def start(self, snapshot: Snapshot, root: Path) -> None:
        assert self._writing is None, "another snapshot is being written"
        thread = ThreadPoolExecutor(1, "checkpoint writer")
        self._writing = thread.submit(write, snapshot, root)
        thread.shutdown(wait=False)

    async def finish(self) -> None:
        """Wait for the files; raises what went wrong, and then another snapshot may be written."""
        writing = self._writing
        if writing is None:
            return
        try:
            await asyncio.shield(asyncio.wrap_future(writing))  # whoever waits may give up
        finally:
            if writing.done() and self._writing is writing:
                self._writing = None

    async def idle(self) -> None:
        """Wait until nothing is written. A failure that nobody asked for is told to the log alone:
        the other ranks know nothing of it and go on to a collective."""
        try:
            await self.finish()
        except Exception:
            logger.exception("a checkpoint could not be written")


def write(snapshot: Snapshot, root: Path) -> None:
    """Fill the folder. Memory is given back file by file, and all of it when one fails."""
    try:
        for folder in (LEARNER, MODEL):
            (root / folder).mkdir(exist_ok=True)  # another rank may have been quicker
        for name in list(snapshot.files):
            failpoint("learner.saving")
            write_tensors(root / name, snapshot.files.pop(name))
        if snapshot.model is not None:
            failpoint("learner.saving")
            snapshot.model.write(root / MODEL)
        for folder in (LEARNER, MODEL):
            sync(root / folder)
    finally:
        snapshot.files.clear()
