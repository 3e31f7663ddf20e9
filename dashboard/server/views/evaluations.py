"""Evaluations of a run, from its recorded samples: how good and how long, with intervals."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Any

import numpy as np

from dashboard.server.look import Look

RESAMPLES = 2000
MOST_WORK = 20_000_000
"""Problems times resamples, so that a large benchmark takes no seconds."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One label on one benchmark: columns of samples, grouped by problem."""

    label: str
    benchmark: str
    version: int
    at_us: int | None
    problem: np.ndarray
    """Name of each sample's problem."""
    right: np.ndarray
    tokens: np.ndarray
    truncated: np.ndarray
    answer: list[str | None]

    @cached_property
    def accuracy(self) -> tuple[float, float, float]:
        """Mean over problems, and its interval."""
        return _with_interval(self.by_problem(self.right))

    @cached_property
    def mean_tokens(self) -> tuple[float, float, float]:
        return _with_interval(self.by_problem(self.tokens))

    @cached_property
    def num_problems(self) -> int:
        return len(set(self.problem.tolist()))

    def by_problem(self, values: np.ndarray) -> dict[str, float]:
        """The mean of each problem's samples."""
        names, places = np.unique(self.problem, return_inverse=True)
        means = np.bincount(places, weights=values) / np.bincount(places)
        return dict(zip(names.tolist(), means.tolist(), strict=True))


def load(look: Look) -> list[Evaluation]:
    """Oldest version first. Read once for every new part."""
    key = len(look.run.store.parts.get("evals", ()))
    if look.run.evaluations is None or look.run.evaluations[0] != key:
        look.run.evaluations = (key, _load(look))
    return look.run.evaluations[1]


def _load(look: Look) -> list[Evaluation]:
    found = look.db.rows(
        """SELECT label, coalesce(benchmark, 'heldout') AS benchmark, version, problem_id,
                verdict = 'correct' AND finish_reason = 'stop' AS is_right, n_tokens,
                finish_reason = 'length' AS is_cut, answer, at_us
            FROM evals WHERE label IS NOT NULL AND problem_id IS NOT NULL
            ORDER BY version, label, problem_id, sample"""
    )
    grouped: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        grouped[row["benchmark"], row["label"]].append(row)
    return [_evaluation(benchmark, label, rows) for (benchmark, label), rows in grouped.items()]


def _evaluation(benchmark: str, label: str, rows: list[dict[str, Any]]) -> Evaluation:
    return Evaluation(
        label=label,
        benchmark=benchmark,
        version=max(row["version"] or 0 for row in rows),
        at_us=max((row["at_us"] for row in rows if row["at_us"] is not None), default=None),
        problem=np.array([row["problem_id"] for row in rows]),
        right=np.array([bool(row["is_right"]) for row in rows], dtype=float),
        tokens=np.array([row["n_tokens"] or 0 for row in rows], dtype=float),
        truncated=np.array([bool(row["is_cut"]) for row in rows], dtype=float),
        answer=[row["answer"] for row in rows],
    )


def _with_interval(by_problem: dict[str, float]) -> tuple[float, float, float]:
    values = np.array(list(by_problem.values()))
    return float(values.mean()), *interval(values)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean over problems; seeded."""
    if len(values) == 0:
        return float("nan"), float("nan")
    num = int(np.clip(MOST_WORK // len(values), 200, RESAMPLES))
    generator = np.random.default_rng(0)
    at_once = max(1, 2_000_000 // len(values))
    means = np.concatenate(
        [
            values[generator.integers(0, len(values), size=(size, len(values)))].mean(axis=1)
            for size in [at_once] * (num // at_once) + [num % at_once]
            if size
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def row(evaluation: Evaluation, settings: dict[str, Any]) -> dict[str, Any]:
    """What V11 lists of one evaluation."""
    accuracy, low, high = evaluation.accuracy
    tokens, tokens_low, tokens_high = evaluation.mean_tokens
    return {
        "label": evaluation.label,
        "version": evaluation.version,
        "benchmark": evaluation.benchmark,
        "at_us": evaluation.at_us,
        "problems": evaluation.num_problems,
        "samples": len(evaluation.right) // evaluation.num_problems,
        "pass_at_1": accuracy,
        "pass_low": low,
        "pass_high": high,
        "maj_at_k": _majority(evaluation),
        "pass_at_k": _pass_at_k(evaluation),
        "mean_tokens": tokens,
        "tokens_low": tokens_low,
        "tokens_high": tokens_high,
        "p50_tokens": float(np.percentile(evaluation.tokens, 50)),
        "p90_tokens": float(np.percentile(evaluation.tokens, 90)),
        "truncated": float(evaluation.truncated.mean()),
        "settings": settings,
    }


def settings_of(look: Look) -> dict[str, dict[str, Any]]:
    """Of each label the sampling settings that its event names."""
    found = {}
    for event in look.run.files.events:
        if event.get("kind") == "evaluated":
            names = ("max_tokens", "temperature", "top_p", "samples")
            found[str(event.get("label"))] = {n: event[n] for n in names if n in event}
    return found


def _groups(evaluation: Evaluation) -> dict[str, list[int]]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(evaluation.problem.tolist()):
        groups[name].append(place)
    return groups


def _pass_at_k(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Unbiased: of n samples with c right ones, 1 - C(n-c, k) / C(n, k)."""
    counts = [
        (len(places), int(evaluation.right[places].sum()))
        for places in _groups(evaluation).values()
    ]
    least = min(n for n, _ in counts)
    found = []
    k = 2
    while k <= least:
        values = np.array([1 - comb(n - c, k) / comb(n, k) for n, c in counts])
        low, high = interval(values)
        found.append({"k": k, "value": float(values.mean()), "low": low, "high": high})
        k *= 2
    return found


def _majority(evaluation: Evaluation) -> float | None:
    """Share of problems whose most frequent answer is right; of equally frequent ones the first."""
    groups = _groups(evaluation)
    if min(map(len, groups.values())) < 2:
        return None
    wins = 0
    for places in groups.values():
        answers = [evaluation.answer[place] for place in places]
        known = Counter(answer for answer in answers if answer is not None)
        if known:
            best = known.most_common(1)[0][0]
            wins += bool(evaluation.right[places[answers.index(best)]])
    return wins / len(groups)
