import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from configs.errors import UserError
from learner import head as head_module
from learner.head import MEASURES, LossHead, take_over
from learner.loss import StepLoss
from learner.objectives.base import Objective, Supervised, Term
from learner.objectives.bind import Bound, bind
from learner.objectives.sft import SftSettings

NUM_WORDS, HIDDEN = 11, 6
TARGETS = [1, 10, 0, 4, 4, 9, 2]


def made_head(dtype: torch.dtype = torch.float32) -> LossHead:
    linear = torch.nn.Linear(HIDDEN, NUM_WORDS, bias=False)
    generator = torch.Generator().manual_seed(0)
    linear.weight.data = torch.randn(NUM_WORDS, HIDDEN, generator=generator).to(dtype)
    return take_over(linear)


def hidden(number: int) -> Tensor:
    return torch.randn(number, HIDDEN, generator=torch.Generator().manual_seed(1))


def supervised(targets: list[int], **known: Tensor) -> Supervised:
    return Supervised(targets_N=torch.tensor(targets, dtype=torch.long), **known)


def summed(name: str = "sft", divisor: float = 1.0, **settings: float) -> StepLoss:
    return StepLoss(objective=bind(name, settings), divisors={"all": divisor})


def by_hand(hidden_NH: Tensor, weight_VH: Tensor, targets: list[int]) -> Tensor:
    """The formula in float64, one token after the other."""
    total = torch.zeros((), dtype=torch.float64)
    for state, target in zip(hidden_NH, targets, strict=True):
        scores = weight_VH @ state
        total = total + torch.logsumexp(scores, 0) - scores[target]
    return total


@pytest.mark.parametrize("chunk", [1, 3 * NUM_WORDS, 10**9])
def test_the_sum_and_its_gradients_are_those_of_the_formula(monkeypatch, chunk):
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk)
    head, states = made_head(), hidden(7).requires_grad_()
    exact_states = hidden(7).double().requires_grad_()
    exact_weight = head.weight.detach().double().requires_grad_()
    exact = by_hand(exact_states, exact_weight, TARGETS)
    (exact / 5).backward()

    loss, measures = head(states, supervised(TARGETS), summed(divisor=5))
    loss.backward()

    assert loss.item() == pytest.approx(exact.item() / 5, rel=1e-6)
    assert measures.tolist() == [pytest.approx(exact.item(), rel=1e-6), 0, 0, 0, 0]
    for ours, theirs in ((states.grad, exact_states.grad), (head.weight.grad, exact_weight.grad)):
        assert ours is not None and theirs is not None
        assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def test_a_scaled_loss_has_a_scaled_gradient():
    head, states = made_head(), hidden(7).requires_grad_()
    plain_loss, _ = head(states, supervised(TARGETS), summed())
    plain = torch.autograd.grad(plain_loss, [states, head.weight])

    loss, _ = head(states, supervised(TARGETS), summed())
    scaled = torch.autograd.grad(3 * loss, [states, head.weight])

    for ours, theirs in zip(scaled, plain, strict=True):
        assert torch.allclose(ours, 3 * theirs)


@pytest.mark.parametrize(("chunk", "most"), [(1, 1), (3 * NUM_WORDS, 3)])
def test_no_tensor_holds_more_logits_than_a_chunk(monkeypatch, chunk, most):
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk)
    head, states = made_head(), hidden(7).requires_grad_()

    with Largest() as largest:
        loss, _ = head(states, supervised(TARGETS), summed())
        loss.backward()

    assert largest.rows == most


class Largest(TorchDispatchMode):
    """The most rows of words that any operation, forward or backward, gives back."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            # The matrix itself has as many columns when it is turned round.
            if isinstance(tensor, Tensor) and tensor.shape[1:] == (NUM_WORDS,) != (HIDDEN,):
                self.rows = max(self.rows, tensor.shape[0] if tensor.shape[0] != HIDDEN else 0)
        return result


def test_no_token_gives_zero_and_a_gradient_of_zero_for_every_weight():
    head, states = made_head(), hidden(3).requires_grad_()

    loss, measures = head(states[:0], supervised([]), summed())
    loss.backward()

    assert [loss.item(), *measures.tolist()] == [0] * (1 + len(MEASURES))
    for tensor in (states, head.weight):
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_frozen_weights_get_no_gradient_and_the_states_before_them_do():
    head, states = made_head(), hidden(7).requires_grad_()
    loss, _ = head(states, supervised(TARGETS), summed())
    loss.backward()
    frozen, again = made_head(), hidden(7).requires_grad_()
    frozen.weight.requires_grad_(False)

    loss, _ = frozen(again, supervised(TARGETS), summed())
    loss.backward()

    assert frozen.weight.grad is None
    assert states.grad is not None and again.grad is not None
    assert torch.equal(states.grad, again.grad)


def test_half_precision_logits_are_summed_in_float32():
    head = made_head(torch.bfloat16)
    states = torch.zeros(4096, HIDDEN, dtype=torch.bfloat16)

    loss, _ = head(states, supervised([0] * 4096), summed())

    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4096 * math.log(NUM_WORDS), rel=1e-6)


@pytest.mark.parametrize("chunk", [2 * NUM_WORDS, 10**9])
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
    monkeypatch, chunk, name, settings, per_token
):
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk)
    head, states = made_head(), hidden(7).requires_grad_()
    exact_states = hidden(7).double().requires_grad_()
    p_NV = (exact_states @ head.weight.detach().double().T).softmax(-1)
    exact = torch.stack([per_token(p_V, y) for p_V, y in zip(p_NV, TARGETS, strict=True)]).sum()
    exact.backward()

    loss, measures = head(states, supervised(TARGETS), summed(name, **settings))
    loss.backward()

    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    picked = p_NV.detach()[range(len(TARGETS)), TARGETS]
    assert measures[0].item() == pytest.approx(-picked.log().sum().item())
    assert states.grad is not None and exact_states.grad is not None
    assert torch.allclose(states.grad.double(), exact_states.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [2 * NUM_WORDS, 10**9])
def test_the_distance_to_the_engine_is_measured_where_the_engine_wrote(monkeypatch, chunk):
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk)
    head, states = made_head(), hidden(4)
    ours = (states @ head.weight.T).log_softmax(-1)[range(4), TARGETS[:4]].detach()
    off = torch.tensor([0.5, -0.25, math.nan, 0.0])

    _, measures = head(states, supervised(TARGETS[:4], old_logprobs_N=ours - off), summed())

    _, drift, drift_kl, num_compared, worst = measures.tolist()
    assert (num_compared, worst) == (3, pytest.approx(0.5, rel=1e-5))
    assert drift == pytest.approx(0.75, rel=1e-5)
    by_formula = sum(math.exp(d) - 1 - d for d in (0.5, -0.25))
    assert drift_kl == pytest.approx(by_formula, rel=1e-4)


def test_terms_are_divided_by_the_counts_of_their_own_tokens():
    head, states = made_head(), hidden(4)
    is_expert = torch.tensor([False, True, False, True])
    objective = bind("chord", {"mu": 0.25, "mu_valley": 0.25})
    loss = StepLoss(objective=objective, divisors={"all": 1.0, "own": 10.0, "expert": 4.0})

    total, _ = head(states, supervised(TARGETS[:4], is_expert_N=is_expert), loss)

    logp = (states @ head.weight.T).log_softmax(-1)[range(4), TARGETS[:4]].detach()
    p = logp.exp()
    own = -(logp[0] + logp[2]) / 10
    expert = -sum(float(p[i] * (1 - p[i]) * logp[i]) for i in (1, 3)) / 4
    assert total.item() == pytest.approx(0.75 * own.item() + 0.25 * expert, rel=1e-5)


def test_an_objective_that_leaves_out_tokens_on_its_own_is_refused():
    def some(view, settings):
        first = view.only(slice(0, 1))
        return [Term(name="some", tokens=first, losses_N=-first.logprobs_N)]

    bound = Bound(
        name="mine", objective=Objective(terms=some, settings=SftSettings), settings=SftSettings()
    )

    with pytest.raises(ValueError, match=r"'some' counts 1 of 2 tokens"):
        made_head()(hidden(2), supervised([0, 1]), StepLoss(objective=bound, divisors={"all": 1}))


def test_an_output_layer_that_is_no_plain_matrix_is_refused():
    with pytest.raises(UserError, match="no plain matrix without a bias"):
        take_over(torch.nn.Linear(HIDDEN, NUM_WORDS))


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
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
