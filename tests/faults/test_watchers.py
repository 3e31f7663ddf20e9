"""Whoever watches a run may die at any moment: not one number of the training is another one.

Two runs learn from the same given responses, so that nothing is drawn by chance: one alone, and one
whose page and recorder are killed again and again.
"""

import json
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from configs.run_files import read_jsonl
from tests.faults.live import Live, training
from tests.integration.conftest import Laconic, World, laconic, world
from tests.integration.runs import events, is_alive, records

__all__ = ["laconic", "world"]  # the fixtures

STEPS = 16
KILLS = 4
NUMBERS = ("loss", "nll", "grad_norm", "lr", "num_tokens", "num_rollouts", "trained_tokens")

pytestmark = [pytest.mark.timeout(500), pytest.mark.long]


def settings(world: World) -> list[str]:
    file = world.folder / "given.jsonl"
    rows = (
        {"prompt": f"Count to {i}.", "answer": "x", "response": "one " * (1 + i % 9)}
        for i in range(40)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        f"data.train={file}", "data.responses=instead", "batch.problems=2", "max_lag=0",
        "checkpoint.every=100000", "cluster.part_restarts=1000", "recorder.seal_s=0.2",
    ]  # fmt: skip


def page_of(folder: Path) -> int | None:
    with suppress(OSError, ValueError):
        pid = json.loads((folder / "dashboard.json").read_text())["pid"]
        return pid if is_alive(pid) else None
    return None


def num_back(live: Live) -> int:
    """As told with the process that there is now: the recorder itself tells it earlier."""
    return sum(event["name"] == "recorder" for event in live.events("part_back"))


def kill_watchers(live: Live, rng: random.Random) -> int:
    """Some of them, as often as the page is there to be killed with them; how many pages died."""
    pages = 0
    for _ in range(KILLS):
        before = num_back(live)
        with suppress(ProcessLookupError):
            os.kill(live.pid("recorder"), signal.SIGKILL)
        if (page := page_of(live.folder)) is not None:
            os.kill(page, signal.SIGKILL)
            pages += 1
        live.wait(
            lambda before=before: num_back(live) > before,
            "the recorder to come back",
            120,
        )
        live.wait_for_more("ack", rng.randint(1, 3))
    return pages


@pytest.mark.row(8)
def test_killing_page_and_recorder_at_random_changes_no_number(laconic: Laconic, world: World):
    shared = settings(world)
    done = laconic("train", "tiny", *world.settings, *shared, "name=alone", f"steps={STEPS}")
    assert done.returncode == 0

    with training(world, "watched", *shared, "steps=100000", "dashboard.enabled=true") as live:
        live.wait(lambda: page_of(live.folder), "the page", 120)
        pages = kill_watchers(live, random.Random(0))
        live.wait(lambda: len(records(live.folder, "ack")) > STEPS, f"{STEPS} steps", 240)

    assert pages >= 1
    alone, watched = (read_jsonl(world.run_dir(name) / "metrics.jsonl") for name in
                      ("alone", "watched"))  # fmt: skip
    assert [row["step"] for row in watched] == list(range(1, len(watched) + 1))
    assert len(alone) == STEPS <= len(watched)
    for one, other in zip(alone, watched, strict=False):
        for name in (
            "loss",
            "nll",
            "grad_norm",
            "lr",
            "num_tokens",
            "num_rollouts",
            "trained_tokens",
        ):
            assert one[name] == other[name], (one["step"], name)
    weights = [
        {
            event["version"]: event["fingerprint"]
            for event in events(world.run_dir(name), "published")
        }
        for name in ("alone", "watched")
    ]
    common = weights[0].keys() & weights[1].keys()
    assert len(common) >= STEPS - KILLS
    assert all(weights[0][version] == weights[1][version] for version in common)
