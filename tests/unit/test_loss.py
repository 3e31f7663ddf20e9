import math

import pytest
import torch
from torch import Tensor

from learner.batch import IGNORED, Totals, build, plan
from learner.loss import denominator, is_finite, learning_rate, nll_sum
from verifiers.types import Rollout

NUM_WORDS = 11


def logits(rows: int, positions: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(rows, positions, NUM_WORDS, generator=generator)


def by_hand(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """The formula in float64, one position after the other."""
    total = torch.zeros((), dtype=torch.float64)
    for row, position in (targets_BT != IGNORED).nonzero().tolist():
        scores = logits_BTV[row, position].double()
        total = total + torch.logsumexp(scores, 0) - scores[targets_BT[row, position]]
    return total


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [("global_tokens", 0.625), ("batch_max_len", 5 / 12), ("constant", 0.3125)],
)
def test_aggregation_gives_the_golden_numbers(normalizer, expected):
    # Responses of 2 and 6 tokens with a loss of 1 and .5 per token; length budget 8.
    totals = Totals(num_tokens=8, num_rollouts=2, max_tokens=6)

    loss = (2 * 1.0 + 6 * 0.5) / denominator(normalizer, totals, length_budget=8)

    assert loss == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("normalizer", ["global_tokens", "batch_max_len", "constant"])
def test_nothing_to_learn_from_is_a_denominator_of_zero(normalizer):
    assert denominator(normalizer, Totals(num_tokens=0, num_rollouts=3, max_tokens=0), 8) == 0


@pytest.mark.parametrize("chunk_elements", [1, 2 * NUM_WORDS, 7 * NUM_WORDS, 10**9])
def test_the_sum_and_its_gradient_are_those_of_the_formula(chunk_elements):
    targets_BT = torch.full((3, 8), IGNORED)
    targets_BT[0, 2:7] = torch.tensor([1, 10, 0, 4, 4])
    targets_BT[2, 7] = 9
    exact_BTV = logits(3, 8).double().requires_grad_()
    (exact_grad,) = torch.autograd.grad(by_hand(exact_BTV, targets_BT), exact_BTV)
    logits_BTV = logits(3, 8).requires_grad_()

    loss = nll_sum(logits_BTV, targets_BT, chunk_elements)
    (grad,) = torch.autograd.grad(loss, logits_BTV)

    assert loss.item() == pytest.approx(by_hand(exact_BTV, targets_BT).item(), rel=1e-6)
    assert torch.allclose(grad.double(), exact_grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("absurd", [float("inf"), -float("inf"), float("nan"), 1e30])
def test_what_stands_at_an_ignored_position_does_not_matter(absurd):
    targets_BT = torch.full((2, 4), IGNORED)
    targets_BT[0, 1] = 5
    spoilt_BTV = logits(2, 4)
    spoilt_BTV[targets_BT == IGNORED] = absurd
    spoilt_BTV.requires_grad_()

    loss = nll_sum(spoilt_BTV, targets_BT)
    (grad,) = torch.autograd.grad(loss, spoilt_BTV)

    assert loss.item() == pytest.approx(nll_sum(logits(2, 4), targets_BT).item())
    assert torch.isfinite(grad[0, 1]).all()
    assert not grad[targets_BT == IGNORED].any()


def test_a_fully_masked_micro_batch_gives_zero_and_keeps_its_graph():
    logits_BTV = logits(2, 4).requires_grad_()

    loss = nll_sum(logits_BTV, torch.full((2, 4), IGNORED))
    loss.backward()

    assert loss.item() == 0
    assert logits_BTV.grad is not None
    assert not logits_BTV.grad.any()


def test_half_precision_logits_are_summed_in_float32():
    logits_BTV = torch.zeros(1, 4096, 2, dtype=torch.bfloat16)

    loss = nll_sum(logits_BTV, torch.zeros(1, 4096, dtype=torch.long))

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4096 * math.log(2), rel=1e-6)


def test_exactly_the_response_tokens_receive_gradient():
    rollouts = [
        Rollout(
            id=f"000000.0.{index}",
            prompt_ids=prompt,
            response_ids=response,
            first_version=0,
            last_version=0,
        )
        for index, (prompt, response) in enumerate([((1, 2, 3), (4, 5, 2)), ((1,), (2,))])
    ]
    (slot,) = plan([6, 2], 1, 64)[0]
    micro_batch = build(rollouts, slot)
    logits_BTV = logits(*micro_batch.ids_BT.shape).requires_grad_()

    nll_sum(logits_BTV, micro_batch.targets_BT).backward()

    assert logits_BTV.grad is not None
    touched = [tuple(place) for place in logits_BTV.grad.abs().sum(-1).nonzero().tolist()]
    # Position 2 predicts the first response token, position 4 the end token; 5 and up predict none.
    assert touched == [(0, 2), (0, 3), (0, 4), (1, 0)]
    # A gradient pushes the right word up: the target of each position is the next token.
    assert [int(logits_BTV.grad[place].argmin()) for place in touched] == [4, 5, 2, 2]


def test_the_rate_rises_over_the_warm_up_and_stays():
    rates = [learning_rate(6.0, 3, applied) for applied in range(5)]

    assert rates == [2.0, 4.0, 6.0, 6.0, 6.0]
    assert learning_rate(6.0, 0, 0) == 6.0


def test_one_value_that_is_not_finite_is_enough():
    assert is_finite(1.0, 0.0)
    assert not is_finite(1.0, float("nan"))
    assert not is_finite(float("inf"), 1.0)
