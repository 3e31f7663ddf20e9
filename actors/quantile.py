"""A quantile that is one of the values: nothing is made up between two of them."""

import math
from collections.abc import Sequence

ROUNDING = 1e-9
"""``0.7 * 10`` is 7, whatever floats make of it."""


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed; ``share`` is above 0."""
    rank = math.ceil(share * len(values) - ROUNDING)
    return sorted(values)[max(rank, 1) - 1]
