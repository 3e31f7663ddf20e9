"""The training loss: cross-entropy of response tokens, summed, over one global denominator.

The sum of every micro-batch is divided by the same number, so that gradients add up to those of
one large batch however it is split (METHODS §5.1). A local mean would be wrong.
"""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from learner.batch import IGNORED, Totals

Normalizer = Literal["global_tokens", "batch_max_len", "constant"]

CHUNK_ELEMENTS = 2**27
"""Logits turned into float32 at a time (0.5 GiB): the whole of them is never held in float32."""


def nll_sum(logits_BTV: Tensor, targets_BT: Tensor, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """Negative log-likelihood of the supervised targets, summed in float32.

    What stands at an ignored position does not matter, not even ``inf``; without any supervised
    position the sum is 0 and its gradient is 0.
    """
    logits_NV, targets_N = logits_BTV.flatten(0, 1), targets_BT.flatten()
    num_rows, num_words = logits_NV.shape
    chunk = max(1, chunk_elements // num_words)
    if chunk >= num_rows:
        return _nll_sum(logits_NV, targets_N)
    parts = zip(logits_NV.split(chunk), targets_N.split(chunk), strict=True)
    return sum(  # pyright: ignore[reportReturnType]: never empty
        checkpoint(_nll_sum, logits, targets, use_reentrant=False) for logits, targets in parts
    )


def _nll_sum(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    # ``ignore_index`` alone would multiply what stands there by 0, and ``inf * 0`` is not 0.
    clean_NV = logits_NV.float().masked_fill((targets_N == IGNORED)[:, None], 0.0)
    return F.cross_entropy(clean_NV, targets_N, ignore_index=IGNORED, reduction="sum")


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
