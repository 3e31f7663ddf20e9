"""Checkpoints as transactions: whole and verified, or not there at all."""

import errno
import json
import os
import re
import shutil
import stat
import threading
import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xxhash

from configs.errors import UserError
from configs.failpoints import failpoint
from verifiers.durable import sync

MANIFEST = "manifest.json"
LATEST = "LATEST"
CURRICULUM = "curriculum.json"

ROOM = 1.5
"""Times the newest checkpoint's size: what must be free before the next one is begun."""


class NoRoom(OSError):
    """The disk has no room for another checkpoint. Nothing was begun: try again later."""


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
    """One process writes, from any of its threads; any number may read."""

    def __init__(
        self,
        directory: Path,
        keep: int,
        *,
        keep_every: int | None = None,
        max_gib: float | None = None,
    ) -> None:
        """The newest ``keep``, and for good those of every ``keep_every`` steps, as far as all
        together stay below ``max_gib``."""
        self._directory = directory
        self._keep = keep
        self._keep_every = keep_every
        self._max_bytes = None if max_gib is None else max_gib * 2**30
        self.good: Collection[int] = ()
        """Steps whose weights are known to be good: the newest checkpoint of one of them stays."""
        self._under_way: dict[int, Path] = {}
        self._names = threading.RLock()
        """Whoever gives a folder another name, or takes it away."""

    def begin(self, step: int) -> Path:
        """An empty folder for the learner's files, until ``commit`` or ``abandon``.

        What earlier crashes left behind is removed, other saves of this store are left alone; an
        unfinished one of the same step is given up. Raises ``NoRoom``.
        """
        with self._names:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._under_way.pop(step, None)
            for leftover in set(self._directory.glob("*.tmp*")) - set(self._under_way.values()):
                shutil.rmtree(leftover, ignore_errors=True)
            self._require_room()
            folder = self._unnamed(step)
            folder.mkdir(mode=0o700)
            self._under_way[step] = folder
            return folder

    def abandon(self, folder: Path) -> None:
        """The save into this folder came to nothing; a commit of it that is under way fails."""
        with self._names:
            self._under_way = {s: path for s, path in self._under_way.items() if path != folder}
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, folder: Path, state: TrainState) -> Checkpoint:
        """Files to disk, manifest last, then one rename: from there on the checkpoint exists.

        After an OSError the folder is gone; the whole save may be tried again.
        """
        try:
            _seal(folder, state)
            failpoint("checkpoint.rename")
            with self._names:
                return self._name(folder, state)
        except OSError:
            self.abandon(folder)
            raise

    def newest(self, among: Collection[int] | None = None) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is as its manifest says, and what was passed over; ``among``:
        of one of these steps."""
        complaints = []
        for folder in reversed(self.folders()):
            if among is not None and step_of(folder) not in among:
                continue
            problem = check(folder)
            if problem is None:
                return read(folder), complaints
            complaints.append(
                f"checkpoint {folder.name} is damaged ({problem}); trying an older one"
            )
        return None, complaints

    def oldest_ticket(self) -> int:
        """Groups from here on may still be asked for again."""
        return min((state_of(folder).end_ticket for folder in self.folders()), default=0)

    def discard_after(self, step: int) -> None:
        """Forget what there is of steps that will be taken again: damaged checkpoints, and saves
        that are under way."""
        with self._names:
            for folder in [path for s, path in self._under_way.items() if s > step]:
                self.abandon(folder)
            self.remove([folder for folder in self.folders() if step_of(folder) > step])

    def remove(self, folders: Sequence[Path]) -> None:
        """``LATEST`` never names what is not there."""
        left = [folder for folder in self.folders() if folder not in folders]
        if folders and latest(self._directory) not in {folder.name for folder in left}:
            if left:
                self._point_at(left[-1])
            else:
                (self._directory / LATEST).unlink(missing_ok=True)
        for folder in folders:
            self._remove(folder)

    def folders(self) -> list[Path]:
        """Of every checkpoint that was committed, damaged or not, the oldest first."""
        found = (path.parent for path in self._directory.glob(f"step-*/{MANIFEST}"))
        return sorted((p for p in found if re.fullmatch(r"step-\d{6,}", p.name)), key=step_of)

    def _name(self, folder: Path, state: TrainState) -> Checkpoint:
        if self._under_way.get(state.step) != folder:
            raise OSError(f"the checkpoint of step {state.step} was given up while it was written")
        final = self._directory / _name(state.step)
        if final.exists():  # of steps that a resume from an older checkpoint took back
            self._remove(final)
        os.rename(folder, final)
        del self._under_way[state.step]
        sync(self._directory)
        self._point_at(self.folders()[-1])  # a slower save may come after a later one
        self._prune()
        return Checkpoint(path=final, state=state)

    def _prune(self) -> None:
        folders = self.folders()
        newest, older = folders[-self._keep :], folders[: -self._keep]
        for_good = [f for f in older if self._keep_every and step_of(f) % self._keep_every == 0]
        if self._max_bytes is not None:
            room = self._max_bytes - sum(map(size_of, newest))
            while for_good and sum(map(size_of, for_good)) > room:
                for_good.pop(0)
        good = [folder for folder in folders if step_of(folder) in self.good][-1:]
        failpoint("checkpoint.prune")
        for folder in older:
            if folder not in (*for_good, *good):
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Out of sight first: half a checkpoint would look like a damaged one."""
        unnamed = self._unnamed(step_of(folder))
        os.rename(folder, unnamed)
        shutil.rmtree(unnamed, ignore_errors=True)

    def _unnamed(self, step: int) -> Path:
        return self._directory / f"{_name(step)}.tmp-{uuid.uuid4().hex[:12]}"

    def _point_at(self, folder: Path) -> None:
        _write_durably(self._directory / f"{LATEST}.new", folder.name)
        failpoint("checkpoint.latest")
        os.replace(self._directory / f"{LATEST}.new", self._directory / LATEST)
        sync(self._directory)

    def _require_room(self) -> None:
        folders = self.folders()
        needed = ROOM * size_of(folders[-1]) if folders else 0
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise NoRoom(
                errno.ENOSPC,
                f"{self._directory} has {free / 2**30:.2f} GiB free and a checkpoint is begun with "
                f"{needed / 2**30:.2f} GiB; free some, or lower checkpoint.keep",
            )


def read(folder: Path) -> Checkpoint:
    """To be loaded. Raises UserError for a folder that others may have written."""
    _require_trusted(folder)
    return Checkpoint(path=folder, state=state_of(folder))


def state_of(folder: Path) -> TrainState:
    return TrainState(**json.loads((folder / MANIFEST).read_text())["state"])


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def size_of(folder: Path) -> int:
    """Bytes, by its manifest; 0 when nobody can tell."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        return sum(size for size, _ in files.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def latest(directory: Path) -> str | None:
    """What ``LATEST`` names."""
    try:
        return (directory / LATEST).read_text().strip()
    except OSError:
        return None


def check(folder: Path) -> str | None:
    """None when whole, else the first thing that is wrong."""
    try:
        state_of(folder)
        files: dict[str, Any] = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is unreadable"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or _digest(path) != digest:
            return f"{name} has changed"
    return None


def _seal(folder: Path, state: TrainState) -> None:
    """Everything durable, and the manifest last."""
    paths = sorted(folder.rglob("*"))
    files = [path for path in paths if path.is_file()]
    for path in files:
        sync(path)
    manifest = {
        "state": asdict(state),
        "files": {str(p.relative_to(folder)): [p.stat().st_size, _digest(p)] for p in files},
    }
    failpoint("checkpoint.manifest")
    _write_durably(folder / MANIFEST, json.dumps(manifest, indent=1))
    for path in [*filter(Path.is_dir, paths), folder]:
        sync(path)


def _require_trusted(folder: Path) -> None:
    """Loading unpickles: whoever can write a checkpoint can run code here."""
    found, me = folder.stat(), os.geteuid()
    if found.st_uid not in (me, 0):
        raise UserError(
            f"{folder} belongs to user {found.st_uid}, and loading a checkpoint can run what its "
            f"owner put there; if you trust it: chown -R {me} {folder}"
        )
    if found.st_mode & stat.S_IWOTH:
        raise UserError(
            f"everybody may write to {folder}, and loading a checkpoint can run what they put "
            f"there; if you trust it: chmod -R o-w {folder}"
        )


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
    sync(path)
