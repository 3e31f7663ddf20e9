"""The soak of ``tests/faults/soak.py``, short enough for every change."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, World, world

__all__ = ["world"]  # the fixture

MINUTES = 3


@pytest.mark.row(27)
@pytest.mark.row(10)
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_random_kills_lose_nothing_and_double_nothing(world: World, tmp_path: Path):
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.faults.soak", "--minutes", str(MINUTES), "--seed", "3",
            "--every", "4", "8", "--runs", str(tmp_path), "--", *world.settings,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=840,
    )  # fmt: skip
    print(done.stdout, done.stderr)

    assert done.returncode == 0
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert sum(report["killed"].values()) >= 5
    assert report["steps"] > 0
    assert report["killed"].keys() >= {"driver", "learner", "queue"}
    counts = report["check"]["tally"]
    assert (counts["lost"], counts["duplicated"], counts["unexpected"]) == (0, 0, 0)
    assert counts["over_stale"] == 0
