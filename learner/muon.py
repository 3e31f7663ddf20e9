"""Muon for the hidden matrices of a small model, in the type of its weights.

``torch.optim.Muon`` orthogonalises in bfloat16 whatever the weights are, which processors without
it only imitate: there it took 30 times as long. Matrices of one shape go through together.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose repetition takes every singular value near 1: Jordan 2024."""
REPETITIONS = 5
MOMENTUM = 0.95
SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with AdamW's size of a step (arXiv 2502.16982)."""

    def __init__(self, matrices: list[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        assert closure is None, "nothing here evaluates the model again"
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                by_shape[matrix.shape].append(matrix)
            for matrices in by_shape.values():
                self._step(matrices, group["lr"], group["weight_decay"])

    def _step(self, matrices: list[Tensor], lr: float, weight_decay: float) -> None:
        directions = orthogonal(torch.stack([self._direction(matrix) for matrix in matrices]))
        size = lr * 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, direction in zip(matrices, directions, strict=True):
            matrix.mul_(1 - lr * weight_decay)
            matrix.sub_(direction, alpha=size)

    def _direction(self, matrix: Tensor) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(state["momentum"], MOMENTUM)


def orthogonal(matrices_NRC: Tensor) -> Tensor:
    """Each matrix with its singular values moved near 1 (0.7 to 1.2), its directions kept."""
    a, b, c = COEFFICIENTS
    is_tall = matrices_NRC.shape[1] > matrices_NRC.shape[2]
    x = matrices_NRC.mT if is_tall else matrices_NRC
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(REPETITIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
