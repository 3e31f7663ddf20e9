"""All figures of one evaluation: what ``report.json`` says of a data set."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.calibration import calibrate
from evaluation.estimators import budget_grid, maj_at_k, pass_at_k, powers_up_to, right_within
from evaluation.intervals import bootstrap, bootstrap_ratio
from evaluation.summary import is_right, summarize
from verifiers.types import EvalSample

PERCENTILES = (5, 25, 50, 75, 90, 95, 99)
JUDGE_FAILED = ("error", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The responses to one problem, in the order of their numbers."""

    problem_id: str
    samples: tuple[EvalSample, ...]

    @property
    def right(self) -> list[bool]:
        return [is_right(sample) for sample in self.samples]

    @property
    def num_tokens(self) -> list[int]:
        return [sample.num_tokens for sample in self.samples]

    @property
    def votes(self) -> list[str | None]:
        """What each answered; None: it did not finish, or gave no answer."""
        return [
            sample.extracted if sample.finish_reason == "stop" else None for sample in self.samples
        ]


def by_problem(samples: Sequence[EvalSample]) -> list[Answers]:
    """In the order of their first responses; of a response that is there twice, the last."""
    found: dict[str, dict[int, EvalSample]] = defaultdict(dict)
    for sample in samples:
        found[sample.problem_id][sample.sample] = sample
    return [
        Answers(problem_id=id, samples=tuple(group[number] for number in sorted(group)))
        for id, group in found.items()
    ]


def figures(
    samples: Sequence[EvalSample], *, max_tokens: int, temperature: float
) -> dict[str, Any]:
    """Everything that can be said of these responses; each problem has as many as the others."""
    problems = by_problem(samples)
    counts = {len(problem.samples) for problem in problems}
    assert len(counts) == 1, f"problems with {sorted(counts)} responses each"
    kept = [sample for problem in problems for sample in problem.samples]
    summary = summarize(kept, max_tokens=max_tokens, temperature=temperature)
    return {
        **summary.as_dict(),
        "efficiency": efficiency(summary.accuracy, summary.mean_tokens),
        "efficiency_ci": _efficiency_ci(problems),
        **_tokens(kept),
        "length_spread": _length_spread(problems),
        "pass_at": _pass_at(problems),
        "maj_at": _maj_at(problems),
        "budgets": _budgets(problems, max_tokens),
        "calibration": _calibration(kept),
        "vote_calibration": _vote_calibration(problems),
        "verdicts": dict(Counter(sample.status for sample in kept)),
        "judge_failed": float(np.mean([sample.status in JUDGE_FAILED for sample in kept])),
    }


def problem_rows(samples: Sequence[EvalSample]) -> list[dict[str, Any]]:
    """A row for every problem."""
    return [
        {
            "problem_id": problem.problem_id,
            "samples": len(problem.samples),
            "right": sum(problem.right),
            "accuracy": float(np.mean(problem.right)),
            "mean_tokens": float(np.mean(problem.num_tokens)),
            "truncated": sum(sample.finish_reason == "length" for sample in problem.samples),
            "most_common_answer": _most_common(problem)[0],
        }
        for problem in by_problem(samples)
    ]


def efficiency(accuracy: float, mean_tokens: float) -> float:
    """Accuracy in percent over mean tokens, as a percentage: 59.9 % at 2,186 tokens is 2.74."""
    return 100 * (100 * accuracy) / mean_tokens


def _efficiency_ci(problems: Sequence[Answers]) -> tuple[float, float]:
    accuracy = np.array([np.mean(problem.right) for problem in problems])
    tokens = np.array([np.mean(problem.num_tokens) for problem in problems])
    low, high = bootstrap_ratio(10_000 * accuracy, tokens)
    return low, high


def _tokens(samples: Sequence[EvalSample]) -> dict[str, Any]:
    lengths = [sample.num_tokens for sample in samples]
    told = [sample for sample in samples if sample.num_think is not None]
    right = [sample.num_tokens for sample in samples if is_right(sample)]
    return {
        "percentiles": {str(p): float(np.percentile(lengths, p)) for p in PERCENTILES},
        "mean_tokens_right": float(np.mean(right)) if right else None,
        "mean_think_tokens": _mean([sample.num_think or 0 for sample in told]),
        "mean_answer_tokens": _mean([s.num_tokens - (s.num_think or 0) for s in told]),
        "lengths": np.histogram(lengths, bins=min(40, max(lengths)))[0].tolist(),
        "length_edges": np.histogram(lengths, bins=min(40, max(lengths)))[1].tolist(),
    }


def _length_spread(problems: Sequence[Answers]) -> float | None:
    """Standard deviation of the length over repeated responses, over their mean; mean of that."""
    if len(problems[0].samples) < 2:
        return None
    lengths = np.array([problem.num_tokens for problem in problems], dtype=float)
    return float(np.mean(lengths.std(axis=1, ddof=1) / lengths.mean(axis=1)))


def _pass_at(problems: Sequence[Answers]) -> list[dict[str, Any]]:
    size = len(problems[0].samples)
    return [
        _with_interval(k, [pass_at_k(size, sum(p.right), k) for p in problems])
        for k in powers_up_to(size)
    ]


def _maj_at(problems: Sequence[Answers]) -> list[dict[str, Any]]:
    return [
        _with_interval(k, [maj_at_k(p.right, p.votes, k) for p in problems])
        for k in powers_up_to(len(problems[0].samples))
    ]


def _with_interval(k: int, values: Sequence[float]) -> dict[str, Any]:
    found = np.array(values)
    return {"k": k, "value": float(found.mean()), "ci": bootstrap(found)}


def _budgets(problems: Sequence[Answers], max_tokens: int) -> list[dict[str, Any]]:
    budgets = budget_grid([n for p in problems for n in p.num_tokens], max_tokens)
    shares_PB = np.stack([right_within(p.right, p.num_tokens, budgets) for p in problems])
    return [
        {"budget": budget, "accuracy": float(shares_P.mean()), "ci": bootstrap(shares_P)}
        for budget, shares_P in zip(budgets, shares_PB.T, strict=True)
    ]


def _calibration(samples: Sequence[EvalSample]) -> dict[str, Any] | None:
    """Confidence: the geometric mean of the probabilities of a response's tokens."""
    told = [sample for sample in samples if sample.logprob_mean is not None]
    if not told:
        return None
    confidence = np.exp([sample.logprob_mean or 0.0 for sample in told])
    return calibrate(confidence.tolist(), [is_right(sample) for sample in told]).as_dict()


def _vote_calibration(problems: Sequence[Answers]) -> dict[str, Any] | None:
    """Confidence: the share of responses that agree on the commonest answer."""
    if len(problems[0].samples) < 2:
        return None
    elected = [_most_common(problem) for problem in problems]
    return calibrate([share for _, share, _ in elected], [ok for _, _, ok in elected]).as_dict()


def _most_common(problem: Answers) -> tuple[str | None, float, bool]:
    """The commonest answer, its share of the responses, whether it is right. Right ones vote
    together; of those that tie, the first."""
    votes = [
        (is_right_one, answer)
        for is_right_one, answer in zip(problem.right, problem.votes, strict=True)
        if answer is not None or is_right_one
    ]
    if not votes:
        return None, 0.0, False
    count = Counter("" if ok else answer for ok, answer in votes)
    winner, most = count.most_common(1)[0]
    spelled = next(answer for ok, answer in votes if ("" if ok else answer) == winner)
    is_right_one = any(ok and winner == "" for ok, _ in votes)
    return spelled, most / len(problem.samples), is_right_one


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
