"""From hidden states to the loss, a chunk of tokens at a time: ``[tokens, vocabulary]`` is never
whole, neither forward nor backward.

The gradient of a chunk's logits is turned into those of the hidden states and of the matrix at
once, in the forward pass: the logits are made one time, and the backward pass only hands on what is
there. Suffixes: N tokens, H hidden, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from configs.errors import UserError
from learner.loss import StepLoss
from learner.objectives.base import Supervised, View
from learner.objectives.distribution import k3

CHUNK_ELEMENTS = 2**24
"""Logits at a time (64 MiB in float32)."""

MEASURES = ("nll", "drift", "drift_kl", "num_compared", "worst_drift")
"""What is measured beside the loss: sums over tokens, but for the last, which is the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What another policy says of the same tokens: its states, from which its logits are made."""

    name: str
    """Field of the view that its logits are for."""
    hidden_NH: Tensor
    weight_VH: Tensor

    def logits(self, rows: slice) -> dict[str, Tensor]:
        return {self.name: (self.hidden_NH[rows] @ self.weight_VH.T).float()}


class LossHead(torch.nn.Linear):
    """A model's output matrix that also knows the way from there to the loss.

    Being the same module it has the same hooks, so DeepSpeed gathers the matrix for it.
    """

    def forward(
        self,
        hidden_NH: Tensor,
        tokens: Supervised | None = None,
        loss: StepLoss | None = None,
        frozen: Frozen | None = None,
    ) -> Any:
        """Logits, as ever; of supervised tokens the summed loss and what was measured."""
        if tokens is None or loss is None:
            return super().forward(hidden_NH)
        job = _Job(tokens=tokens, loss=loss, frozen=frozen, dtype=_compute_dtype(hidden_NH))
        return _InChunks.apply(hidden_NH, self.weight, job)


def take_over(head: torch.nn.Module) -> LossHead:
    if type(head) is not torch.nn.Linear or head.bias is not None:
        raise UserError(
            f"the model's output layer is a {type(head).__name__} and no plain matrix without a "
            "bias: it is not supported; use another model"
        )
    head.__class__ = LossHead
    return head  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    tokens: Supervised
    loss: StepLoss
    frozen: Frozen | None
    dtype: torch.dtype

    def chunks(self, num_words: int) -> Iterator[slice]:
        size = max(1, CHUNK_ELEMENTS // num_words)
        return (slice(at, at + size) for at in range(0, len(self.tokens), size))

    def view(self, rows: slice, logits_NV: Tensor) -> View:
        others = {} if self.frozen is None else self.frozen.logits(rows)
        return View(logits_NV=logits_NV, **self.tokens.only(rows).fields(), **others)


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, job: _Job) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight, _ = ctx.needs_input_grad
        matrix_VH = weight_VH.detach().to(job.dtype)
        # Of no tokens the loss is 0, with a gradient of 0 for every weight: a rank without tokens
        # still takes part in every collective.
        hidden_grad_NH = torch.zeros_like(hidden_NH) if wants_hidden else None
        weight_grad_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if wants_weight else None
        total = torch.zeros((), device=hidden_NH.device)
        measures = torch.zeros(len(MEASURES), device=hidden_NH.device)
        with torch.autocast(hidden_NH.device.type, enabled=False):
            for rows in job.chunks(len(weight_VH)):
                states_NH = hidden_NH[rows].detach().to(job.dtype)
                logits_NV = (states_NH @ matrix_VH.T).float().requires_grad_()
                with torch.enable_grad():
                    view = job.view(rows, logits_NV)
                    loss = job.loss(view)
                total += loss.detach()
                _measure(view, measures)
                if not (loss.requires_grad and (wants_hidden or wants_weight)):
                    continue
                gradient_NV = torch.autograd.grad(loss, logits_NV)[0].to(job.dtype)
                del view, loss, logits_NV
                if hidden_grad_NH is not None:
                    hidden_grad_NH[rows] = gradient_NV @ matrix_VH
                if weight_grad_VH is not None:
                    weight_grad_VH += gradient_NV.T @ states_NH
        ctx.gradients = hidden_grad_NH, weight_grad_VH
        ctx.weight_dtype = weight_VH.dtype
        ctx.mark_non_differentiable(measures)
        return total, measures

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Any) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_grad_NH, weight_grad_VH = ctx.gradients
        del ctx.gradients  # handed on, not kept: it is as large as the matrix
        if hidden_grad_NH is not None:
            hidden_grad_NH.mul_(scale)
        if weight_grad_VH is not None:
            weight_grad_VH = weight_grad_VH.mul_(scale).to(ctx.weight_dtype)
        return hidden_grad_NH, weight_grad_VH, None


@torch.no_grad()
def _measure(view: View, measures: Tensor) -> None:
    """Adds what ``MEASURES`` names: the likelihood, and how far the policy that wrote the tokens is
    from the one that learns from them."""
    measures[0] -= view.logprobs_N.sum()
    if view.old_logprobs_N is None:
        return
    known_N = view.old_logprobs_N.isfinite()
    ours_N, theirs_N = view.logprobs_N[known_N], view.old_logprobs_N[known_N]
    drift_N = (ours_N - theirs_N).abs()
    if not len(drift_N):
        return
    measures[1] += drift_N.sum()
    measures[2] += k3(theirs_N, ours_N).sum()
    measures[3] += len(drift_N)
    measures[4] = torch.maximum(measures[4], drift_N.max())


def _compute_dtype(hidden_NH: Tensor) -> torch.dtype:
    """What a linear layer would compute in here."""
    device = hidden_NH.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden_NH.dtype
