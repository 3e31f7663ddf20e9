"""What every side of ``benchmarks.whole_loop`` is told, and what it tells: one row for each step.

Nothing heavy is imported here: a side's start-up is part of what is measured.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from configs.schema import RunConfig
from verifiers.registry import path_of, resolve
from verifiers.types import Rules, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The same work for everybody; numbers are those of a Laconic run's configuration."""

    model_dir: str
    train: str
    verifier: str
    steps: int
    problems: int
    group: int
    budget: int
    """L: response tokens, after which generation stops as well."""
    max_prompt_tokens: int
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    warmup_steps: int
    clip: float
    engine_dtype: str
    learner_dtype: str
    pack_tokens: int
    max_model_len: int
    max_num_seqs: int
    kv_cache_gib: int
    seed: int
    out: str
    """The file of rows that ``Log`` writes."""

    @classmethod
    def of(cls, config: RunConfig, model_dir: str, train: str, out: Path) -> "Job":
        """``config`` with no number type left to choose."""
        optimizer = config.learner.optimizer
        return cls(
            model_dir=model_dir,
            train=train,
            verifier=config.data.verifier,
            steps=config.steps,
            problems=config.batch.problems,
            group=config.sampling.group_size,
            budget=config.filter.length_budget,
            max_prompt_tokens=config.data.max_prompt_tokens,
            lr=optimizer.lr,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            warmup_steps=optimizer.warmup_steps,
            clip=optimizer.clip,
            engine_dtype=config.engine.dtype,
            learner_dtype=config.learner.dtype,
            pack_tokens=config.learner.micro_batch_tokens,
            max_model_len=config.engine.max_model_len,
            max_num_seqs=config.engine.max_num_seqs,
            kv_cache_gib=config.engine.kv_cache_gib,
            seed=config.seed,
            out=str(out),
        )

    @classmethod
    def read(cls, text: str) -> "Job":
        row = json.loads(text)
        return cls(**(row | {"betas": tuple(row["betas"])}))

    def text(self) -> str:
        return json.dumps(asdict(self))

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """The problems of each step, in the order of the file."""
        rows = cycle([json.loads(line) for line in Path(self.train).read_text().splitlines()])
        for _ in range(self.steps):
            yield list(islice(rows, self.problems))

    def is_right(self, answer: str, response: str) -> bool:
        """By the judge that Laconic's processes use, here and now."""
        task = Task(answer=answer, rules=Rules(guards=("answer_list",)))
        return resolve(path_of(self.verifier))(task, response).status == "correct"


class Log:
    """Rows of a side: cumulated tokens at the end of every step."""

    def __init__(self, job: Job) -> None:
        self._path = Path(job.out)
        self._sums = {"generated": 0, "trained": 0}

    def ready(self) -> None:
        """Everything is there; the first token is next."""
        self._add({"ready": time.time()})

    def step(self, *, generated: int, trained: int, rollouts: int, accepted: int) -> None:
        self._sums["generated"] += generated
        self._sums["trained"] += trained
        self._add(self._sums | {"at": time.time(), "rollouts": rollouts, "accepted": accepted})

    def _add(self, row: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            print(json.dumps(row), file=file)
