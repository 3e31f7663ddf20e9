"""Kill a random part of a real run again and again, and see that nothing is lost.

    python -m tests.faults.soak --minutes 30 --seed 0

Every 20 to 40 seconds one process gets SIGKILL: an engine or its core, a judge or one of its
children, the queue, the recorder, the learner, or the driver, which is then started with
``--resume``. At the end the run is stopped and ``laconic check`` reads what it left.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from configs.run_files import METRICS, read_jsonl
from tests.faults.live import Live
from tests.integration.conftest import command
from tests.integration.runs import events
from verifiers.parent import die_with_parent

SETTINGS = (
    "steps=1000000", "max_lag=1", "checkpoint.every=5", "eval.problems=1",
    "cluster.engine_restarts=100000", "cluster.part_restarts=100000",
    "cluster.learner_restarts=100000", "cluster.part_timeout_s=30", "engine.num_engines=1",
)  # fmt: skip
LOST_S = 240
"""A run that makes no step for so long has hung."""

STOP_S = 60
SAMPLE_S = 5.0


@dataclass
class Soak:
    folder: Path
    settings: Sequence[str]
    random: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    next: list[str] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)
    live: Live | None = None

    def start(self) -> None:
        resume = ["--resume"] if self.folder.exists() else []
        log = (self.folder.parent / "driver.log").open("ab")
        driver = subprocess.Popen(
            command("train", "tiny", *self.settings, *resume),
            stdout=log,
            stderr=log,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        self.live = Live(self.folder, driver)

    def run(self, minutes: float, pause_s: tuple[float, float]) -> None:
        end = time.monotonic() + 60 * minutes
        self.start()
        while time.monotonic() < end:
            self.wait_for_a_step()
            self.pause(min(end, time.monotonic() + self.random.uniform(*pause_s)))
            if time.monotonic() < end:
                self.kill_something()
        self.stop()

    def pause(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            self.sample()
            time.sleep(min(SAMPLE_S, left))

    def wait_for_a_step(self) -> None:
        assert self.live is not None
        before = _newest_step_us(self.folder)
        deadline = time.monotonic() + LOST_S
        while _newest_step_us(self.folder) <= before:
            if (code := self.live.driver.poll()) is not None:
                raise SystemExit(f"the run ended by itself with exit code {code}: see driver.log")
            if time.monotonic() > deadline:
                raise SystemExit(f"no step for {LOST_S} s after {dict(self.killed)}")
            time.sleep(0.5)

    def kill_something(self) -> None:
        assert self.live is not None
        victims: dict[str, Callable[[Live], int]] = {
            "driver": lambda live: live.driver.pid,
            "engine": lambda live: live.pid(self.random.choice(sorted(live.serving()))),
            "engine core": lambda live: live.core(self.random.choice(sorted(live.serving()))),
            "judge": lambda live: live.pid("judge-0"),
            "judge child": lambda live: self.random.choice(_children(live.pid("judge-0"))),
            "queue": lambda live: live.pid("queue"),
            "recorder": lambda live: live.pid("recorder"),
            "learner": lambda live: live.pid("learner-0"),
        }
        if not self.next:  # each kind as often as any other, in a random order
            self.next = self.random.sample(sorted(victims), len(victims))
        name = self.next.pop()
        try:
            os.kill(victims[name](self.live), signal.SIGKILL)
        except (IndexError, KeyError, ProcessLookupError, FileNotFoundError, ValueError):
            return  # it is just not there: killed before, and not yet back
        self.killed[name] += 1
        print(f"{time.strftime('%H:%M:%S')} killed {name}", flush=True)
        if name == "driver":
            self.live.driver.wait()
            self.start()

    def sample(self) -> None:
        assert self.live is not None
        pids = [self.live.driver.pid, *_descendants(self.live.driver.pid)]
        row = {"s": time.monotonic(), "mib": 0.0, "fds": 0.0, "processes": float(len(pids))}
        names = {pid: name for name, pid in self.live.pids().items()}
        for pid in pids:
            try:
                mib = _own_mib(pid)
                fds = len(os.listdir(f"/proc/{pid}/fd"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            row["mib"] += mib
            row["fds"] += fds
            name = names.get(pid) or _title(pid)
            row[f"mib {name}"] = row.get(f"mib {name}", 0.0) + mib
        self.samples.append(row)

    def stop(self) -> None:
        assert self.live is not None
        self.live.driver.send_signal(signal.SIGTERM)
        code = self.live.driver.wait(timeout=STOP_S)
        if code != 75:
            raise SystemExit(f"the run was told to stop and ended with exit code {code}, not 75")

    def report(self, seconds: float) -> dict[str, Any]:
        checked = subprocess.run(
            command("check", str(self.folder), "--json"), capture_output=True, text=True
        )
        return {
            "killed": dict(self.killed),
            "steps": len(self.steps()),
            "effective_training_time": self.effective_time(seconds),
            "mib_per_hour": _slope(self.samples, "mib"),
            "mib_per_hour_of": {
                name.removeprefix("mib "): slope
                for name in sorted({name for row in self.samples for name in row})
                if name.startswith("mib ") and (slope := _slope(self.samples, name))
            },
            "fds_per_hour": _slope(self.samples, "fds"),
            "dead_letters": len(events(self.folder, "dead_letter")),
            "check": json.loads(checked.stdout or "{}"),
            "check_exit": checked.returncode,
            "check_says": checked.stderr.strip(),
        }

    def steps(self) -> dict[int, dict[str, Any]]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return {row["step"]: row for row in map(json.loads, lines)}

    def effective_time(self, seconds: float) -> float:
        """Time that an undisturbed run would have taken for the steps that count, of all time. An
        undisturbed step is a median one."""
        times = sorted(
            (row["published_us"] - row["asked_us"]) / 1e6 for row in self.steps().values()
        )
        return len(times) * times[len(times) // 2] / seconds


def _newest_step_us(folder: Path) -> int:
    """When it was done; a run that goes on from a checkpoint takes some steps a second time."""
    rows = read_jsonl(folder / METRICS)
    return rows[-1]["published_us"] if rows else 0


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(found)


def _descendants(pid: int) -> list[int]:
    try:
        children = _children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(pid for child in children for pid in _descendants(child))]


def _own_mib(pid: int) -> float:
    """Memory with its share of what it has in common with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def _title(pid: int) -> str:
    """Of a process that is no part of ours: an engine's core, Ray's own, a judge's children."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    if command.startswith("VLLM"):
        return "engine core"
    return "judge children" if "verifiers." in command else "Ray and others"


def _slope(samples: list[dict[str, float]], name: str) -> dict[str, float]:
    """Per hour, by least squares, with its standard error, where all processes were there: half of
    them may be starting just then. The first third warms up."""
    late = samples[len(samples) // 3 :]
    most = max((row["processes"] for row in late), default=0.0)
    whole = [row for row in late if row["processes"] >= most - 1 and name in row]
    if len(whole) < 3:
        return {}
    mean_s = sum(row["s"] for row in whole) / len(whole)
    mean = sum(row[name] for row in whole) / len(whole)
    spread = sum((row["s"] - mean_s) ** 2 for row in whole)
    slope = sum((row["s"] - mean_s) * (row[name] - mean) for row in whole) / spread
    rest = sum((row[name] - mean - slope * (row["s"] - mean_s)) ** 2 for row in whole)
    error = (rest / (len(whole) - 2) / spread) ** 0.5
    return {"slope": 3600 * slope, "error": 3600 * error, "mean": mean, "samples": len(whole)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, nargs=2, default=(20, 40), metavar="S")
    parser.add_argument("--runs", type=Path, help="where the run is left; else it is removed")
    parser.add_argument("settings", nargs="*", help="further settings of the run, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = (options.runs or Path(scratch)).resolve()
        runs.mkdir(parents=True, exist_ok=True)
        settings = [*SETTINGS, *options.settings, f"runs_dir={runs}", "name=soak"]
        soak = Soak(runs / "soak", settings, random.Random(options.seed))
        began = time.monotonic()
        soak.run(options.minutes, tuple(options.every))
        report = soak.report(time.monotonic() - began)
        print(json.dumps(report, indent=1))
    sys.exit(report["check_exit"])


if __name__ == "__main__":
    main()
