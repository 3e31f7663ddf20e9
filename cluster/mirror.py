"""A run's copy somewhere else: enough to go on with it when its own disk is gone.

    URL/index.json                      what belongs to the copy; written last, so always whole
        files/PATH.START-END-HASH       a piece of a file that only grows, or never changes
        checkpoints/step-000010-HASH/…  as on disk, the manifest last; HASH is the manifest's

The run's folder stays the one that counts: nothing is read from here but by ``laconic ckpt fetch``.
Small files that change are kept in the index itself. What the index does not name is removed
after it, so whoever dies on the way leaves the copy of the time before, whole.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from cluster.checkpoint import MANIFEST, CheckpointStore
from cluster.mirror_index import INDEX, Index, Piece, checkpoint_files, read_index
from cluster.remote import Remote
from configs.errors import UserError
from configs.run_files import (
    EVENTS,
    GUARDRAIL,
    HISTORY,
    METRICS,
    RESOLVED,
    RUN,
    SOURCES,
    STATE,
    SUMMARY,
    VERDICTS,
    read_manifest,
)
from configs.run_files import MANIFEST as PARTS
from verifiers.parent import die_with_parent

LOCK = "mirror.lock"

TEXTS = (RUN, RESOLVED, SOURCES, STATE, SUMMARY, GUARDRAIL, "evals/*.json")
"""Small, and replaced whole."""

GROWING = ("queue/log-*.jsonl", METRICS, EVENTS, VERDICTS, HISTORY, PARTS)

KEEP = 2
"""Checkpoints that stay there at least."""

PIECE = 64 << 20
"""Bytes of the largest piece of a file."""

NICE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    step: int | None
    """Of the newest checkpoint there; None: none."""
    num_bytes: int
    """Written by this call."""
    complaints: tuple[str, ...] = ()


def address(url: str, run_dir: Path) -> str:
    """Where below ``mirror.url`` this run's copy is."""
    return f"{url.rstrip('/')}/{run_dir.name}"


def require_mirror(url: str, run_dir: Path) -> None:
    """Raises UserError, one line, for a place that cannot be written or holds another run."""
    remote = Remote(address(url, run_dir))
    remote.probe()
    before = read_index(remote)
    if before is not None and before.run != _identity(run_dir):
        raise _other_run(remote)


def copy(run_dir: Path, url: str, *, waits: bool = False) -> Copied:
    """What is new since the last call. Raises ``RemoteError``; then call it again. While another
    process copies this run: ``waits`` for its end, or raises UserError."""
    with _alone(run_dir, waits):
        remote = Remote(address(url, run_dir))
        before = read_index(remote) or Index(run=_identity(run_dir))
        if before.run != _identity(run_dir):
            raise _other_run(remote)
        return _Copy(run_dir, remote, before).make()


@contextmanager
def _alone(run_dir: Path, waits: bool) -> Iterator[None]:
    with (run_dir / LOCK).open("w") as file:
        try:
            # By process, as the run's own lock: it goes with the process, however that ends.
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            raise UserError(
                f"{run_dir} is being copied by another process; try again when that is done"
            ) from None
        yield


class _Copy:
    def __init__(self, run_dir: Path, remote: Remote, before: Index) -> None:
        self._run_dir = run_dir
        self._remote = remote
        self._before = before
        self._staging = run_dir / "mirror.tmp"
        self._checkpoint = self._staging / "checkpoint"
        self._num_bytes = 0
        self._missing: list[str] = []

    def make(self) -> Copied:
        newest, complaints = CheckpointStore(self._run_dir / "checkpoints", keep=2).newest()
        shutil.rmtree(self._staging, ignore_errors=True)
        try:
            # Whatever is copied may be removed for something newer before its turn comes.
            if newest is not None:
                shutil.copytree(newest.path, self._checkpoint, copy_function=os.link)
            # Not before: the log knows all steps of the checkpoint.
            sizes = dict(self._growing())
            parts = self._listed()
            known = {name: pieces for name in parts if (pieces := self._before.files.get(name))}
            sizes |= dict(self._parts(name for name in parts if name not in known))
            after = Index(run=self._before.run, texts=dict(self._texts()))
            after.checkpoints = self._checkpoints(newest.path.name if newest else None)
            after.files = known | {name: self._pieces(name, size) for name, size in sizes.items()}
            self._remote.write(INDEX, after.encode())
            # Not only what the index before named: a copy that was cut off is in none.
            there = {*self._remote.names("checkpoints"), *self._remote.names("files")}
            self._remote.remove(sorted(there - after.names()))
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
        if self._missing:
            complaints.append(
                f"{len(self._missing)} of the files that {PARTS} lists are not there: "
                f"{self._missing[0]}, …"
            )
        return Copied(
            step=newest.state.step if newest else None,
            num_bytes=self._num_bytes,
            complaints=tuple(complaints),
        )

    def _texts(self) -> Iterator[tuple[str, str]]:
        for pattern in TEXTS:
            for path in sorted(self._run_dir.glob(pattern)):
                yield str(path.relative_to(self._run_dir)), path.read_text()

    def _growing(self) -> Iterator[tuple[str, int]]:
        for pattern in GROWING:
            for path in sorted(self._run_dir.glob(pattern)):
                # The list of parts stays as it is now, and so names none that comes later.
                yield self._stage(path, shutil.copyfile if pattern == PARTS else os.link)

    def _listed(self) -> list[str]:
        """The parts that no other one replaces."""
        try:
            return [part["file"] for part in read_manifest(self._staging)]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self._run_dir / PARTS} cannot be read: {error}") from None

    def _parts(self, names: Iterable[str]) -> Iterator[tuple[str, int]]:
        for name in names:
            try:
                yield self._stage(self._run_dir / name, os.link)
            except FileNotFoundError:
                self._missing.append(name)

    def _stage(self, path: Path, how: Callable[[Path, Path], object]) -> tuple[str, int]:
        name = path.relative_to(self._run_dir)
        staged = self._staging / name
        staged.parent.mkdir(parents=True, exist_ok=True)
        how(path, staged)
        return str(name), staged.stat().st_size

    def _pieces(self, name: str, size: int) -> list[Piece]:
        """As few as they are many: a new piece swallows those before it that are no larger."""
        pieces = list(self._before.files.get(name, []))
        start = sum(piece.size for piece in pieces)
        with (self._staging / name).open("rb") as file:
            if pieces and not _ends(file, start, pieces[-1]):
                pieces, start = [], 0  # another file than it was, or cut back, or grown again since
            while pieces and pieces[-1].size <= min(size - start, PIECE // 2):
                start -= pieces.pop().size
            file.seek(start)
            while start < size:
                content = file.read(min(PIECE, size - start))
                if not content:
                    raise OSError(f"{name} became shorter while it was copied")
                digest = xxhash.xxh3_128_hexdigest(content)
                end = start + len(content)
                piece = Piece(f"files/{name}.{start}-{end}-{digest}", len(content), digest)
                self._remote.write(piece.name, content)
                self._num_bytes += len(content)
                pieces.append(piece)
                start = end
        return pieces

    def _checkpoints(self, newest: str | None) -> dict[str, str]:
        """The newest, those there that the run still has, and one before it in any case."""
        there = self._before.checkpoints
        if newest is None:
            return dict(there)
        manifest = (self._checkpoint / MANIFEST).read_text()
        if there.get(newest) != manifest:  # another one of this step may be there: of steps that
            for file, name in checkpoint_files(newest, manifest).items():  # were taken back
                self._num_bytes += (self._checkpoint / file).stat().st_size
                self._remote.put(self._checkpoint / file, name)
        found = {name: there[name] for name in there if _step(name) < _step(newest)}
        last = sorted(found, key=_step)[1 - KEEP :]
        here = {path.name for path in (self._run_dir / "checkpoints").glob("step-*")}
        kept = {name: found[name] for name in found if name in here or name in last}
        return {**kept, newest: manifest}


def _ends(file: BinaryIO, end: int, piece: Piece) -> bool:
    """Whether the file still has this piece before ``end``."""
    file.seek(end - piece.size)
    return xxhash.xxh3_128_hexdigest(file.read(piece.size)) == piece.digest


def _step(name: str) -> int:
    return int(name.removeprefix("step-"))


def _identity(run_dir: Path) -> str:
    """The start that the run's folder was made at; a new run has none yet."""
    try:
        first = json.loads((run_dir / RUN).read_text())["starts"][0]
    except (OSError, ValueError, KeyError, IndexError):
        return "none"
    return f"{first['at']} {first['pid']}"


def _other_run(remote: Remote) -> UserError:
    return UserError(
        f"{remote.url} holds the copy of another run; choose another name=… or mirror.url=…"
    )


def main() -> None:
    """``python -m cluster.mirror PARENT RUN URL``: yields to all that trains, and goes with it."""
    parent, run_dir, url = sys.argv[1:]
    die_with_parent(int(parent))
    os.nice(NICE)
    try:
        found: dict[str, Any] = asdict(copy(Path(run_dir), url, waits=True))
    except (OSError, UserError) as error:
        sys.exit(str(error))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
