"""How good and how long: the figures of one evaluation, with their intervals."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.intervals import bootstrap
from verifiers.types import EvalSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    version: int
    problems: int
    samples: int
    """Responses per problem."""
    accuracy: float
    """Mean over problems of their responses' mean correctness; a truncated one is not correct."""
    accuracy_ci: tuple[float, float]
    """95 % bootstrap interval over problems."""
    mean_tokens: float
    """Over all responses, truncated ones at their cap."""
    mean_tokens_ci: tuple[float, float]
    p90_tokens: float
    truncated: float
    """Share of responses that hit the limit."""
    max_tokens: int
    temperature: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarize(samples: Sequence[EvalSample], *, max_tokens: int, temperature: float) -> Summary:
    by_problem: dict[str, list[EvalSample]] = defaultdict(list)
    for sample in samples:
        by_problem[sample.problem_id].append(sample)
    accuracy = np.array([np.mean([is_right(s) for s in group]) for group in by_problem.values()])
    tokens = np.array([np.mean([s.num_tokens for s in group]) for group in by_problem.values()])
    return Summary(
        version=max(sample.version for sample in samples),
        problems=len(by_problem),
        samples=len(samples) // len(by_problem),
        accuracy=float(accuracy.mean()),
        accuracy_ci=bootstrap(accuracy),
        mean_tokens=float(np.mean([s.num_tokens for s in samples])),
        mean_tokens_ci=bootstrap(tokens),
        p90_tokens=float(np.percentile([s.num_tokens for s in samples], 90)),
        truncated=float(np.mean([s.finish_reason == "length" for s in samples])),
        max_tokens=max_tokens,
        temperature=temperature,
    )


def is_right(sample: EvalSample) -> bool:
    return sample.status == "correct" and sample.finish_reason == "stop"
