"""``laconic ckpt``: the checkpoints of a run, for whoever has to look after them."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.check_recorded import is_alive
from cluster.checkpoint import MANIFEST, CheckpointStore, check, latest, size_of, state_of, step_of
from cluster.mirror import address, copy, require_mirror
from configs.errors import UserError
from configs.run_files import STATE


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """What the manifests say, the oldest first; nothing is verified."""
    newest = latest(run_dir / "checkpoints")
    return [
        {
            "step": step_of(folder),
            "bytes": size_of(folder),
            "at": (folder / MANIFEST).stat().st_mtime,
            "is_latest": folder.name == newest,
            "path": str(folder),
            **_state(folder),
        }
        for folder in _store(run_dir).folders()
    ]


def lines(found: list[dict[str, Any]]) -> Iterator[str]:
    for row in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["at"]))
        size = f"{row['bytes'] / 2**20:.1f} MiB"
        ticket = row.get("end_ticket", "?")
        mark = "  LATEST" if row["is_latest"] else ""
        yield f"step {row['step']:<7} {size:>12}  {at}  tickets below {ticket}{mark}"
    if not found:
        yield "no checkpoint yet"


def verify(run_dir: Path, step: int | None) -> Iterator[tuple[str, str | None]]:
    """Of every checkpoint, or that of ``step``, what is wrong with it; None when it is whole."""
    folders = [f for f in _store(run_dir).folders() if step in (None, step_of(f))]
    if not folders:
        wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise UserError(f"{run_dir} has {wanted}; laconic ckpt list {run_dir} shows those it has")
    for folder in folders:
        yield folder.name, check(folder)


def prune(run_dir: Path, keep: int) -> list[Path]:
    """Remove all that are older than the newest ``keep`` whole ones; returns what went."""
    if keep < 1:
        raise UserError(f"--keep {keep} would leave nothing to go on from; give at least 1")
    store = _store(run_dir)
    _require_no_run(run_dir)
    folders = store.folders()
    whole = 0
    for place in reversed(range(len(folders))):
        whole += check(folders[place]) is None
        if whole == keep:
            store.remove(folders[:place])
            return folders[:place]
    return []


def mirror(run_dir: Path, url: str) -> str:
    """Copy it, once; what became of that."""
    store = _store(run_dir)
    if not store.folders():
        raise UserError(f"{run_dir} has no checkpoint yet")
    require_mirror(url, run_dir)
    copied = copy(run_dir, url)
    where = address(url, run_dir)
    return f"step {copied.step} is at {where}: {copied.num_bytes / 2**20:.1f} MiB were new"


def _store(run_dir: Path) -> CheckpointStore:
    if not (run_dir / "checkpoints").is_dir():
        raise UserError(f"{run_dir} holds no run with checkpoints; give the folder of a run")
    return CheckpointStore(run_dir / "checkpoints", keep=2)


def _state(folder: Path) -> dict[str, Any]:
    try:
        return asdict(state_of(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _require_no_run(run_dir: Path) -> None:
    try:
        state = json.loads((run_dir / STATE).read_text())
    except (OSError, ValueError):
        return
    if is_alive(state):
        raise UserError(
            f"the run in {run_dir} is going on and looks after its checkpoints itself; stop it "
            "first, or set checkpoint.keep and checkpoint.max_gib"
        )
