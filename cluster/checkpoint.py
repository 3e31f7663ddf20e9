"""Checkpoints as transactions: whole and verified, or not there at all."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

MANIFEST = "manifest.json"
LATEST = "LATEST"
CURRICULUM = "curriculum.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """What a checkpoint says beside the learner's own files."""

    step: int
    """Optimizer steps taken: the version of the weights."""
    end_ticket: int
    """First ticket that is not trained in these weights, and of which the curriculum knows
    nothing."""
    seconds: float
    """Wall time of the run until here, over all its processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    path: Path
    state: TrainState

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def curriculum(self) -> Path:
        return self.path / CURRICULUM


class CheckpointStore:
    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep

    def begin(self, step: int) -> Path:
        """An empty folder for the learner's files; what an earlier crash left behind is removed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob("*.tmp"):
            shutil.rmtree(leftover)
        folder = self._directory / f"{_name(step)}.tmp"
        folder.mkdir()
        return folder

    def commit(self, folder: Path, state: TrainState) -> Checkpoint:
        """Files to disk, manifest last, then one rename: from there on the checkpoint exists."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in files:
            _sync(path)
        manifest = {
            "state": asdict(state),
            "files": {str(p.relative_to(folder)): [p.stat().st_size, _digest(p)] for p in files},
        }
        _write_durably(folder / MANIFEST, json.dumps(manifest, indent=1))
        final = self._directory / _name(state.step)
        if final.exists():  # of steps that a resume from an older checkpoint took back
            shutil.rmtree(final)
        os.rename(folder, final)
        _sync(self._directory)
        _write_durably(self._directory / f"{LATEST}.new", final.name)
        os.replace(self._directory / f"{LATEST}.new", self._directory / LATEST)
        self._prune()
        return Checkpoint(path=final, state=state)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is as its manifest says, and what was passed over."""
        complaints = []
        for folder in reversed(self._folders()):
            problem = check(folder)
            if problem is None:
                return read(folder), complaints
            complaints.append(
                f"checkpoint {folder.name} is damaged ({problem}); trying an older one"
            )
        return None, complaints

    def oldest_ticket(self) -> int:
        """Groups from here on may still be asked for again."""
        return min((read(folder).state.end_ticket for folder in self._folders()), default=0)

    def discard_after(self, step: int) -> None:
        """Forget damaged checkpoints of steps that will be taken again."""
        for folder in self._folders():
            if int(folder.name.split("-")[1]) > step:
                shutil.rmtree(folder)

    def _folders(self) -> list[Path]:
        return sorted(p.parent for p in self._directory.glob(f"step-*[0-9]/{MANIFEST}"))

    def _prune(self) -> None:
        for folder in self._folders()[: -self._keep]:
            shutil.rmtree(folder)


def read(folder: Path) -> Checkpoint:
    manifest = json.loads((folder / MANIFEST).read_text())
    return Checkpoint(path=folder, state=TrainState(**manifest["state"]))


def check(folder: Path) -> str | None:
    """None when whole, else the first thing that is wrong."""
    try:
        files: dict[str, Any] = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return f"{MANIFEST} is unreadable"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or _digest(path) != digest:
            return f"{name} has changed"
    return None


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _write_durably(path: Path, text: str) -> None:
    path.write_text(text)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
