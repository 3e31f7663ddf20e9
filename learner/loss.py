"""What the summed losses are divided by, and the rate.

The sum of every micro-batch is divided by the same number, so that gradients add up to those of
one large batch however it is split (METHODS §5.1). A local mean would be wrong.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learner.objectives.base import Tokens, View
from learner.objectives.bind import Bound

Normalizer = Literal["global_tokens", "batch_max_len", "constant", "sequence_mean"]

AS_PUBLISHED: dict[str, Normalizer] = {
    "token_mean": "global_tokens",
    "sequence_mean": "sequence_mean",
    "constant": "constant",
}
"""By ``Objective.aggregation``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over every rank and micro-batch of one optimizer step."""

    num_tokens: int
    """Supervised tokens: those of the responses, their end tokens included, but for those of
    weight 0."""
    num_rollouts: int
    """With at least one of them."""
    max_tokens: int
    """Of the rollout that has most of them."""


def denominator(normalizer: Normalizer, totals: Totals, length_budget: int) -> float:
    """What the sum over the whole step is divided by; 0 when there is nothing to learn from.

    The mean over rollouts of the mean over their tokens is one over tokens, of which each weighs
    what ``weights.sequence_mean`` says.
    """
    if normalizer in ("global_tokens", "sequence_mean"):
        return float(totals.num_tokens)
    if totals.num_tokens == 0:
        return 0.0
    if normalizer == "batch_max_len":
        return float(totals.num_rollouts * totals.max_tokens)
    return float(totals.num_rollouts * length_budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoss:
    """The objective of one optimizer step: every term is divided by the count of all its tokens,
    over all ranks and micro-batches."""

    objective: Bound
    divisors: Mapping[Tokens, float]

    def __call__(self, view: View) -> Tensor:
        total = torch.zeros((), device=view.logits_NV.device)
        for term in self.objective(view):
            if term.count != view.count(term.over):
                raise ValueError(
                    f"term {term.name!r} counts {term.count} of {view.count(term.over)} tokens: "
                    "leave tokens out by a weight of 0, which is known before the step"
                )
            if term.count:
                total = total + term.coefficient * term.total / self.divisors[term.over]
        return total


def learning_rate(lr: float, warmup_steps: int, num_applied: int) -> float:
    """Rate of the next step: ``lr/w, 2lr/w, …, lr`` over ``w`` warm-up steps, then constant."""
    if num_applied >= warmup_steps:
        return lr
    return lr * (num_applied + 1) / warmup_steps


def is_finite(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)
