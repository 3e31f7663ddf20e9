"""Ways to shorter answers side by side, on the made model: accuracy, tokens, and what each costs.

    python -m benchmarks.methods --seeds 3 [--only REGEX] [--steps 25] [--out runs/methods]

Arms that only change the decoding are one evaluation each, the others one run per seed. A command
that is repeated goes on with what is missing. It prints a table, and writes methods.json and a
Pareto plot. The budget L of the arms that have one is 120 tokens unless the name says another.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.arms import Arm, Data, Lab, experiment, laconic, parser
from cluster.eval_rows import samples_of
from cluster.models import models_dir
from evaluation.summary import is_right
from learner.tiny_solutions import solution

L = 120
CAP = 640
"""Tokens of a response where nothing else ends it."""

PER_STEP = 160
"""Given responses of a step: about as many as an on-policy step keeps of 256."""

ROLLOUTS = 32 * 8
"""What an on-policy step writes."""

SAMPLES = 8
BRIEF = "{problem} Be brief."


def methods() -> list[Arm]:
    """In the order of the table: the cheap ones first."""
    return [
        Arm(name="base", kind="evaluate", says="the made model as it is"),
        *decoding(),
        Arm(name="SFT on shortest gold", kind="train", says="the task's own tersest solutions",
            settings=("data.train={gold}", "data.responses=instead", f"batch.problems={PER_STEP}",
                      f"filter.length_budget={CAP}")),
        Arm(name="rejection sampling, off-policy", kind="train",
            says="accepted samples of the base, written once",
            settings=("data.train={base_samples}", "data.responses=instead",
                      f"filter.length_budget={L}")),
        *(
            Arm(name=f"on-policy SFT, L={budget}", kind="train", says="the paper's method",
                settings=(f"filter.length_budget={budget}",))
            for budget in (L, 95, 160)
        ),
        Arm(name="on-policy SFT, no L", kind="train", says="right and finished is enough",
            settings=(f"filter.length_budget={CAP}",)),
        Arm(name="RAFT++, L=120", kind="train", says="the same with a clipped ratio",
            settings=("learner.objective=raft", f"filter.length_budget={L}")),
        Arm(name="GRPO", kind="train", says="reward: right and finished",
            settings=("learner.objective=grpo", f"filter.length_budget={CAP}")),
        Arm(name="GRPO, reward within L=120", kind="train", says="reward: accepted at L",
            settings=("learner.objective=grpo", f"filter.length_budget={L}")),
        Arm(name="GRPO + length penalty (TLDR)", kind="train", says="our form of the penalty",
            settings=("learner.objective=tldr", f"filter.length_budget={CAP}",
                      f"learner.objective_settings.max_length={CAP}",
                      "learner.objective_settings.level=short")),
        Arm(name="OPSD", kind="train", says="towards itself with the answer in sight, right only",
            settings=("learner.objective=opsd", f"filter.length_budget={CAP}",
                      "learner.teacher.prompt={{problem}} It is {{answer}}. Be brief.")),
    ]  # fmt: skip


def decoding() -> list[Arm]:
    """The made model is sure of where its thinking ends: before, ``</think>`` has a log-probability
    of -8 at most and -17 in the middle, and a logit around 0. So the stop token takes much."""
    scale, bias = "eval.decode.stop_temperature", "eval.decode.stop_bias"
    budget = "eval.decode.thinking_budget"
    return [
        Arm(name="greedy", kind="evaluate", says="the likeliest token: temperature 0",
            settings=("eval.temperature=0",)),
        Arm(name="concise prompt", kind="evaluate", says=f"asked with {BRIEF!r}",
            settings=(f"eval.prompt={BRIEF}",)),
        *(
            Arm(name=f"stop-token T={value}", kind="evaluate", says="logit of </think> over T",
                settings=(f"{scale}={value}",))
            for value in (0.5, 0.2)
        ),
        *(
            Arm(name=f"stop-token bias +{value}", kind="evaluate", says="added to that logit",
                settings=(f"{bias}={value}",))
            for value in (8, 10)
        ),
        *(
            Arm(name=f"budget forcing at {value}", kind="evaluate", says="s1: </think> is forced",
                settings=(f"{budget}={value}",))
            for value in (80, 120, 200)
        ),
    ]  # fmt: skip


def make(lab: Lab, name: str, seed: int) -> Data:
    """The files that arms learn from: the same questions as every other run's."""
    questions = models_dir() / "tiny" / "train.jsonl"
    if name == "gold":
        return _gold(lab, questions)
    assert name == "base_samples", name
    return _base_samples(lab, questions, seed)


def _gold(lab: Lab, questions: Path) -> Data:
    rows = _rows(questions)
    answered = [row | {"response": solution(row["prompt"])} for row in rows]
    return Data(path=_write(lab.out / "data/gold.jsonl", answered))


def _base_samples(lab: Lab, questions: Path, seed: int) -> Data:
    """As many rollouts as an on-policy run writes, of the base alone; each kept one once."""
    folder = lab.out / f"data/base-s{seed}"
    count = lab.steps * ROLLOUTS // SAMPLES
    laconic(
        "eval", "tiny", "--data", f"train={questions}", f"eval.problems={count}",
        f"eval.samples={SAMPLES}", f"seed={seed}", *lab.extra, "--out", str(folder), "--json",
    )  # fmt: skip
    rows = {str(row["id"]): row for row in _rows(questions)}
    samples = samples_of(folder)["train"]
    kept = [
        rows[s.problem_id] | {"id": f"{s.problem_id}-{s.sample}", "response": s.text}
        for s in samples
        if is_right(s) and s.num_tokens <= L
    ]
    return Data(
        path=_write(lab.out / f"data/base-s{seed}.jsonl", kept),
        settings=(f"batch.problems={max(1, len(kept) // lab.steps)}",),
        generated_tokens=sum(s.num_tokens for s in samples),
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


if __name__ == "__main__":
    options = parser(str(__doc__), "runs/methods").parse_args()
    sys.exit(1 if experiment("methods", methods(), options, make) else 0)
