"""What it costs a run to be watched.

    python -m benchmarks.dashboard_overhead runs [key=value …] [--preset tiny] [--rounds 3]
    python -m benchmarks.dashboard_overhead recorder [--rollouts 4000] [--tokens 400]

``runs``: whole runs of a preset, alternated. Watched: the page is up, a reader has its live stream
open and asks for the overview, the funnel and the newest rollouts every other second, and the
recorder keeps texts and tokens. Alone: no page, and the recorder keeps neither. Seconds from the
end of the first step to the end of the last; the median ratio must be at most 1.02. Figures of a
machine that does something else as well are worth nothing: the load is printed.

``recorder``: microseconds of the recorder's process for each rollout, and its share of a core at
that many rollouts a second.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from actors.recorder import Recorder
from configs.run_files import read_jsonl
from configs.schema import RecorderConfig
from verifiers.types import (
    Check,
    Completion,
    Decision,
    Group,
    JudgedGroup,
    Message,
    Problem,
    Ticket,
    Verdict,
)

LIMIT = 1.02
GROUP = 8
WATCHED = ("dashboard.enabled=true", "recorder.text=all")
ALONE = ("dashboard.enabled=false", "recorder.text=none", "recorder.tokens_share=0")
QUESTIONS = ("overview", "funnel", "rollouts?limit=100", "metrics")


class Reader(threading.Thread):
    """Somebody with the page open."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._stop_it = threading.Event()
        self.answers = 0

    def run(self) -> None:
        while not self._stop_it.wait(2.0):
            with suppress(OSError, ValueError):  # it is not up yet, or busy
                url = json.loads((self._folder / "dashboard.json").read_text())["url"]
                for question in ("live/poll", *QUESTIONS):
                    with urllib.request.urlopen(f"{url}api/{question}", timeout=10) as answer:
                        answer.read()
                    self.answers += 1

    def stop(self) -> None:
        self._stop_it.set()
        self.join(timeout=15)


def one_run(runs: Path, name: str, arguments: Sequence[str], preset: str) -> dict[str, Any]:
    """Seconds between the first and the last step, and how often the page answered."""
    folder, reader = runs / name, Reader(runs / name)
    command = [sys.executable, "-m", "cluster.main", "train", preset, *arguments]
    command += [f"runs_dir={runs}", f"name={name}", "data.heldout=null"]
    reader.start()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    reader.stop()
    if done.returncode:
        sys.exit(f"a run failed: {done.stderr.strip().splitlines()[-1]}")
    rows = read_jsonl(folder / "metrics.jsonl")
    seconds = (rows[-1]["published_us"] - rows[0]["published_us"]) / 1e6
    return {"seconds": seconds, "answers": reader.answers, "load": os.getloadavg()[0]}


def compare(preset: str, settings: Sequence[str], rounds: int, steps: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"alone": [], "watched": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            sides = [("alone", ALONE), ("watched", WATCHED)]
            for side, own in sides if number % 2 == 0 else reversed(sides):
                arguments = [*settings, f"steps={steps}", "checkpoint.every=1000", *own]
                seen = one_run(Path(folder), f"{side}-{number}", arguments, preset)
                found[side].append(seen)
                print(f"{side}: {seen['seconds']:.1f} s", file=sys.stderr)
    ratios = [
        watched["seconds"] / alone["seconds"]
        for alone, watched in zip(found["alone"], found["watched"], strict=True)
    ]
    median = statistics.median(ratios)
    return {"runs": found, "ratios": ratios, "median": median, "passed": median <= LIMIT}


def made_group(number: int, tokens: int) -> JudgedGroup:
    words = "Wait, let me check that step once more before I go on. " * (tokens // 12)
    problem = Problem(
        id=f"p{number % 97}", messages=(Message(role="user", content="1+1?"),), answer="2",
        source="sums", verifier="number", prompt_ids=(1, 2, 3),
    )  # fmt: skip
    completions = tuple(
        Completion(
            text=f"<think>{number} {sample} {words}</think>2",
            token_ids=tuple((number * 31 + sample * 7 + place) % 5000 for place in range(tokens)),
            logprobs=(-0.3,) * tokens,
            finish_reason="stop",
            first_version=1,
            last_version=1,
            start_us=1,
            end_us=2,
        )
        for sample in range(GROUP)
    )
    ticket = Ticket(number=number, attempt=0, problem=problem, size=GROUP, budget=1000)
    group = Group(
        ticket=ticket, generator_id="g", completions=completions, temperature=1.0, top_p=1.0,
        max_tokens=2000,
    )  # fmt: skip
    checks = tuple(Check(name=n, passed=True, value=1.0, threshold=1.0) for n in ("a", "b", "c"))
    return JudgedGroup(
        group=group,
        verdicts=(Verdict(status="correct", extracted="2", ms=1.0),) * GROUP,
        decisions=(Decision(reason=None, checks=checks),) * GROUP,
    )


async def record(rollouts: int, tokens: int) -> dict[str, Any]:
    groups = [made_group(number, tokens) for number in range(rollouts // GROUP)]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(folder, RecorderConfig())
        await recorder.start()
        cpu, wall = time.process_time(), time.monotonic()
        for group in groups:
            await recorder.rollouts(group)
        received = time.monotonic() - wall
        await recorder.close()
        cpu = time.process_time() - cpu
    count = len(groups) * GROUP
    return {
        "rollouts": count,
        "received_us": 1e6 * received / count,
        "cpu_us": 1e6 * cpu / count,
        "core_at_100_a_second": 100 * cpu / count,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    kinds = parser.add_subparsers(dest="kind", required=True)
    runs = kinds.add_parser("runs")
    runs.add_argument("settings", nargs="*")
    runs.add_argument("--preset", default="tiny")
    runs.add_argument("--rounds", type=int, default=3)
    runs.add_argument("--steps", type=int, default=12)
    recorder = kinds.add_parser("recorder")
    recorder.add_argument("--rollouts", type=int, default=4000)
    recorder.add_argument("--tokens", type=int, default=400)
    given = parser.parse_args()
    if given.kind == "recorder":
        found = asyncio.run(record(given.rollouts, given.tokens))
        line = (
            f"{found['rollouts']} rollouts of {given.tokens} tokens: received in "
            f"{found['received_us']:.0f} us each, {found['cpu_us']:.0f} us of CPU each with "
            f"sealing, {100 * found['core_at_100_a_second']:.1f} % of a core at 100 a second"
        )
    else:
        found = compare(given.preset, given.settings, given.rounds, given.steps)
        each = ", ".join(f"{ratio:.3f}" for ratio in found["ratios"])
        answers = sum(run["answers"] for run in found["runs"]["watched"])
        line = (
            f"watched over alone: {each}; median {found['median']:.3f} (limit {LIMIT}); "
            f"the page answered {answers} times; load {os.getloadavg()[0]:.1f}"
        )
    print(line)
    if given.json is not None:
        ratios = {"alone_over_watched": 1 / found["median"]} if "median" in found else {}
        given.json.write_text(json.dumps({"figures": found, "ratios": ratios}, indent=1))
    if not found.get("passed", True):
        sys.exit(1)


if __name__ == "__main__":
    main()
