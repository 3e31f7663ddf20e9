"""The whole loop, the same work on every side: Laconic beside what one would use instead.

    python -m benchmarks.whole_loop [tiny|smollm2] [key=value …] [--model FOLDER] [--rounds 5]
        [--steps 15] [--lag 1] [--sides async,exact,…] [--trl FOLDER] [--json FILE]

Sides, each a command of its own, in turns:

    async        laconic train PRESET with max_lag=1, or --lag; figures from its run directory
    exact        the same with max_lag=0
    plain 1, 2   benchmarks.plain_loop with one and with two threads
    trl          benchmarks.trl_loop, two threads; --trl: what `pip install --target` wrote to
    published    benchmarks.plain_loop --published, two threads

All have the same model, problems in the order of the file, group size, sampling, filter (right and
at most L tokens), optimizer, number of updates and number types. ``key=value`` are settings of the
runs, for all sides. Laconic runs as it does for anybody, with its page, its record of rollouts and
its checkpoints; only nobody evaluates on any side.

Tokens a second are counted from the end of the first ``--warm`` steps to the end of the last; the
asynchronous side goes on for a few steps behind it, so that it writes ahead then as before. The
start is from the command until the first token is next, and until the first optimizer step is done.
TRL learns from rejected samples as well, so look at its generated tokens too. Figures of a machine
that does something else as well are worth nothing: the load before each round is printed.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.loop_job import Job
from benchmarks.process_tree import MemoryWatch, Peaks
from cluster.models import models_dir, resolve_model
from cluster.plan import with_types
from configs.load import load
from configs.processor import computes_bfloat16
from configs.run_files import EVENTS, METRICS, read_jsonl
from configs.schema import RunConfig

ROOT = Path(__file__).parents[1]
LAST = 4
"""Steps at the end that are looked at alone: by then the model is concise."""

SIDES = ("async", "exact", "plain 1", "plain 2", "trl", "published")
OURS = ("async", "exact")
DECIMALS = 4
TRL_FOLDER = "LACONIC_TRL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The end of one optimizer step, new weights with the engine; tokens since the start."""

    at: float
    trained: int
    generated: int
    rollouts: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One run of one side."""

    began: float
    ready: float
    """The first token is next."""
    steps: tuple[Step, ...]


def figures(seen: Seen, warm: int) -> dict[str, float]:
    """What is compared. ``warm``: steps before the clock starts, at least one."""
    steps = seen.steps
    if len(steps) <= max(warm, LAST):
        raise ValueError(f"{len(steps)} steps: more than {max(warm, LAST)} are needed")
    rate, last = _rates(steps[warm - 1], steps[-1]), _rates(steps[-1 - LAST], steps[-1])
    some = steps[-LAST:]
    return {
        "trained_per_s": rate[0],
        "generated_per_s": rate[1],
        "trained_per_s_last": last[0],
        "generated_per_s_last": last[1],
        "step_s": (steps[-1].at - steps[warm - 1].at) / (len(steps) - warm),
        "ready_s": seen.ready - seen.began,
        "first_step_s": steps[0].at - seen.began,
        "accepted_share_last": sum(s.accepted for s in some) / sum(s.rollouts for s in some),
    }


def _rates(first: Step, last: Step) -> tuple[float, float]:
    seconds = last.at - first.at
    return (last.trained - first.trained) / seconds, (last.generated - first.generated) / seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    preset: str
    config: RunConfig
    settings: tuple[str, ...]
    model_dir: str
    train: str
    trl: Path | None
    warm: int
    lag: int


def run_side(bench: Bench, side: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        job = Job.of(bench.config, bench.model_dir, bench.train, Path(folder) / "rows.jsonl")
        if side in OURS:
            command, read = _laconic(bench, side, Path(folder))
        else:
            command, read = _other(side, job)
        began = time.time()
        peaks = _run(command, _environment(side, bench), Path(folder) / "said")
        return {
            **figures(read(began), bench.warm),
            "peak_rss_mib": peaks.rss,
            "peak_pss_mib": peaks.pss,
            "largest_mib": peaks.largest,
            "sampler_cpu_s": peaks.sampler_cpu_s,
            "memory": memory_by_name(peaks, Path(folder) / "run"),
        }


def memory_by_name(peaks: Peaks, run_dir: Path) -> dict[str, float]:
    """Each process's own peak, largest first; those of Laconic by the names of its parts."""
    parts = {}
    for event in read_jsonl(run_dir / EVENTS):
        parts |= {pid: name for name, pid in event.get("processes", {}).items()}
    found: dict[str, float] = {}
    for pid, (name, mib) in peaks.own.items():
        name = parts.get(pid, name)
        found[name] = round(found.get(name, 0.0) + mib, 1)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _laconic(bench: Bench, side: str, folder: Path) -> tuple[list[str], Callable[[float], Seen]]:
    lag = bench.lag if side == "async" else 0
    # When the clock starts, rollouts of the next steps are written or in flight; so they must be
    # when it stops, and a run writes nothing behind its last step.
    beyond = lag + 1 if lag else 0
    command = [
        sys.executable, str(ROOT / "laconic_cli.py"), "train", bench.preset, *bench.settings,
        f"steps={bench.config.steps + beyond}", f"max_lag={lag}", f"runs_dir={folder}", "name=run",
    ]  # fmt: skip

    def read(began: float) -> Seen:
        seen = seen_in(folder / "run", began)
        return replace(seen, steps=seen.steps[: bench.config.steps])

    return command, read


def seen_in(run_dir: Path, began: float) -> Seen:
    """From the run directory."""
    started = next(row for row in read_jsonl(run_dir / EVENTS) if row["kind"] == "started")
    steps = tuple(
        Step(
            at=row["published_us"] / 1e6,
            trained=row["trained_tokens"],
            generated=row["generated_tokens"],
            rollouts=row["rollouts"],
            accepted=row["accepted"],
        )
        for row in read_jsonl(run_dir / METRICS)
    )
    return Seen(began=began, ready=started["at_us"] / 1e6, steps=steps)


def _other(side: str, job: Job) -> tuple[list[str], Callable[[float], Seen]]:
    module = "benchmarks.trl_loop" if side == "trl" else "benchmarks.plain_loop"
    command = [sys.executable, "-m", module, job.text()]
    command += ["--published"] if side == "published" else []

    def read(began: float) -> Seen:
        ready, *rows = read_jsonl(job.out)
        return Seen(began=began, ready=ready["ready"], steps=tuple(Step(**row) for row in rows))

    return command, read


def _environment(side: str, bench: Bench) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    if side in OURS:
        return environment
    threads = "1" if side == "plain 1" else "2"
    if side != "trl":  # as in Laconic's processes: huge pages for tensors, quicker and larger
        environment["THP_MEM_ALLOC_ENABLE"] = "1"
    environment |= {
        "OMP_NUM_THREADS": threads,
        "VLLM_CPU_KVCACHE_SPACE": str(bench.config.engine.kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    if side == "trl" and bench.trl is not None:
        environment["PYTHONPATH"] += f"{os.pathsep}{bench.trl}"
    return environment


def _run(command: Sequence[str], environment: dict[str, str], said: Path) -> Peaks:
    with said.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        with MemoryWatch(process.pid) as peaks:
            process.wait()
    if process.returncode:
        lines = said.read_text().strip().splitlines() or ["it said nothing"]
        sys.exit(f"{' '.join(command[:4])} … failed: {lines[-1]}")
    return peaks


def compare(bench: Bench, sides: Sequence[str], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Rounds begin with another side each: what a machine does over time hits all alike."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for number in range(rounds):
        turn = number % len(sides)
        print(f"round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        for side in [*sides[turn:], *sides[:turn]]:
            row = run_side(bench, side)
            found[side].append(row)
            print(
                f"  {side:10} {row['trained_per_s']:7.0f} trained/s "
                f"{row['generated_per_s']:7.0f} generated/s {row['step_s']:6.2f} s a step",
                flush=True,
            )
    return found


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """``figures`` by side, and ``ratios`` of which more is better, each with its quartiles. A ratio
    is taken within each round, then the median."""
    sides = {
        key_of(side): {name: spread([row[name] for row in rows]) for name in _numbers(rows[0])}
        for side, rows in found.items()
    }
    ratios: dict[str, dict[str, float]] = {}
    plain = best_plain(found)
    for ours in (side for side in OURS if side in found):
        for other in (*((plain,) if plain else ()), "trl", "published"):
            if other not in found:
                continue
            name = f"{key_of(ours)}_over_{'plain' if other == plain else key_of(other)}"
            pairs = list(zip(found[ours], found[other], strict=True))
            for figure in ("trained_per_s", "generated_per_s", "trained_per_s_last"):
                label = name if figure == "trained_per_s" else f"{name}_{figure}"
                ratios[label] = spread([a[figure] / b[figure] for a, b in pairs])
    return {"figures": sides, "ratios": ratios, "best_plain": plain}


def best_plain(found: dict[str, list[dict[str, Any]]]) -> str | None:
    """The setting of threads that is quicker."""
    plain = [side for side in found if side.startswith("plain")]
    rates = {s: statistics.median(row["trained_per_s"] for row in found[s]) for s in plain}
    return max(rates, key=lambda side: rates[side], default=None)


def key_of(side: str) -> str:
    return side.replace(" ", "_")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive")
        if len(values) > 1
        else [values[0]] * 3
    )
    named = {"median": middle, "q1": low, "q3": high}
    return {name: round(value, DECIMALS) for name, value in named.items()}


def _numbers(row: dict[str, Any]) -> list[str]:
    return [name for name, value in row.items() if isinstance(value, float)]


def lines(result: dict[str, Any]) -> list[str]:
    rows = {
        "trained_per_s": "accepted and trained tokens/s",
        "generated_per_s": "generated tokens/s",
        "trained_per_s_last": f"trained tokens/s, last {LAST} steps",
        "step_s": "seconds a step",
        "ready_s": "start until the first token, s",
        "first_step_s": "start until the first step, s",
        "accepted_share_last": f"accepted share, last {LAST} steps",
        "peak_rss_mib": "peak of all processes, RSS, MiB",
        "peak_pss_mib": "the same, PSS",
        "largest_mib": "largest process, MiB",
    }
    sides = result["figures"]
    out = ["| | " + " | ".join(sides) + " |", "|---" * (len(sides) + 1) + "|"]
    for name, title in rows.items():
        cells = (_cell(side[name]) for side in sides.values())
        out.append(f"| {title} | " + " | ".join(cells) + " |")
    out += [
        f"{name}: {value['median']:.2f} [{value['q1']:.2f}, {value['q3']:.2f}]"
        for name, value in result["ratios"].items()
    ]
    return out


def _cell(value: dict[str, float]) -> str:
    digits = 0 if value["median"] >= 100 else 2
    return f"{value['median']:,.{digits}f} [{value['q1']:,.{digits}f}, {value['q3']:,.{digits}f}]"


def prepare(given: argparse.Namespace) -> Bench:
    settings = [*given.settings, f"steps={given.steps}", "data.heldout=null", "data.shuffle=false"]
    if given.model is not None:
        settings.append(f"model.path={given.model}")
    config = with_types(load(given.preset, settings), "cpu", has_bfloat16=computes_bfloat16())
    model_dir = resolve_model(config.model.path, print)
    train = config.data.train
    made = models_dir() / train / "train.jsonl"
    return Bench(
        preset=given.preset,
        config=config,
        settings=tuple(settings),
        model_dir=model_dir,
        train=str(made) if made.is_file() else train,
        trl=given.trl,
        warm=given.warm,
        lag=given.lag,
    )


def _sides(trl: Path | None) -> list[str]:
    if trl is not None or importlib.util.find_spec("trl") is not None:
        return list(SIDES)
    print("trl is missing, and its side left out: pip install trl, or give --trl FOLDER")
    return [side for side in SIDES if side != "trl"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("preset", nargs="?", default="tiny", help="a preset's name or a YAML file")
    parser.add_argument("settings", nargs="*", help="key=value, for all sides")
    parser.add_argument("--model", help="a folder, in place of the preset's model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--warm", type=int, default=3, help="steps before the clock starts")
    parser.add_argument("--lag", type=int, default=1, help="max_lag of the asynchronous side")
    parser.add_argument("--sides", help="some of them; none: all that can run here")
    parser.add_argument(
        "--trl",
        type=Path,
        default=os.environ.get(TRL_FOLDER),
        help=f"folder that trl was installed into; or the variable {TRL_FOLDER}",
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_intermixed_args()
    sides = given.sides.split(",") if given.sides else _sides(given.trl)
    if unknown := set(sides) - set(SIDES):
        parser.error(f"no side is called {min(unknown)!r}: there are {', '.join(SIDES)}")
    if not 1 <= given.warm < given.steps or given.steps <= LAST:
        parser.error(f"--steps must be more than --warm and than {LAST}, and --warm at least 1")
    bench = prepare(given)
    found = compare(bench, sides, given.rounds)
    result = {**summary(found), "settings": bench.settings, "lag": given.lag}
    result |= {"rounds": given.rounds, "runs": found}
    print("\n".join(lines(result)))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
