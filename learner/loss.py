"""What the summed losses are divided by, and the rate.

The sum of every micro-batch is divided by the same number, so that gradients add up to those of
one large batch however it is split (METHODS §5.1). A local mean would be wrong.
"""

import math
from typing import Literal

from learner.pack import Totals

Normalizer = Literal["global_tokens", "batch_max_len", "constant"]


def denominator(normalizer: Normalizer, totals: Totals, length_budget: int) -> float:
    """What the sum over the whole step is divided by; 0 when there is nothing to learn from."""
    if normalizer == "global_tokens":
        return float(totals.num_tokens)
    if totals.num_tokens == 0:
        return 0.0
    if normalizer == "batch_max_len":
        return float(totals.num_rollouts * totals.max_tokens)
    return float(totals.num_rollouts * length_budget)


def learning_rate(lr: float, warmup_steps: int, num_applied: int) -> float:
    """Rate of the next step: ``lr/w, 2lr/w, …, lr`` over ``w`` warm-up steps, then constant."""
    if num_applied >= warmup_steps:
        return lr
    return lr * (num_applied + 1) / warmup_steps


def is_finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)
