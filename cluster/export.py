"""A checkpoint's plain model folder, copied out whole."""

import json
import os
import shutil
from pathlib import Path

from cluster.checkpoint import CheckpointStore, check, read
from configs.errors import UserError
from configs.run_files import GUARDRAIL


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
    """A run directory's newest whole checkpoint, or the checkpoint itself. Of a run with a
    guardrail it is the newest whose weights were found good."""
    if (source / "manifest.json").is_file():
        problem = check(source)
        if problem is not None:
            raise UserError(f"checkpoint {source} is damaged: {problem}")
        return read(source).path
    if not (source / "checkpoints").is_dir():
        raise UserError(f"{source} is neither a run directory nor a checkpoint")
    good = good_versions(source)
    checkpoint, _ = CheckpointStore(source / "checkpoints", keep=2).newest(good)
    if checkpoint is None:
        which = "" if good is None else f" of a version that its guardrail found good ({GUARDRAIL})"
        raise UserError(f"{source} has no whole checkpoint{which} yet")
    return checkpoint.path


def good_versions(run_dir: Path) -> list[int] | None:
    """Those that the run's guardrail found good; None: it has none."""
    try:
        return json.loads((run_dir / GUARDRAIL).read_text())["good"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run_dir / GUARDRAIL} is damaged; name one of the run's checkpoints instead"
        ) from error
