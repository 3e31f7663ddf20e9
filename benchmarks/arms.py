"""Arms of an experiment on the made model: each one real command, kept, never run twice.

An arm that only changes the decoding is one evaluation with a response per seed; one that trains is
one run per seed. Both are judged on the same held-out problems, at temperature 1 unless the arm
says otherwise.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cluster.eval_rows import samples_of
from evaluation.figures import by_problem
from evaluation.intervals import percentile_interval
from evaluation.plots import Point, pareto_front, pareto_plot
from verifiers.types import EvalSample

ROOT = Path(__file__).parents[1]
RESAMPLES = 2000
BASE = "base"
"""The arm that the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    kind: Literal["evaluate", "train"]
    settings: tuple[str, ...] = ()
    """``key=value``. Where it trains, ``key={gold}`` stands for data that is made first, and braces
    that are meant are doubled."""
    says: str = ""
    """What it is, in a few words, for the table."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """A file made for an arm, and what making it cost."""

    path: Path
    settings: tuple[str, ...] = ()
    """What a run needs beside ``data.train``."""
    generated_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Where an experiment lives and how large it is."""

    out: Path
    steps: int
    problems: int
    extra: tuple[str, ...] = ()
    make: Callable[["Lab", str, int], Data] | None = None
    """Makes the data that ``{name}`` in an arm's settings stands for, for a seed."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One seed of one arm."""

    arm: str
    seed: int
    command: str
    accuracy: list[float]
    """Of each problem, in the order of the file."""
    tokens: list[float]
    truncated: float
    seconds: float
    """Wall time of the command, its start included."""
    trained_tokens: int = 0
    generated_tokens: int = 0
    """Written to learn from, data made beforehand included."""
    steps: int = 0


def run_arm(lab: Lab, arm: Arm, seeds: int) -> list[Outcome]:
    """All seeds; what is there already with the same command is read and not run again."""
    if arm.kind == "evaluate":
        return _evaluated(lab, arm, seeds)
    return [_trained(lab, arm, seed) for seed in range(seeds)]


def laconic(*arguments: str) -> float:
    """Run a command to its end; its seconds. ArmFailed names the last line that it said."""
    began = time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "cluster.main", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ArmFailed(f"exit {done.returncode}: {lines[-1]}")
    return time.monotonic() - began


class ArmFailed(Exception):
    """A command did not end well."""


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _evaluated(lab: Lab, arm: Arm, seeds: int) -> list[Outcome]:
    arguments = [
        "eval", "tiny", f"eval.problems={lab.problems}", f"eval.samples={seeds}",
        *arm.settings, *lab.extra,
    ]  # fmt: skip
    name = _name(f"{slug(arm.name)}-x{seeds}", arguments)
    folder, file = lab.out / name, lab.out / "outcomes" / f"{name}.json"
    if not file.exists():
        seconds = laconic(*arguments, "--out", str(folder), "--json")
        samples = next(iter(samples_of(folder).values()))
        found = [
            _outcome(
                arm, seed, arguments, [s for s in samples if s.sample == seed], seconds / seeds
            )
            for seed in range(seeds)
        ]
        _keep(file, found)
    return _read(file)


def _trained(lab: Lab, arm: Arm, seed: int) -> Outcome:
    data = _data_of(lab, arm, seed)
    settings = [text.format(**{n: d.path for n, d in data.items()}) for text in arm.settings]
    made = [text for each in data.values() for text in each.settings]
    arguments = [
        "train", "tiny", f"steps={lab.steps}", f"seed={seed}", f"eval.problems={lab.problems}",
        *made, *settings, *lab.extra,
    ]  # fmt: skip
    name = _name(f"{slug(arm.name)}-s{seed}", arguments)
    file = lab.out / "outcomes" / f"{name}.json"
    if not file.exists():
        begun = ["--resume"] if (lab.out / name / "run.json").is_file() else []
        laconic(*arguments, f"runs_dir={lab.out}", f"name={name}", *begun)
        summary = json.loads((lab.out / name / "summary.json").read_text())
        after = samples_of(lab.out / name)["after"]
        outcome = _outcome(arm, seed, arguments, after, summary["seconds"])
        written = summary["generated_tokens"] + sum(d.generated_tokens for d in data.values())
        counted = {"trained_tokens": summary["trained_tokens"], "generated_tokens": written}
        _keep(file, [Outcome(**asdict(outcome) | counted | {"steps": summary["steps"]})])
    return _read(file)[0]


def _data_of(lab: Lab, arm: Arm, seed: int) -> dict[str, Data]:
    names = {name for text in arm.settings for name in re.findall(r"=\{(\w+)\}", text)}
    if names:
        assert lab.make is not None, f"{arm.name} wants {names}"
        return {name: lab.make(lab, name, seed) for name in names}
    return {}


def _outcome(
    arm: Arm, seed: int, arguments: Sequence[str], samples: Sequence[EvalSample], seconds: float
) -> Outcome:
    answers = by_problem(sorted(samples, key=lambda sample: sample.problem_id))
    return Outcome(
        arm=arm.name,
        seed=seed,
        command=" ".join(arguments),
        accuracy=[float(np.mean(each.right)) for each in answers],
        tokens=[float(np.mean(each.num_tokens)) for each in answers],
        truncated=float(np.mean([s.finish_reason == "length" for s in samples])),
        seconds=round(seconds, 1),
    )


def _name(stem: str, arguments: Sequence[str]) -> str:
    """By what is asked, so that another question is not answered with it."""
    return f"{stem}-{hashlib.sha256(chr(0).join(arguments).encode()).hexdigest()[:8]}"


def _keep(file: Path, outcomes: Sequence[Outcome]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps([asdict(outcome) for outcome in outcomes]))
    os.replace(temporary, file)


def _read(file: Path) -> list[Outcome]:
    return [Outcome(**row) for row in json.loads(file.read_text())]


def row_of(arm: Arm, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means over seeds, with intervals over seeds and problems."""
    accuracy_SP = np.array([outcome.accuracy for outcome in outcomes])
    tokens_SP = np.array([outcome.tokens for outcome in outcomes])
    return {
        "arm": arm.name,
        "says": arm.says,
        "kind": arm.kind,
        "seeds": len(outcomes),
        "problems": accuracy_SP.shape[1],
        "accuracy": float(accuracy_SP.mean()),
        "accuracy_ci": two_level(accuracy_SP),
        "accuracy_of_seeds": accuracy_SP.mean(axis=1).tolist(),
        "tokens": float(tokens_SP.mean()),
        "tokens_ci": two_level(tokens_SP),
        "tokens_of_seeds": tokens_SP.mean(axis=1).tolist(),
        "truncated": float(np.mean([outcome.truncated for outcome in outcomes])),
        "seconds": float(np.mean([outcome.seconds for outcome in outcomes])),
        "trained_tokens": float(np.mean([outcome.trained_tokens for outcome in outcomes])),
        "generated_tokens": float(np.mean([outcome.generated_tokens for outcome in outcomes])),
        "steps": max(outcome.steps for outcome in outcomes),
        "command": outcomes[0].command,
    }


def two_level(values_SP: np.ndarray) -> tuple[float, float]:
    """Seeds are drawn anew, and problems, the same for all seeds: both could have been others."""
    rng = np.random.default_rng(0)
    num_seeds, num_problems = values_SP.shape
    means = []
    for _ in range(RESAMPLES):
        seeds = rng.integers(0, num_seeds, num_seeds)
        problems = rng.integers(0, num_problems, num_problems)
        means.append(values_SP[np.ix_(seeds, problems)].mean())
    return percentile_interval(np.array(means))


HEAD = (
    f"{'arm':34} {'accuracy %':>10} {'95 %':>14} {'tokens':>7} {'95 %':>15} {'cut %':>6} "
    f"{'s':>5} {'trained':>9} {'written':>10}"
)


def line_of(row: dict[str, Any]) -> str:
    low, high = row["accuracy_ci"]
    least, most = row["tokens_ci"]
    return (
        f"{row['arm']:34} {100 * row['accuracy']:10.1f} {f'{100 * low:.1f}-{100 * high:.1f}':>14} "
        f"{row['tokens']:7.1f} {f'{least:.1f}-{most:.1f}':>15} {100 * row['truncated']:6.1f} "
        f"{row['seconds']:5.0f} {row['trained_tokens']:9,.0f} {row['generated_tokens']:10,.0f}"
    )


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What wins and what does not, from the intervals alone."""
    front = [point.label for point in pareto_front([_point(row) for row in rows])]
    said = ["Nothing here is more accurate with fewer tokens than: " + ", ".join(front) + "."]
    base = next((row for row in rows if row["arm"] == BASE), None)
    if base is None:
        return said
    for words, holds in (
        ("More accurate than the base, intervals apart", _above),
        ("Less accurate than the base, intervals apart", lambda row, base: _above(base, row)),
        ("Not told apart from the base in accuracy", _overlaps),
        ("No shorter than the base", _not_shorter),
    ):
        names = [row["arm"] for row in rows if row is not base and holds(row, base)]
        said.append(f"{words}: {', '.join(names) or 'none'}.")
    return said


def _above(row: dict[str, Any], base: dict[str, Any]) -> bool:
    return row["accuracy_ci"][0] > base["accuracy_ci"][1]


def _overlaps(row: dict[str, Any], base: dict[str, Any]) -> bool:
    return not _above(row, base) and not _above(base, row)


def _not_shorter(row: dict[str, Any], base: dict[str, Any]) -> bool:
    return row["tokens_ci"][1] >= base["tokens_ci"][0]


def _point(row: dict[str, Any]) -> Point:
    return Point(
        label=row["arm"],
        tokens=row["tokens"],
        tokens_ci=tuple(row["tokens_ci"]),
        accuracy=row["accuracy"],
        accuracy_ci=tuple(row["accuracy_ci"]),
    )


def parser(text: str, out: str) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--seeds", type=int, default=3)
    found.add_argument("--steps", type=int, default=25, help="optimizer steps of a run")
    found.add_argument("--problems", type=int, default=400, help="held-out problems")
    found.add_argument("--only", default="", help="a regular expression for names of arms")
    found.add_argument("--list", action="store_true", help="name the arms and run none")
    found.add_argument("--out", type=Path, default=Path(out), help="folder of runs and results")
    found.add_argument("extra", nargs="*", help="key=value for every command")
    return found


def experiment(
    name: str,
    arms: Sequence[Arm],
    options: argparse.Namespace,
    make: Callable[[Lab, str, int], Data] | None = None,
) -> int:
    """Run the arms one by one; the table, the plot and ``NAME.json`` grow with each. Returns how
    many failed."""
    chosen = [arm for arm in arms if re.search(options.only, arm.name)]
    if options.list:
        print("\n".join(f"{arm.name:34} {arm.says}" for arm in chosen))
        return 0
    lab = Lab(
        out=options.out.resolve(), steps=options.steps, problems=options.problems,
        extra=tuple(options.extra), make=make,
    )  # fmt: skip
    lab.out.mkdir(parents=True, exist_ok=True)
    file = lab.out / f"{name}.json"
    failed = 0
    print(HEAD, flush=True)
    for arm in chosen:
        try:
            row = row_of(arm, run_arm(lab, arm, options.seeds))
        except ArmFailed as error:
            failed += 1
            print(f"{arm.name:34} FAILED: {error}", flush=True)
            continue
        print(line_of(row), flush=True)
        write(file, row, [arm.name for arm in arms], options)
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    if rows:
        pareto_plot([_point(row) for row in rows], lab.out / f"{name}-pareto", f"tiny: {name}")
        print("\n" + "\n".join(verdicts(rows)))
        print(f"{file}\n{lab.out / f'{name}-pareto.png'}")
    return failed


def write(
    file: Path, row: dict[str, Any], order: Sequence[str], options: argparse.Namespace
) -> None:
    """One row more, or a newer one, in the order of the arms."""
    known = json.loads(file.read_text())["rows"] if file.exists() else []
    rows = {known_row["arm"]: known_row for known_row in known} | {row["arm"]: row}
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}",
        "command": _command(file.stem, options),
        "rows": [rows[name] for name in [*order, *(rows.keys() - set(order))] if name in rows],
    }
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1))
    os.replace(temporary, file)


def _command(name: str, options: argparse.Namespace) -> str:
    said = f"python -m benchmarks.{name} --seeds {options.seeds}"
    if (options.steps, options.problems) != (25, 400):
        said += f" --steps {options.steps} --problems {options.problems}"
    return " ".join([said, *options.extra])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
