"""Problems from the Hugging Face hub, through the Parquet copy that it keeps of its data sets."""

import re
from pathlib import Path

from actors.problem_rows import DataError

BRANCH = "refs/convert/parquet"
"""The hub converts data sets to ``<configuration>/<split>/0000.parquet`` on this branch."""


def download(name: str) -> list[Path]:
    """Local Parquet files of ``name``, ``name:split`` or ``name:configuration/split``."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+(/[\w.-]+)?)?", name):
        raise DataError(f"{name} is neither a file nor the name of a hub data set")
    repository, _, part = name.partition(":")
    # slow to import, and only hub data sets need it
    from huggingface_hub import HfApi, errors, hf_hub_download  # noqa: PLC0415

    try:
        stored = HfApi().list_repo_files(repository, repo_type="dataset", revision=BRANCH)
        return [
            Path(hf_hub_download(repository, file, repo_type="dataset", revision=BRANCH))
            for file in choose_files(name, part, stored)
        ]
    # HTTPError is the one of the HTTP library that the installed client uses
    except (OSError, errors.HTTPError) as error:  # pyright: ignore[reportPrivateImportUsage]
        raise DataError(
            f"{name} is no file, and the hub did not give it ({type(error).__name__}: "
            f"{str(error)[:300]}); check the name and the network, or name a file"
        ) from error


def choose_files(name: str, part: str, stored: list[str]) -> list[str]:
    """The files of one split (``train`` unless ``part`` names one), in order."""
    configuration, _, split = (part or "train").rpartition("/")
    parquet = sorted(file for file in stored if file.endswith(".parquet") and file.count("/") == 2)
    found: dict[str, list[str]] = {}
    for file in parquet:
        file_configuration, file_split, _ = file.split("/")
        if file_split == split and configuration in ("", file_configuration):
            found.setdefault(file_configuration, []).append(file)
    if len(found) == 1:
        return next(iter(found.values()))
    repository = name.partition(":")[0]
    if found:
        choices = ", ".join(f"{repository}:{choice}/{split}" for choice in sorted(found))
        raise DataError(f"{name} has several configurations; name one of {choices}")
    splits = ", ".join(sorted({file.rpartition("/")[0] for file in parquet})) or "nothing"
    raise DataError(f"{name} has no split {split!r} on the hub; it has {splits}")
