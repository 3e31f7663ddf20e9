"""A made model's folder appears whole or not at all, and only one process makes it."""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

Report = Callable[[str], None]

RECIPES = {"tiny": 2, "smollm2": 1}
"""Raise a number with any change of what is made: older folders are then made anew."""

MADE_FILE = "made.json"
LOCK_TIMEOUT_S = 3600.0
LOCK_POLL_S = 0.5
LIBRARIES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One problem of a made model's own data."""

    id: str
    prompt: str
    answer: str


@contextmanager
def building(out: Path, recipe: dict[str, str | int]) -> Iterator[Path]:
    """A folder to write into; it becomes ``out`` when the block ends well, else it is removed.

    ``recipe`` must name what was made so that it can be told apart: it goes into ``made.json``.
    An older made model at ``out`` is replaced, anything else there is refused.
    """
    if out.exists() and not (out / MADE_FILE).is_file():
        raise ValueError(f"{out} exists and is not a made model: remove it or name another folder")
    work = _beside(out, "making")
    shutil.rmtree(work, ignore_errors=True)  # what a killed make left
    work.mkdir(parents=True)
    started = time.monotonic()
    try:
        yield work
        libraries = {name: version(name) for name in LIBRARIES}
        seconds = round(time.monotonic() - started, 1)
        made = {**recipe, "seconds": seconds, "libraries": libraries}
        (work / MADE_FILE).write_text(json.dumps(made, indent=2) + "\n")
        _replace(out, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def locked(out: Path, report: Report, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold ``out``'s lock file. The lock dies with its process, so none is ever left behind."""
    out.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with _beside(out, "lock").open("a") as lock:
        waiting = False
        while not _try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise ValueError(
                    f"another process has been making {out} for {timeout_s:.0f} s: stop it, "
                    "then start again"
                )
            if not waiting:
                report(f"another process is making {out}, waiting for it")
                waiting = True
            time.sleep(LOCK_POLL_S)
        yield


def made_with(out: Path) -> dict[str, object]:
    """What ``made.json`` says; empty when there is none that can be read."""
    try:
        made = json.loads((out / MADE_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            line = {"id": row.id, "prompt": row.prompt, "answer": row.answer}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(out: Path, work: Path) -> None:
    old = _beside(out, "old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    work.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _beside(out: Path, ending: str) -> Path:
    return out.parent / f"{out.name}.{ending}"
