"""Whether a model is right as often as it is sure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    low: float
    high: float
    count: int
    confidence: float
    """Mean of those in it."""
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    ece: float
    """Expected calibration error: mean distance of confidence and accuracy over the bins, each
    counted with its responses."""
    brier: float
    """Mean squared distance of confidence and outcome."""
    auroc: float | None
    """How likely a right response is surer than a wrong one; None when all are alike."""
    bins: tuple[Bin, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def calibrate(confidence: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Of confidences in 0 … 1: how sure, beside what came of it."""
    sure, good = np.asarray(confidence, dtype=float), np.asarray(right, dtype=float)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = tuple(
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(inside.sum()),
            confidence=float(sure[inside].mean()),
            accuracy=float(good[inside].mean()),
        )
        for number in range(BINS)
        if (inside := place == number).any()
    )
    return Calibration(
        ece=sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / len(sure),
        brier=float(np.mean((sure - good) ** 2)),
        auroc=_auroc(sure, good.astype(bool)),
        bins=bins,
    )


def _auroc(sure: np.ndarray, good: np.ndarray) -> float | None:
    """Rank sum; ties count half."""
    num_good, num_bad = int(good.sum()), int((~good).sum())
    if num_good == 0 or num_bad == 0:
        return None
    _, inverse, counts = np.unique(sure, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[good].sum() - num_good * (num_good + 1) / 2) / (num_good * num_bad))
