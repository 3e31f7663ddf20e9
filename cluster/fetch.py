"""``laconic ckpt fetch``: a run's folder again, from its copy somewhere else."""

import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import xxhash

from cluster.checkpoint import LATEST, check
from cluster.mirror_index import Index, Piece, checkpoint_files, read_index
from cluster.remote import Remote, RemoteError
from configs.errors import UserError
from verifiers.durable import sync


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    checkpoint: str
    complaints: tuple[str, ...]
    """Newer checkpoints that were passed over."""


def fetch(url: str, target: Path, step: int | None = None) -> Fetched:
    """``target``: a new folder, there with its newest whole checkpoint, or that of ``step``, or not
    at all. Raises UserError, one line."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists; name a folder that does not")
    remote = Remote(url)
    temporary = target.with_name(f"{target.name}.tmp-{uuid.uuid4().hex[:12]}")
    try:
        index = read_index(remote)
        if index is None:
            raise UserError(f"{url} holds no copy of a run: give mirror.url and the run's name")
        temporary.mkdir(parents=True)
        found = _checkpoint(remote, index, temporary, step)
        for name, text in index.texts.items():
            _inside(temporary, name).write_text(text)
        for name, pieces in index.files.items():
            _join(remote, _inside(temporary, name), pieces)
        _make_durable(temporary)
        if target.exists():
            target.rmdir()
        os.rename(temporary, target)
        sync(target.parent)
    except RemoteError as error:
        raise UserError(str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return found


def _checkpoint(remote: Remote, index: Index, run_dir: Path, step: int | None) -> Fetched:
    names = [name for name in index.checkpoints if re.fullmatch(r"step-\d{6,}", name)]
    if step is not None:
        names = [name for name in names if int(name.removeprefix("step-")) == step]
    if not names:
        wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
        raise UserError(f"{remote.url} has no {wanted}")
    complaints: list[str] = []
    for name in sorted(names, key=lambda name: int(name.removeprefix("step-")), reverse=True):
        folder = run_dir / "checkpoints" / name
        folder.mkdir(mode=0o700, parents=True)
        try:
            for file, place in checkpoint_files(name, index.checkpoints[name]).items():
                remote.get(place, _inside(folder, file))
            damage = check(folder)
        except RemoteError as error:
            damage = str(error)
        if damage is None:
            (run_dir / "checkpoints" / LATEST).write_text(name)
            return Fetched(checkpoint=name, complaints=tuple(complaints))
        complaints.append(f"{name} is damaged: {damage}")
        shutil.rmtree(folder)
    raise UserError(f"{remote.url} has no whole checkpoint: {complaints[0]}")


def _join(remote: Remote, path: Path, pieces: list[Piece]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            content = remote.read(piece.name)
            if content is None:
                raise RemoteError(f"{remote.url}/{piece.name} is missing")
            if xxhash.xxh3_128_hexdigest(content) != piece.digest:
                raise RemoteError(f"{remote.url}/{piece.name} has changed")
            file.write(content)


def _inside(folder: Path, name: str) -> Path:
    """Whoever wrote the index does not say what lies outside."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"the copy has a file {name!r}, which leads out of the run's folder")
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    return folder / path


def _make_durable(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync(path)
