"""Where the starting policy is: the made models are built once and kept in the user's cache."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from configs.errors import UserError
from learner.made_folder import RECIPES, made_with


class ModelError(UserError):
    """The model cannot be had; one line with the way out."""


def models_dir() -> Path:
    """``LACONIC_CACHE`` or the user's cache folder: outside the tree, so that jobs share it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("LACONIC_CACHE") or Path(cache) / "laconic") / "models"
    return folder.expanduser().resolve()


def resolve_model(path: str, report: Callable[[str], None]) -> str:
    """A folder that transformers and vLLM load, or a hub name left as it is."""
    if path in RECIPES:
        folder = models_dir() / path
        _make(path, folder, report)
        return str(folder)
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"model.path={path!r} is a folder without config.json")
        return str(folder.resolve())
    looks_like_hub = path.count("/") == 1 and not path.startswith((".", "/", "~"))
    if not looks_like_hub:
        raise ModelError(
            f"model.path={path!r}: no such folder, and not a hub name (owner/name); "
            f"the made models are {' and '.join(RECIPES)}"
        )
    return path


def _make(name: str, folder: Path, report: Callable[[str], None]) -> None:
    """In a process of its own, which uses every core and takes its memory with it."""
    if made_with(folder).get("recipe") == RECIPES[name]:
        return
    report(f"making the model {name!r} (once, kept in {folder})")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A run's own processes are held to one thread each; this one is alone. Short spinning: beside
    # other work, threads that wait busily for each other make it several times slower.
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment.setdefault("GOMP_SPINCOUNT", "5000")
    maker = subprocess.Popen(
        [sys.executable, "-m", "learner.made_models", name, str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=Path(__file__).parent.parent,
    )
    assert maker.stderr is not None
    last = ""
    for line in maker.stderr:
        last = line.strip()
        report(last)
    if maker.wait() != 0:
        raise ModelError(f"making the model {name!r} failed: {last}")
