"""From hidden states to losses, a chunk of tokens at a time: ``[tokens, vocabulary]`` is never
whole, neither forward nor backward."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 2**25
"""Logits at a time (128 MiB in float32). Chunks are recomputed in the backward pass."""


def nll_sum(
    hidden_NH: Tensor,
    head: torch.nn.Module,
    targets_N: Tensor,
    num_words: int,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    """Negative log-likelihood of the targets, summed in float32. Of no targets it is 0, with a
    gradient of 0 for every weight: a rank without tokens still takes part in every collective."""
    chunk = max(1, chunk_elements // num_words)
    parts = zip(hidden_NH.split(chunk), targets_N.split(chunk), strict=True)
    total = torch.zeros((), dtype=torch.float32, device=hidden_NH.device)
    for hidden, targets in parts:
        total = total + checkpoint(_nll_sum, hidden, head, targets, use_reentrant=False)
    return total


def _nll_sum(hidden_NH: Tensor, head: torch.nn.Module, targets_N: Tensor) -> Tensor:
    return F.cross_entropy(head(hidden_NH).float(), targets_N, reduction="sum")
