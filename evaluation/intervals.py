"""How sure a figure is: bootstrap intervals over problems, and paired tests of two models.

Responses to one problem belong together, so problems are what is drawn anew.
"""

from collections.abc import Callable
from math import comb

import numpy as np

RESAMPLES = 2000
FLIPS = 10_000
LEVEL = 0.95
CHUNK = 1 << 22
"""Numbers drawn at a time."""


def bootstrap(values: np.ndarray, *, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Percentile interval of the mean; seeded, so that the same samples give the same interval."""
    return percentile_interval(_resampled(values, lambda drawn: drawn.mean(axis=1), resamples))


def bootstrap_ratio(
    above: np.ndarray, below: np.ndarray, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Of mean(above) / mean(below), which belong to the same problems."""

    def ratio(drawn: np.ndarray) -> np.ndarray:
        return drawn[..., 0].mean(axis=1) / drawn[..., 1].mean(axis=1)

    return percentile_interval(_resampled(np.stack([above, below], axis=1), ratio, resamples))


def sign_flip_p(differences: np.ndarray, *, flips: int = FLIPS) -> float:
    """How often the mean would lie as far from 0 if each problem's difference had either sign:
    exact for few problems, drawn with a seed for many."""
    values = differences[differences != 0]
    if len(values) == 0:
        return 1.0
    observed = abs(values.sum()) - 1e-9
    if 2 ** len(values) <= flips:
        signs = ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1) * 2 - 1
        return float(np.mean(abs(signs @ values) >= observed))
    rng = np.random.default_rng(0)
    beyond = 0
    for rows in _chunks(flips, len(values)):
        signs = rng.integers(0, 2, size=(rows, len(values)), dtype=np.int8) * 2 - 1
        beyond += int(np.sum(abs(signs @ values) >= observed))
    return (beyond + 1) / (flips + 1)


def mcnemar_p(num_gained: int, num_lost: int) -> float:
    """Exact two-sided test that as many pairs change one way as the other."""
    total = num_gained + num_lost
    tail = sum(comb(total, i) for i in range(min(num_gained, num_lost) + 1)) / 2**total
    return min(1.0, 2 * tail)


def percentile_interval(statistics: np.ndarray) -> tuple[float, float]:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(statistics, [tail, 100 - tail])
    return float(low), float(high)


def _resampled(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], resamples: int
) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate(
        [
            statistic(values[rng.integers(0, len(values), size=(rows, len(values)))])
            for rows in _chunks(resamples, len(values))
        ]
    )


def _chunks(rows: int, width: int) -> list[int]:
    """``rows`` in portions that fit into memory."""
    most = max(1, CHUNK // max(1, width))
    return [min(most, rows - start) for start in range(0, rows, most)]
