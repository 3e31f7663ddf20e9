"""Whether what is trained is as long as what was written, stage by stage, beyond chance.

    generated ⊃ finished ⊃ correct ⊃ kept ⊃ trained

Rollouts of a group are alike, and they are often dropped together, so neither can be taken for
independent. Intervals are therefore bootstrapped over groups. A p-value comes from permutations in
which every group gets the pattern of another group, which of its rollouts went on, turned by a
random step: as clustered as what happened, and blind to lengths. Pure: columns in, figures out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RESAMPLES = 1000
WORK = 20_000_000
"""Rollouts times permutations that are looked at, so that a large run takes seconds."""
PERMUTATIONS = (199, 999)

Mask = np.ndarray
"""Of bool, one for each rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Columns of what the policy wrote, one value for each rollout."""

    tokens: np.ndarray
    group: np.ndarray
    problem: np.ndarray
    """Both numbered from 0."""
    propensity: np.ndarray
    """How likely it was to be written to its end."""
    finished: Mask
    correct: Mask
    kept: Mask
    consumed: Mask
    """Its step came, and it was trained or dropped."""
    trained: Mask
    lag: np.ndarray
    """Optimizer steps; below 0 where it was not trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    name: str
    rollouts: int
    problems: int
    mean: float | None
    weighted_mean: float | None
    """Each counted 1 / propensity: what the mean would be without any saving. None: the same."""
    p10: float | None
    p50: float | None
    p90: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How those that went on differ from all they came from."""

    name: str
    before: int
    after: int
    difference: float
    """Of their mean lengths, in tokens."""
    low: float
    high: float
    """95 % interval of it."""
    ks: float
    """Largest distance of the distributions of lengths."""
    p: float
    """Of a distance as large by chance."""
    mix: float
    """Distance (total variation) of the shares of problems."""
    mix_p: float
    """As a rule 1 where every problem was asked once: its group and it are then the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    stages: tuple[Stage, ...]
    shifts: tuple[Shift, ...]
    """From each stage to the next, where both have rollouts."""
    lags: tuple[Shift, ...]
    """From all trained rollouts to those of one lag; nothing where there is one lag only."""

    @property
    def kept_to_trained(self) -> Shift | None:
        return next((shift for shift in self.shifts if shift.name == "kept -> trained"), None)


def confounders(rollouts: Rollouts) -> Report:
    everything = np.ones(len(rollouts.tokens), dtype=bool)
    finished = everything & rollouts.finished
    correct = finished & rollouts.correct
    kept = correct & rollouts.kept
    trained = kept & rollouts.trained
    stages = {
        "generated": everything,
        "finished": finished,
        "correct": correct,
        "kept": kept,
        "trained": trained,
    }
    pairs = [(f"{a} -> {b}", stages[a], stages[b]) for a, b in pairwise(stages)]
    # What waits for its step is newer than the rest, and neither trained nor dropped.
    pairs[-1] = ("kept -> trained", kept & rollouts.consumed, trained)
    lags = [int(lag) for lag in np.unique(rollouts.lag[trained])]
    return Report(
        stages=tuple(_stage(name, rollouts, mask) for name, mask in stages.items()),
        shifts=tuple(shift_of(*pair, rollouts) for pair in pairs if pair[2].any()),
        lags=tuple(
            shift_of(f"lag {lag}", trained, trained & (rollouts.lag == lag), rollouts)
            for lag in lags
            if len(lags) > 1
        ),
    )


def shift_of(name: str, before: Mask, after: Mask, rollouts: Rollouts) -> Shift:
    """``after`` is a part of ``before``, and not empty. Seeded: the same answer every time."""
    assert not (after & ~before).any(), name
    tokens, went_on = rollouts.tokens[before], after[before]
    group = _numbered(rollouts.group[before])
    problem = _numbered(rollouts.problem[before])
    low, high = _interval(tokens, group, went_on)
    distances = _Distances(tokens, problem)
    ks, mix = distances.of(went_on[distances.order])
    num = int(np.clip(WORK // len(tokens), *PERMUTATIONS))
    redealt = _redealt(group, went_on, distances.order)
    by_chance = np.array([distances.of(redealt()) for _ in range(num)])
    above = (by_chance >= np.array([ks, mix]) - 1e-12).sum(axis=0)
    p, mix_p = (1 + above) / (num + 1)
    return Shift(
        name=name,
        before=len(tokens),
        after=int(went_on.sum()),
        difference=float(tokens[went_on].mean() - tokens.mean()),
        low=low,
        high=high,
        ks=ks,
        p=float(p),
        mix=mix,
        mix_p=float(mix_p),
    )


def _stage(name: str, rollouts: Rollouts, mask: Mask) -> Stage:
    tokens, weights = rollouts.tokens[mask], 1 / rollouts.propensity[mask]
    if not len(tokens):
        return Stage(
            name=name, rollouts=0, problems=0,
            mean=None, weighted_mean=None, p10=None, p50=None, p90=None,
        )  # fmt: skip
    p10, p50, p90 = (float(value) for value in np.percentile(tokens, [10, 50, 90]))
    is_weighted = bool((rollouts.propensity != 1).any())
    return Stage(
        name=name,
        rollouts=len(tokens),
        problems=len(np.unique(rollouts.problem[mask])),
        mean=float(tokens.mean()),
        weighted_mean=float(np.average(tokens, weights=weights)) if is_weighted else None,
        p10=p10,
        p50=p50,
        p90=p90,
    )


def _numbered(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].astype(np.int32)


def _interval(tokens: np.ndarray, group: np.ndarray, went_on: Mask) -> tuple[float, float]:
    """Of the difference of means, over groups drawn with replacement."""
    num_groups = int(group.max()) + 1
    of_groups = np.stack(
        [
            np.bincount(group, weights=column, minlength=num_groups)
            for column in (np.ones(len(tokens)), tokens, went_on, tokens * went_on)
        ]
    )
    random = np.random.default_rng(0)
    sums = np.array(
        [
            of_groups
            @ np.bincount(random.integers(0, num_groups, num_groups), minlength=num_groups)
            for _ in range(RESAMPLES)
        ]
    )
    num, total, num_on, total_on = sums[sums[:, 2] > 0].T  # one group alone may have gone on
    low, high = np.percentile(total_on / num_on - total / num, [2.5, 97.5])
    return float(low), float(high)


class _Distances:
    """Of a part of some rollouts from all of them: in lengths, and in problems."""

    def __init__(self, tokens: np.ndarray, problem: np.ndarray) -> None:
        self.order = np.argsort(tokens, kind="stable")
        """In which parts are given: by length."""
        ordered = tokens[self.order]
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        """Last of each length: a distribution has no value in the middle of a tie."""
        self._all = (self._ends + 1) / len(tokens)
        self._problem = problem[self.order]
        self._shares = np.bincount(problem) / len(problem)

    def of(self, part: Mask) -> tuple[float, float]:
        """Kolmogorov-Smirnov distance and total variation; 0 of nothing."""
        num = int(part.sum())
        if num == 0:
            return 0.0, 0.0
        reached = np.cumsum(part, dtype=np.int32)[self._ends] / num
        shares = np.bincount(self._problem[part], minlength=len(self._shares)) / num
        return (
            float(np.abs(reached - self._all).max()),
            float(np.abs(shares - self._shares).sum() / 2),
        )


def _redealt(group: np.ndarray, went_on: Mask, order: np.ndarray) -> Callable[[], Mask]:
    """Draws who went on as if lengths had nothing to do with it, in ``order``.

    A turn, and not any shuffle, of the pattern: as good under the hypothesis, and quick."""
    by_group = np.argsort(group, kind="stable")
    pattern = went_on[by_group]
    sizes = np.bincount(group).astype(np.int32)
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    place = np.empty(len(group), dtype=np.int32)
    place[by_group] = np.arange(len(group), dtype=np.int32) - np.repeat(starts, sizes)
    group, place = group[order], place[order]
    random = np.random.default_rng(0)

    def draw() -> Mask:
        other = random.permutation(len(sizes))
        turn = random.integers(0, sizes.max(), len(sizes), dtype=np.int32)
        turned = (place + turn[group]) % sizes[other][group]
        return pattern[starts[other][group] + turned]

    return draw
