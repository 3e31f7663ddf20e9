import math

import pytest
import torch
from torch import Tensor

from configs.errors import UserError
from learner.head import loss_sums
from learner.objectives.bind import bind

NUM_WORDS, HIDDEN = 11, 6
SFT = bind("sft", {})


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

    loss, nll = loss_sums(states, head, torch.tensor(targets), NUM_WORDS, SFT, chunk_elements)
    loss.backward()

    assert loss.item() == nll.item() == pytest.approx(exact.item(), rel=1e-6)
    assert loss.requires_grad
    for ours, theirs in ((states.grad, exact_states.grad), (head.weight.grad, exact_weight.grad)):
        assert ours is not None and theirs is not None
        assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-6)
    assert head.most == most  # never more logits at once, forward or backward


def test_no_token_gives_zero_and_a_gradient_of_zero_for_every_weight():
    head, states = Head(), hidden(3).requires_grad_()

    sums = loss_sums(states[:0], head, torch.zeros(0, dtype=torch.long), NUM_WORDS, SFT)
    sums[0].backward()

    assert sums.tolist() == [0, 0]
    for tensor in (states, head.weight):
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_half_precision_logits_are_summed_in_float32():
    head = Head(torch.bfloat16)
    states = torch.zeros(4096, HIDDEN, dtype=torch.bfloat16)

    sums = loss_sums(states, head, torch.zeros(4096, dtype=torch.long), NUM_WORDS, SFT)

    assert sums.dtype == torch.float32
    assert sums.tolist() == pytest.approx([4096 * math.log(NUM_WORDS)] * 2, rel=1e-6)


@pytest.mark.parametrize("chunk_elements", [2 * NUM_WORDS, 10**9])
@pytest.mark.parametrize(
    ("name", "settings", "per_token"),
    [
        ("dft", {}, lambda p_V, y: -p_V[y].detach() * p_V[y].log()),
        (
            "sft",
            {"entropy_bonus": 0.3},
            lambda p_V, y: -p_V[y].log() + 0.3 * (p_V * p_V.log()).sum(),
        ),
    ],
)
def test_another_objective_has_its_own_loss_beside_the_same_likelihood(
    chunk_elements, name, settings, per_token
):
    targets = [1, 10, 0, 4, 4]
    head, states = Head(), hidden(5).requires_grad_()
    exact_states = hidden(5).double().requires_grad_()
    p_NV = (exact_states @ head.weight.detach().double().T).softmax(-1)
    exact = torch.stack([per_token(p_V, y) for p_V, y in zip(p_NV, targets, strict=True)]).sum()
    exact.backward()

    objective = bind(name, settings)
    loss, nll = loss_sums(states, head, torch.tensor(targets), NUM_WORDS, objective, chunk_elements)
    loss.backward()

    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    picked = p_NV.detach()[range(len(targets)), targets]
    assert nll.item() == pytest.approx(-picked.log().sum().item())
    assert states.grad is not None and exact_states.grad is not None
    assert torch.allclose(states.grad.double(), exact_states.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("grpo", {}, ["learner.objective=grpo needs advantages, old_logprobs", "sft and dft"]),
        ("sftt", {}, ["did you mean 'sft'"]),
        ("sft", {"entropy": 1.0}, ["learner.objective_settings.entropy", "sft has entropy_bonus"]),
        ("sft", {"entropy_bonus": -1.0}, ["learner.objective_settings.entropy_bonus"]),
        ("dft", {"beta": 1}, ["dft has none"]),
    ],
)
def test_what_an_objective_cannot_be_or_have_is_told_in_one_line(name, settings, words):
    with pytest.raises(UserError) as caught:
        bind(name, settings)

    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
