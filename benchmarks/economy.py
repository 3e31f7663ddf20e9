"""Tokens written for one token trained: each saving on and off, and whether the same is trained.

    python -m benchmarks.economy [--model tiny|smollm2] [--steps 20] [--beyond 0.4] [--json FILE]

One real engine, one real judge, the real queue, curriculum and generator; nothing is learned, so
that every arm draws from the same policy and on the same problems. A saving that claims to be exact
divides what a rollout counts by the probability that it was written (`economy.reweight`). Its
accepted lengths, weighted so, are compared with those of the arm without it: Kolmogorov-Smirnov,
with a p-value from flipping arms problem by problem, since rollouts of a problem belong together.

The made problems of `tiny` are nearly equally hard. Real ones are not: `--beyond` replaces this
share of them by chains with operands that the model was never taught.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from actors.curriculum import Curriculum
from actors.engine import Engine, make_vllm_engine
from actors.generator import Generator
from actors.judge import Judge
from actors.prompts import PromptSource
from actors.replay import ReplayQueue
from cluster.models import models_dir, resolve_model
from cluster.plan import with_types
from configs.load import load
from configs.processor import computes_bfloat16
from configs.run_files import Fate
from configs.schema import RunConfig
from learner.tiny_task import MAX_STEPS, Chain, walk
from verifiers.types import JudgedGroup, Problem, Ticket

PROBLEMS = {"tiny": 128, "smollm2": 24}
"""Few enough that each is visited several times: a curriculum knows nothing at a first visit."""

NO_LAG = "max_lag=1000000"
FLIPS = 2000


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    settings: tuple[str, ...]
    claims_exact: bool = False


def arms(model: str) -> list[Arm]:
    """The first is what the others are compared with."""
    uncapped = {"tiny": 576, "smollm2": 160}[model]
    probe = {"tiny": 4, "smollm2": 2}[model]
    weighted = "economy.reweight=true"
    futile = (f"economy.probe={probe}", "economy.probe_continue=0.25", weighted)
    doomed = ("economy.doomed=thinking", "economy.doomed_at=0.7", "economy.doomed_continue=0.25")
    band = ("curriculum.band=[0.01,1]", "curriculum.revisit_floor=0.25")
    found = [
        Arm(name="nothing but the cap at L", settings=()),
        Arm(name="no cap", settings=(f"sampling.max_tokens={uncapped}",), claims_exact=True),
        Arm(name="futility", settings=(f"economy.probe={probe}", "economy.probe_continue=0.0")),
        Arm(name="futility, weighted", settings=futile, claims_exact=True),
        Arm(name="hopeless problems rarely", settings=band),
        Arm(name="the same, weighted", settings=(*band, weighted), claims_exact=True),
        Arm(name="both, weighted", settings=(*futile, *band), claims_exact=True),
        Arm(name="budgets of their own", settings=("budget.kind=adaptive",)),
        Arm(name="stop after two", settings=("economy.stop_after=2",)),
    ]
    if model == "tiny":  # it thinks aloud; the other does not
        found += [
            Arm(name="doomed ones ended", settings=(*doomed[:2], "economy.doomed_continue=0.0")),
            Arm(name="the same, weighted", settings=(*doomed, weighted), claims_exact=True),
            Arm(name="all three, weighted", settings=(*futile, *band, *doomed), claims_exact=True),
        ]
    return found


@dataclass(kw_only=True)
class Ledger:
    """What an arm wrote and what of it a learner would get, by problem."""

    generated: int = 0
    trained: int = 0
    lengths: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    weights: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, problem: str, length: int, weight: float) -> None:
        self.trained += length
        self.lengths[problem].append(length)
        self.weights[problem].append(weight)


class Shared:
    """One engine for all arms, which is started once and takes no weights."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class Notes:
    """Stands where the recorder would: keeps nothing."""

    async def problems(self, problems: list[Problem]) -> None: ...

    async def rollouts(self, judged: JudgedGroup) -> None: ...

    async def verdicts(self, rows: list[dict[str, Any]]) -> None: ...

    async def fates(self, rows: list[Fate]) -> None: ...


async def measure(arm: Arm, config: RunConfig, source: PromptSource, engine: Engine) -> Ledger:
    """As many steps as the configuration says, each drawn after the one before was learned of."""
    curriculum, notes, found = Curriculum(source, config), Notes(), Ledger()
    with tempfile.TemporaryDirectory() as folder:
        queue = ReplayQueue(folder, config, notes)
        await queue.open(0)
        judge = Judge(config, queue, notes)
        await judge.start()
        generator = Generator("generator-0", lambda: cast(Engine, Shared(engine)), judge, config)
        await generator.start()
        number = 0
        for step in range(config.steps):
            tickets = [
                await _issued(curriculum, queue, number + place)
                for place in range(config.batch.problems)
            ]
            number += len(tickets)
            await asyncio.gather(*(generator.generate(ticket) for ticket in tickets))
            while not (lease := await queue.lease(step)).is_ready:
                raise SystemExit(f"{arm.name}: step {step} has no accepted rollout")
            problems = {ticket.number: ticket.problem.id for ticket in tickets}
            for rollout in await queue.payload(step, lease.epoch):
                problem = problems[int(rollout.id.split(".")[0])]
                found.add(problem, len(rollout.response_ids), rollout.weight)
            found.generated += lease.written_tokens
            curriculum.learn(lease.groups)
            await queue.ack(lease, skipped=False)
            await queue.published(step + 1)
        await judge.close()
        await queue.close()
    return found


async def _issued(curriculum: Curriculum, queue: ReplayQueue, number: int) -> Ticket:
    room = await queue.room(number)
    ticket = curriculum.draw(number, room.version)
    assert ticket is not None, "the data begins again and again"
    attempt = await queue.issue(ticket)
    assert attempt is not None
    return replace(ticket, attempt=attempt)


def compare(on: Ledger, off: Ledger, seed: int = 0) -> dict[str, float]:
    """How far the weighted lengths lie apart, and how often they would by chance."""
    problems = sorted(on.lengths.keys() | off.lengths.keys())
    longest = max(max(map(max, arm.lengths.values())) for arm in (on, off))
    mass_PL = np.stack([_mass(on, problems, longest), _mass(off, problems, longest)])
    observed = _distance(mass_PL[0].sum(0), mass_PL[1].sum(0))
    rng = np.random.default_rng(seed)
    beyond = 0
    for _ in range(FLIPS):
        flip_P = rng.random(len(problems)) < 0.5
        first = np.where(flip_P[:, None], mass_PL[1], mass_PL[0]).sum(0)
        beyond += _distance(first, mass_PL.sum(axis=(0, 1)) - first) >= observed
    total_on, total_off = mass_PL[0].sum(), mass_PL[1].sum()
    lengths = np.arange(longest + 1)
    return {
        "ks": float(observed),
        "p": (beyond + 1) / (FLIPS + 1),
        "mass": float(total_on / total_off),
        "mean_tokens": float((mass_PL[0].sum(0) * lengths).sum() / total_on),
    }


def _mass(arm: Ledger, problems: Sequence[str], longest: int) -> np.ndarray:
    """Accepted rollouts by problem and length, each as often as it counts."""
    mass_PL = np.zeros((len(problems), longest + 1))
    for row, problem in enumerate(problems):
        np.add.at(mass_PL[row], arm.lengths.get(problem, []), arm.weights.get(problem, []))
    return mass_PL


def _distance(left_L: np.ndarray, right_L: np.ndarray) -> float:
    cumulated = [np.cumsum(side) / side.sum() for side in (left_L, right_L)]
    return float(np.abs(cumulated[0] - cumulated[1]).max())


def row_of(arm: Arm, ledger: Ledger, baseline: Ledger, seconds: float) -> dict[str, Any]:
    per_token = ledger.generated / ledger.trained
    return {
        "arm": arm.name,
        "claims_exact": arm.claims_exact,
        "generated": ledger.generated,
        "trained": ledger.trained,
        "generated_per_trained": per_token,
        "ratio": per_token / (baseline.generated / baseline.trained),
        "seconds": seconds,
        **compare(ledger, baseline),
    }


def print_row(row: dict[str, Any]) -> None:
    claim = "" if not row["claims_exact"] else "same" if row["p"] > 0.05 else "NOT the same"
    print(
        f"{row['arm']:26} {row['generated']:>9,} {row['trained']:>8,} "
        f"{row['generated_per_trained']:>6.2f} {row['ratio']:>6.2f} {row['mean_tokens']:>6.1f} "
        f"{row['mass']:>6.2f} {row['ks']:>6.3f} {row['p']:>6.3f}  {claim}",
        flush=True,
    )


def chain_beyond(rng: random.Random) -> Chain:
    """As long as the longest of `tiny`, with operands of two digits; it was taught those of one."""
    return walk(rng, rng.randint(10, 90), MAX_STEPS, operands=(11, 39))


def problems_of(model: str, model_dir: str, beyond: float, seed: int) -> list[dict[str, str]]:
    lines = (Path(model_dir) / "train.jsonl").read_text().splitlines()[: PROBLEMS[model]]
    rows = [json.loads(line) for line in lines]
    rng = random.Random(seed)
    for row in rows[: round(beyond * len(rows))]:
        chain = chain_beyond(rng)
        row.update(prompt=chain.question, answer=str(chain.answer))
    return rows


async def measure_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    model, seed = options.model, options.seed
    model_dir = resolve_model(model, print)
    problems = Path(tempfile.mkdtemp()) / "problems.jsonl"
    rows = problems_of(model, model_dir, options.beyond, seed)
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [f"data.train={problems}", f"steps={options.steps}", NO_LAG, f"seed={seed}"]
    base = with_types(load(model, common), "cpu", has_bfloat16=computes_bfloat16())
    engine = make_vllm_engine(
        base.engine, model_dir=model_dir, device="cpu", threads=base.cluster.threads, seed=seed
    )
    await engine.start()
    header = ("written", "trained", "per", "ratio", "mean", "mass", "KS", "p")
    print(f"{'':26} {header[0]:>9} {header[1]:>8} " + " ".join(f"{h:>6}" for h in header[2:]))
    found: list[dict[str, Any]] = []
    baseline: Ledger | None = None
    try:
        for arm in arms(model):
            config = load(model, [*common, *arm.settings])
            source = PromptSource(config, model_dir, models_dir())
            source.load()
            began = time.monotonic()
            ledger = await measure(arm, config, source, engine)
            baseline = baseline or ledger
            found.append(row_of(arm, ledger, baseline, time.monotonic() - began))
            print_row(found[-1])
    finally:
        await engine.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", choices=sorted(PROBLEMS), default="tiny")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--beyond", type=float, default=0.0, help="share of problems; tiny only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.beyond and options.model != "tiny":
        parser.error("--beyond makes chains, which are for --model tiny")
    rows = asyncio.run(measure_all(options))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
