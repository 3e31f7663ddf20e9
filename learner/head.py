"""From hidden states to losses, a chunk of tokens at a time: ``[tokens, vocabulary]`` is never
whole, neither forward nor backward."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from learner.objectives.base import View
from learner.objectives.bind import Bound

CHUNK_ELEMENTS = 2**25
"""Logits at a time (128 MiB in float32). Chunks are recomputed in the backward pass."""


def loss_sums(
    hidden_NH: Tensor,
    head: torch.nn.Module,
    targets_N: Tensor,
    num_words: int,
    objective: Bound,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    """Summed in float32: the objective, with gradient, and beside it the negative log-likelihood.

    Of no targets both are 0, with a gradient of 0 for every weight: a rank without tokens still
    takes part in every collective.
    """
    chunk = max(1, chunk_elements // num_words)
    parts = zip(hidden_NH.split(chunk), targets_N.split(chunk), strict=True)
    sums = torch.zeros(2, dtype=torch.float32, device=hidden_NH.device)
    for hidden, targets in parts:
        sums = sums + checkpoint(_sums, hidden, head, targets, objective, use_reentrant=False)
    return sums


def _sums(hidden_NH: Tensor, head: torch.nn.Module, targets_N: Tensor, objective: Bound) -> Tensor:
    view = View(logits_NV=head(hidden_NH).float(), targets_N=targets_N)
    terms = objective(view)
    if any(term.count != len(targets_N) for term in terms):
        raise NotImplementedError("an objective that leaves out tokens has a count of its own")
    total = sum((term.coefficient * term.total for term in terms), view.logits_NV.new_zeros(()))
    return torch.stack([total, -view.logprobs_N.detach().sum()])
