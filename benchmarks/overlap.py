"""What writing while the learner steps is worth: async against exact.

    python -m benchmarks.overlap stub [--steps 40] [--json FILE]
    python -m benchmarks.overlap real [key=value …] [--preset tiny] [--lag 1] [--rounds 3]
        [--steps 12] [--json FILE]

``stub``: the real loop, fleet and queue in this process around an engine and a learner that sleep:
G seconds to write a batch, T to learn it, W to bring its weights. Exact takes G + T + W a step; at
best, async takes max(G, T). The share of that bound which is reached must be 0.95.

``real``: whole runs of a preset, alternated, each engine and learner on a core of its own: seconds
from the end of the first step to the same number of trained tokens. The median ratio must be 1.5;
what it can be at most depends on how close writing and learning are, which is printed beside it.
Figures of a machine that does something else as well are worth nothing: the load is printed.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from actors.replay import ReplayQueue
from cluster.fleet import Fleet
from cluster.loop import Parts, run
from cluster.neighbours import Issued
from configs.load import load
from configs.run_files import read_jsonl
from configs.schema import RunConfig
from verifiers.types import (
    GroupOutcome,
    Lease,
    Outcome,
    Problem,
    PublishedWeights,
    Rollout,
    Settlement,
    Ticket,
    rollout_id,
)

STUB_PASS = 0.95
REAL_PASS = 1.5
SERVICE_TIMES = ((0.3, 0.2, 0.04), (0.2, 0.3, 0.04), (0.25, 0.25, 0.01))
"""G, T and W: writing is slower, learning is, neither is."""

GROUPS = 8
PINNED = ("cluster.pin_cores=true", "cluster.threads=1", "data.heldout=null")


@dataclass(frozen=True)
class Stats:
    stalled_s: float = 0.0


@dataclass(frozen=True)
class Swap:
    seconds: float
    prepare_s: float = 0.0
    stall_s: float = 0.0
    in_flight: int = 0


@dataclass(frozen=True)
class Step:
    skipped: bool = False
    diverged: bool = False


class SleepingEngine:
    """Writes one group after the other; takes weights without standing still."""

    def __init__(self, queue: ReplayQueue, group_s: float, swap_s: float) -> None:
        self._queue = queue
        self._group_s = group_s
        self._swap_s = swap_s
        self._turn = asyncio.Lock()
        self._free_at = 0.0
        self._version = 0

    async def start(self) -> None: ...

    async def stats(self) -> Stats:
        return Stats()

    async def evaluate(self, problem: Problem, count: int, sampling: Any) -> tuple[Any, ...]:
        return ()

    async def generate(self, ticket: Ticket) -> None:
        async with self._turn:  # until a point in time: sleeps that are late do not add up
            self._free_at = max(self._free_at, time.monotonic()) + self._group_s
            await asyncio.sleep(self._free_at - time.monotonic())
        await self._queue.settle(_settlement(ticket, self._version))

    async def load_weights(self, weights: PublishedWeights) -> Swap:
        await asyncio.sleep(self._swap_s)
        self._version = weights.version
        return Swap(self._swap_s)


class SleepingLearner:
    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self.ended: list[float] = []

    async def step(self, lease: Lease) -> Step:
        await asyncio.sleep(self._step_s)
        self.ended.append(time.monotonic())
        return Step()

    async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights:
        return PublishedWeights(version=version, fingerprint="", num_tensors=0, num_bytes=0)

    async def send(self, engines: int) -> None: ...


class Source:
    """As many problems as tickets."""

    def draw(self, number: int, version: int) -> Ticket:
        problem = Problem(
            id=f"p{number}", messages=(), answer="", source="", verifier="", prompt_ids=(1,)
        )
        return Ticket(number=number, attempt=0, problem=problem, size=1, budget=1, seen=0)

    def again(self, record: Issued) -> Ticket:
        raise AssertionError("nothing was interrupted")

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        return []


class NoGuard:
    """There is no accuracy to look after."""

    is_on = wants_back = is_over = False

    def is_point(self, version: int) -> bool:
        return False

    async def look(self, version: int) -> None: ...


class Quiet:
    """Records nothing, reports nothing, hires nobody."""

    def __getattr__(self, name: str) -> Any:
        async def ignore(*args: Any, **kwargs: Any) -> None: ...

        return ignore

    async def checkpoint(self, version: int, end_ticket: int) -> Awaitable[bool]:
        return asyncio.sleep(0, result=True)


def _settlement(ticket: Ticket, version: int) -> Settlement:
    name = rollout_id(ticket.number, ticket.attempt, 0)
    return Settlement(
        ticket=ticket.number,
        attempt=ticket.attempt,
        outcomes=(
            Outcome(
                rollout_id=name, status="correct", reason=None, num_tokens=1,
                first_version=version, last_version=version,
            ),
        ),
        rollouts=(
            Rollout(
                id=name, prompt_ids=(1,), response_ids=(2,),
                first_version=version, last_version=version,
            ),
        ),
    )  # fmt: skip


async def stub_seconds(max_lag: int, times: Sequence[float], steps: int) -> float:
    """Seconds from the end of one step to that of the next: the median, since the machine may
    stand still now and then."""
    write_s, learn_s, swap_s = times
    settings = [f"steps={steps}", f"max_lag={max_lag}", f"batch.problems={GROUPS}"]
    config = load("tiny", [*settings, "sampling.group_size=1", "checkpoint.every=1000"])
    quiet: Any = Quiet()
    learner = SleepingLearner(learn_s)
    with tempfile.TemporaryDirectory() as folder:
        queue = ReplayQueue(folder, config, quiet)
        await queue.open(0)
        engine = SleepingEngine(queue, write_s / GROUPS, swap_s)
        await run(_parts(config, queue, engine, learner, quiet), start=0, reissue=[])
        await queue.close()
    return statistics.median(after - before for before, after in pairwise(learner.ended))


def _parts(config: RunConfig, queue: Any, engine: Any, learner: Any, quiet: Any) -> Parts:
    return Parts(
        config=config,
        source=Source(),
        queue=queue,
        engines=Fleet(config, quiet, quiet, [engine]),
        learner=learner,
        reports=quiet,
        guard=NoGuard(),
        checkpoint=quiet.checkpoint,
        roll_back=quiet.roll_back,
        revive=quiet.revive,
        look=quiet.look,
        evaluate=quiet.evaluate,
        wanted_engines=lambda: None,
    )


def stub(steps: int) -> dict[str, Any]:
    rows = []
    for times in SERVICE_TIMES:
        exact, overlapped = (asyncio.run(stub_seconds(lag, times, steps)) for lag in (0, 1))
        bound = sum(times) / max(times[:2])
        rows.append(
            {
                "G": times[0], "T": times[1], "W": times[2], "exact_s": exact,
                "async_s": overlapped, "ratio": exact / overlapped, "bound": bound,
                "share": exact / overlapped / bound,
            }
        )  # fmt: skip
    shares = [row["share"] for row in rows]
    return {
        "rows": rows,
        "passed": min(shares) >= STUB_PASS,
        "ratios": {"share_of_bound": min(shares)},
    }


def real(
    rounds: int, steps: int, preset: str, max_lag: int, settings: Sequence[str]
) -> dict[str, Any]:
    rows = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            sides = {
                lag: real_run(Path(folder) / "runs", lag, steps, preset, settings)
                for lag in ((0, max_lag) if number % 2 == 0 else (max_lag, 0))
            }
        tokens = min(side[-1][1] - side[0][1] for side in sides.values())
        exact, overlapped = (_seconds_to(sides[lag], tokens) for lag in (0, max_lag))
        rows.append(
            {"tokens": tokens, "exact_s": exact, "async_s": overlapped, "ratio": exact / overlapped}
            | _parts_of_a_step(sides[0])
        )
    ratio = statistics.median(row["ratio"] for row in rows)
    return {
        "rows": rows,
        "median": ratio,
        "passed": ratio >= REAL_PASS,
        "ratios": {"async_over_exact": ratio},
    }


Curve = list[tuple[float, int, float, float]]
"""At the end of every step: the time, trained tokens until then, its waiting and its learning."""


def real_run(runs: Path, max_lag: int, steps: int, preset: str, settings: Sequence[str]) -> Curve:
    name = f"lag-{max_lag}"
    command = [
        sys.executable, "-m", "cluster.main", "train", preset, *PINNED, f"runs_dir={runs}",
        f"name={name}", f"max_lag={max_lag}", f"steps={steps}", "checkpoint.every=1000", *settings,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [
        (row["published_us"] / 1e6, row["trained_tokens"], row["wait_s"], row["train_s"])
        for row in read_jsonl(runs / name / "metrics.jsonl")
    ]


def _seconds_to(curve: Curve, tokens: int) -> float:
    """From the end of the first step until so many more tokens were trained, between two steps in
    proportion."""
    (start, before, *_), last = curve[0], curve[0]
    for point in curve[1:]:
        if point[1] - before >= tokens:
            part = (before + tokens - last[1]) / max(1, point[1] - last[1])
            return last[0] + part * (point[0] - last[0]) - start
        last = point
    return last[0] - start


def _parts_of_a_step(exact: Curve) -> dict[str, float]:
    """In exact mode whatever the learner waits for is being written."""
    write_s = statistics.mean(point[2] for point in exact[1:])
    learn_s = statistics.mean(point[3] for point in exact[1:])
    return {"G": write_s, "T": learn_s, "bound": (write_s + learn_s) / max(write_s, learn_s)}


def show(found: dict[str, Any]) -> None:
    names = list(found["rows"][0])
    print("  ".join(f"{name:>8}" for name in names))
    for row in found["rows"]:
        print("  ".join(f"{row[name]:8.3f}" for name in names))
    if "median" in found:
        print(f"median ratio {found['median']:.2f}, the line is {REAL_PASS}")
    print(f"{'passed' if found['passed'] else 'FAILED'}; load {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("stub", "real"))
    parser.add_argument("settings", nargs="*", help="key=value, of the real runs")
    parser.add_argument("--preset", default="tiny", help="of the real runs")
    parser.add_argument("--lag", type=int, default=1, help="max_lag of the asynchronous side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "stub":
        found = stub(arguments.steps or 40)
    else:
        found = real(
            arguments.rounds, arguments.steps or 12, arguments.preset, arguments.lag,
            arguments.settings,
        )  # fmt: skip
    show(found)
    if arguments.json is not None:
        ratios = found.pop("ratios")
        arguments.json.write_text(json.dumps({"figures": found, "ratios": ratios}, indent=1))
    sys.exit(0 if found["passed"] else 1)


if __name__ == "__main__":
    main()
