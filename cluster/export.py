"""A checkpoint's plain model folder, copied out whole."""

import os
import shutil
from pathlib import Path

from cluster.checkpoint import CheckpointStore, check, read
from configs.errors import UserError


def export_model(source: Path, target: Path) -> Path:
    """Copy the newest whole checkpoint's ``model/`` to ``target``; returns the checkpoint."""
    checkpoint = find_checkpoint(source)
    if target.exists():
        raise UserError(f"{target} exists; name a folder that does not")
    temporary = target.with_name(f"{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(checkpoint / "model", temporary)
    os.rename(temporary, target)
    return checkpoint


def find_checkpoint(source: Path) -> Path:
    """A run directory's newest whole checkpoint, or the checkpoint itself."""
    if (source / "manifest.json").is_file():
        problem = check(source)
        if problem is not None:
            raise UserError(f"checkpoint {source} is damaged: {problem}")
        return read(source).path
    if not (source / "checkpoints").is_dir():
        raise UserError(f"{source} is neither a run directory nor a checkpoint")
    checkpoint, _ = CheckpointStore(source / "checkpoints", keep=2).newest()
    if checkpoint is None:
        raise UserError(f"{source} has no whole checkpoint yet")
    return checkpoint.path
