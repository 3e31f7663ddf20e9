"""The folder that travels with a job: our packages, the configuration, and files that it names.

Nothing else of the working copy does: no environment, no runs, no history. Files named by an
absolute path are the cluster's own.
"""

import shutil
from pathlib import Path

from configs.errors import UserError
from configs.load import dump
from configs.schema import RunConfig
from learner.made_folder import RECIPES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("actors", "cluster", "configs", "dashboard", "evaluation", "learner", "verifiers")
NOT_SENT = ("__pycache__", "node_modules", "web", "*.pyc")
CONFIG = "submitted.yaml"
DATA = "submitted_data"
MAX_MIB = 256
"""Ray keeps what travels in the memory of the head."""


def fill(folder: Path, config: RunConfig, include: list[Path]) -> RunConfig:
    """Returns the configuration as the job is to read it. ``include``: files and folders that lie
    beside our packages there, such as a module with an objective of your own."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns(*NOT_SENT))
    shutil.copy2(ROOT / "laconic_cli.py", folder)
    for path in include:
        _include(path, folder)
    config = _with_data(config, folder)
    (folder / CONFIG).write_text(dump(config))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >> 20
    if size > MAX_MIB:
        raise UserError(
            f"{size} MiB would travel with the job, and {MAX_MIB} is the most: put data and "
            f"models where every node sees them, and name them by an absolute path"
        )
    return config


def _include(path: Path, folder: Path) -> None:
    target = folder / path.name
    if not path.exists():
        raise UserError(f"--include {path}: there is no such file or folder")
    if target.exists():
        raise UserError(f"--include {path}: {path.name} is a name of our own; call it otherwise")
    if path.is_dir():
        shutil.copytree(path, target, ignore=shutil.ignore_patterns(*NOT_SENT))
    else:
        shutil.copy2(path, target)


def _with_data(config: RunConfig, folder: Path) -> RunConfig:
    """Files of this machine, given relative to where we are, go along; models are too large."""
    for key, name in (
        ("model.path", config.model.path),
        ("learner.teacher.model", config.learner.teacher.model),
    ):
        is_here = name is not None and name not in RECIPES and Path(name).is_dir()
        if is_here and not Path(str(name)).is_absolute():
            raise UserError(
                f"{key}={name} is a folder of this machine, and models do not travel with a job: "
                f"put it where every node sees it and give the absolute path, or a hub name"
            )
    data = config.data.model_dump()
    for key in ("train", "heldout"):
        name = data[key]
        if name is None or Path(name).is_absolute() or not Path(name).is_file():
            continue
        (folder / DATA).mkdir(exist_ok=True)
        shutil.copy2(name, folder / DATA / f"{key}-{Path(name).name}")
        data[key] = f"{DATA}/{key}-{Path(name).name}"
    return config.model_copy(update={"data": type(config.data).model_validate(data)})
