"""Seconds from `laconic train tiny` to the first token and to the first optimizer step.

    python -m benchmarks.startup [tiny|smollm2] [key=value …] [--rounds 5] [--json FILE]

Each round is the command itself, for two steps and without an evaluation, which would come before
the first rollouts; then, as a yardstick of the machine, a process that imports vLLM and ends. The
run directory says when each phase ended: the event ``started`` has those of the start,
``state.json`` the first token of an engine, ``metrics.jsonl`` the first step. Queue, judges,
learner and engines start side by side, so theirs are no sum. The first round may find cold caches
of files and is shown apart; medians are of the others.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.run_files import EVENTS, METRICS, STATE, read_jsonl

ROOT = Path(__file__).parents[1]
GOAL_S = 30.0
"""Until the first optimizer step, with warm caches."""

TITLES = {
    "imports": "the command is read, its imports are done",
    "prepared": "model there, data read and checked",
    "ray": "Ray is up, the run directory written",
    "recorder": "the recorder is up",
    "queue": "queue is up",
    "judges": "judges are up",
    "learner": "learner is up",
    "engines": "the last engine is up",
    "started": "everything is up",
    "first_token": "first token written",
    "first_batch": "enough rollouts for a step",
    "first_step": "first optimizer step taken",
    "first_weights": "its weights published",
}


def phases(run_dir: Path, began: float) -> dict[str, float]:
    """Seconds since the command, for each phase at its end."""
    started = next(row for row in read_jsonl(run_dir / EVENTS) if row["kind"] == "started")
    engines = json.loads((run_dir / STATE).read_text())["engines"]
    step = read_jsonl(run_dir / METRICS)[0]
    ends = started["phases"] | {
        "started": started["at_us"],
        "first_token": min(row["began_us"] for row in engines if row["began_us"]),
        "first_batch": step["leased_us"],
        "first_step": step["stepped_us"],
        "first_weights": step["published_us"],
    }
    return {name: ends[name] / 1e6 - began for name in TITLES}


def one_start(preset: str, settings: Sequence[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, str(ROOT / "laconic_cli.py"), "train", preset, *settings, "steps=2",
            "data.heldout=null", f"runs_dir={folder}", "name=run",
        ]  # fmt: skip
        began = time.time()
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True,
            text=True,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            sys.exit(f"a run failed: {lines[-1]}")
        return phases(Path(folder) / "run", began)


def seconds_to_import_vllm() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import vllm.v1.engine.async_llm"], capture_output=True)
    return time.monotonic() - began


def compare(preset: str, settings: Sequence[str], rounds: int) -> dict[str, Any]:
    found, imports = [], []
    for number in range(rounds):
        load = os.getloadavg()[0]
        found.append(one_start(preset, settings))
        imports.append(seconds_to_import_vllm())
        print(
            f"start {number + 1}: first token {found[-1]['first_token']:.1f} s, first step "
            f"{found[-1]['first_step']:.1f} s, load {load:.1f}",
            flush=True,
        )
    warm = found[1:] or found
    medians = {name: statistics.median(row[name] for row in warm) for name in TITLES}
    yardstick = statistics.median(imports[1:] or imports)
    return {
        "figures": {name: round(seconds, 2) for name, seconds in medians.items()},
        "goal_s": GOAL_S,
        "import_vllm_s": round(yardstick, 2),
        "ratios": {
            f"import_vllm_over_{name}": round(yardstick / medians[name], 3)
            for name in ("first_token", "first_step")
        },
        "cold": {name: round(seconds, 2) for name, seconds in found[0].items()},
        "runs": found,
    }


def lines(result: dict[str, Any]) -> list[str]:
    step_s = result["figures"]["first_step"]
    return (
        ["| until | s, warm | s, first |", "|---|---|---|"]
        + [
            f"| {title} | {result['figures'][name]:.1f} | {result['cold'][name]:.1f} |"
            for name, title in TITLES.items()
        ]
        + [
            f"first optimizer step {_word(step_s)} {GOAL_S:.0f} s; "
            f"importing vLLM alone took {result['import_vllm_s']:.1f} s"
        ]
    )


def _word(step_s: float) -> str:
    return "within" if step_s <= GOAL_S else "NOT within"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", nargs="?", default="tiny")
    parser.add_argument("settings", nargs="*", help="key=value")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_intermixed_args()
    result = compare(given.preset, given.settings, given.rounds)
    print("\n".join(lines(result)))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
