import math

import pytest
import torch
from torch import Tensor

from learner.head import nll_sum

NUM_WORDS, HIDDEN = 11, 6


class Head(torch.nn.Module):
    """Counts what it is asked for: the whole vocabulary of how many tokens at once."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(NUM_WORDS, HIDDEN, generator=generator)
        self.weight = torch.nn.Parameter(weight.to(dtype))
        self.most = 0

    def forward(self, hidden_NH: Tensor) -> Tensor:
        self.most = max(self.most, len(hidden_NH))
        return hidden_NH @ self.weight.T


def hidden(number: int) -> Tensor:
    return torch.randn(number, HIDDEN, generator=torch.Generator().manual_seed(1))


def by_hand(hidden_NH: Tensor, weight_VH: Tensor, targets: list[int]) -> Tensor:
    """The formula in float64, one token after the other."""
    total = torch.zeros((), dtype=torch.float64)
    for state, target in zip(hidden_NH, targets, strict=True):
        scores = weight_VH @ state
        total = total + torch.logsumexp(scores, 0) - scores[target]
    return total


@pytest.mark.parametrize(("chunk_elements", "most"), [(1, 1), (3 * NUM_WORDS, 3), (10**9, 7)])
def test_the_sum_and_its_gradients_are_those_of_the_formula(chunk_elements, most):
    targets = [1, 10, 0, 4, 4, 9, 2]
    head, states = Head(), hidden(7).requires_grad_()
    exact_states = hidden(7).double().requires_grad_()
    exact_weight = head.weight.detach().double().requires_grad_()
    exact = by_hand(exact_states, exact_weight, targets)
    exact.backward()

    loss = nll_sum(states, head, torch.tensor(targets), NUM_WORDS, chunk_elements)
    loss.backward()

    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    for ours, theirs in ((states.grad, exact_states.grad), (head.weight.grad, exact_weight.grad)):
        assert ours is not None and theirs is not None
        assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-6)
    assert head.most == most  # never more logits at once, forward or backward


def test_no_token_gives_zero_and_a_gradient_of_zero_for_every_weight():
    head, states = Head(), hidden(3).requires_grad_()

    loss = nll_sum(states[:0], head, torch.zeros(0, dtype=torch.long), NUM_WORDS)
    loss.backward()

    assert loss.item() == 0
    for tensor in (states, head.weight):
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_half_precision_logits_are_summed_in_float32():
    head = Head(torch.bfloat16)
    states = torch.zeros(4096, HIDDEN, dtype=torch.bfloat16)

    loss = nll_sum(states, head, torch.zeros(4096, dtype=torch.long), NUM_WORDS)

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4096 * math.log(NUM_WORDS), rel=1e-6)
