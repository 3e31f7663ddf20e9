"""Every objective against its formula, token by token, in float64. Suffixes: N tokens, V words."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from configs.errors import UserError
from learner.objectives.base import View
from learner.objectives.chord import ChordSettings, mu_at
from learner.objectives.curio import CurioSettings, temperatures, wanted_entropy
from learner.objectives.registry import OBJECTIVES, resolve

N, V = 9, 7
EXPERT = [0, 0, 1, 0, 1, 0, 0, 1, 0]
WEIGHTS = [1.0, 0.5, 1.0, 0.0, 2.0, 1.0, 0.25, 0.0, 3.0]


def view_of(weights: list[float] | None = None, scale: float = 2.0) -> View:
    """Hostile on purpose: ratios on both sides of every bound, advantages of both signs, an absurd
    old log-probability where the weight is 0."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    logits = scale * randn(N, V)
    targets = torch.randint(V, (N,), generator=generator)
    off = torch.tensor([0.0, 0.5, -0.5, -1e5, 0.1, -0.1, 0.26, 0.9, -0.9], dtype=torch.float64)
    return View(
        logits_NV=logits.requires_grad_(),
        targets_N=targets,
        weights_N=None if weights is None else torch.tensor(weights, dtype=torch.float64),
        advantages_N=torch.tensor([1, 1, 1, -1, -1, -1, 2, -2, 0], dtype=torch.float64),
        old_logprobs_N=logits.detach().log_softmax(-1)[torch.arange(N), targets] - off,
        ref_logits_NV=(2 * randn(N, V)).requires_grad_(),
        teacher_logits_NV=(2 * randn(N, V)).requires_grad_(),
        is_expert_N=torch.tensor(EXPERT, dtype=torch.bool),
        uniforms_NK=torch.rand(N, 5, generator=generator, dtype=torch.float64),
    )


def loss_of(name: str, view: View, **settings: Any) -> Tensor:
    objective = resolve(name)
    terms = objective(view, objective.settings(**settings))
    return torch.stack([term.coefficient * term.total for term in terms]).sum()


def sums_of(name: str, view: View, **settings: Any) -> dict[str, tuple[float, int]]:
    objective = resolve(name)
    terms = objective(view, objective.settings(**settings))
    return {term.name: (term.total.item(), term.count) for term in terms}


def gradient_of(name: str, view: View, **settings: Any) -> Tensor:
    [gradient] = torch.autograd.grad(
        loss_of(name, view, **settings), [view.logits_NV], retain_graph=True
    )
    return gradient


def one_token(logits: list[float], target: int = 0, **rest: Any) -> View:
    row = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    return View(logits_NV=row, targets_N=torch.tensor([target]), **rest)


def log_of(*probabilities: float) -> list[float]:
    return [math.log(p) for p in probabilities]


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


# The formulas, for one token: its logits, the view, its index.


def p_of(z: Tensor) -> list[Tensor]:
    total = torch.stack([torch.exp(z[v]) for v in range(V)]).sum()
    return [torch.exp(z[v]) / total for v in range(V)]


def nll(z: Tensor, view: View, t: int) -> Tensor:
    return -torch.log(p_of(z)[int(view.targets_N[t])])


def entropy(z: Tensor) -> Tensor:
    return -torch.stack([p * torch.log(p) for p in p_of(z)]).sum()


def kl(p: list[Any], q: list[Any]) -> Tensor:
    return torch.stack([p[v] * torch.log(p[v] / q[v]) for v in range(V)]).sum()


def surrogate(low: float, high: float, advantage: float | None = None) -> Callable[..., Tensor]:
    def formula(z: Tensor, view: View, t: int) -> Tensor:
        assert view.advantages_N is not None and view.old_logprobs_N is not None
        a = float(view.advantages_N[t]) if advantage is None else advantage
        ratio = torch.exp(-nll(z, view, t)) / math.exp(float(view.old_logprobs_N[t]))
        if a > 0 and ratio > 1 + high:
            return -a * (1 + high) + 0 * ratio
        if a < 0 and ratio < 1 - low:
            return -a * (1 - low) + 0 * ratio
        return -a * ratio

    return formula


def dft(z: Tensor, view: View, t: int) -> Tensor:
    return math.exp(-nll(z, view, t).item()) * nll(z, view, t)


def asft(z: Tensor, view: View, t: int) -> Tensor:
    return dft(z, view, t) + 0.05 * kl(given(view.ref_logits_NV, t), p_of(z))


def given(logits_NV: Tensor | None, t: int) -> list[Tensor]:
    """A distribution that gets no gradient."""
    assert logits_NV is not None
    return p_of(logits_NV[t].detach())


def chord(own: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def formula(z: Tensor, view: View, t: int) -> Tensor:
        if not EXPERT[t]:
            return 0.7 * own(z, view, t)
        p = math.exp(-nll(z, view, t).item())
        return 0.3 * p * (1 - p) * nll(z, view, t)

    return formula


def reverse_kl(z: Tensor, view: View, t: int) -> Tensor:
    return kl(p_of(z), given(view.teacher_logits_NV, t))


def forward_kl(z: Tensor, view: View, t: int) -> Tensor:
    return kl(given(view.teacher_logits_NV, t), p_of(z))


def clipped_forward_kl(z: Tensor, view: View, t: int) -> Tensor:
    total, student = torch.zeros((), dtype=torch.float64), p_of(z)
    for v, p in enumerate(given(view.teacher_logits_NV, t)):
        entry = p * torch.log(p / student[v])
        total = total + (entry if entry < 0.05 else 0.05)
    return total


def jsd(z: Tensor, view: View, t: int) -> Tensor:
    teacher, student = given(view.teacher_logits_NV, t), p_of(z)
    mixture = [0.1 * p + 0.9 * q for p, q in zip(teacher, student, strict=True)]
    return 0.1 * kl(teacher, mixture) + 0.9 * kl(student, mixture)


def sampled(z: Tensor, view: View, t: int) -> Tensor:
    teacher = given(view.teacher_logits_NV, t)[int(view.targets_N[t])]
    return (math.log(teacher) + nll(z, view, t).item()) * nll(z, view, t)


def entropy_at(tau: float, z: Tensor, words: int) -> float:
    z = torch.cat([z.sort(descending=True).values[:words] / tau, torch.full((V,), -1e9)])[:V]
    return -sum(p * math.log(p) for p in map(float, p_of(z)) if p > 0)


def curio(words: int) -> Callable[..., Tensor]:
    def formula(z: Tensor, view: View, t: int) -> Tensor:
        assert view.teacher_logits_NV is not None
        teacher, low, high = view.teacher_logits_NV[t].detach(), 1.1, 1.5
        now = entropy_at(1.0, teacher, words)
        wanted = now + 0.5 / (1 + math.exp(-2 * (now - 1.2)))
        for _ in range(20):
            middle = (low + high) / 2
            is_low = entropy_at(middle, teacher, words) < wanted
            low, high = (middle, high) if is_low else (low, middle)
        tau = 1.1 if entropy_at(1.0, teacher, V) <= 0.03 else (low + high) / 2
        target = math.log(p_of(teacher / tau)[int(view.targets_N[t])])
        return nll(z, view, t) + 0.5 * (-nll(z, view, t) - target) ** 2

    return formula


def one_token_rollout(z: Tensor, view: View, t: int) -> Tensor:
    assert view.uniforms_NK is not None
    total = torch.zeros((), dtype=torch.float64)
    for u in view.uniforms_NK[t].tolist():
        word, upto = 0, p_of(z)[0].item()
        while u >= upto:
            word += 1
            upto += p_of(z)[word].item()
        reward = 1.0 if word == int(view.targets_N[t]) else -0.1
        total = total - reward * torch.log(p_of(z)[word])
    return total / len(view.uniforms_NK[t])


def plus_bonus(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda z, view, t: loss(z, view, t) - 0.3 * entropy(z)


CASES: list[tuple[str, dict[str, Any], Callable[..., Tensor]]] = [
    ("sft", {}, nll),
    ("sft", {"entropy_bonus": 0.3}, plus_bonus(nll)),
    ("raft", {}, surrogate(0.2, 0.2, advantage=1.0)),
    ("grpo", {}, surrogate(0.2, 0.2)),
    ("dr_grpo", {"clip_low": 0.1, "clip_high": 0.3}, surrogate(0.1, 0.3)),
    ("dapo", {}, surrogate(0.2, 0.28)),
    ("dapo", {"entropy_bonus": 0.3}, plus_bonus(surrogate(0.2, 0.28))),
    ("tldr", {}, surrogate(0.2, 0.2)),
    ("dft", {}, dft),
    ("asft", {}, asft),
    ("chord", {"mu": 0.3}, chord(nll)),
    ("chord_grpo", {"mu": 0.3, "clip_high": 0.28}, chord(surrogate(0.2, 0.28))),
    ("opsd", {}, reverse_kl),
    ("opsd", {"divergence": "forward_kl"}, forward_kl),
    ("opsd", {"divergence": "clipped_forward_kl"}, clipped_forward_kl),
    ("opsd", {"divergence": "jsd", "beta": 0.1}, jsd),
    ("opsd", {"divergence": "jsd", "beta": 0.0}, forward_kl),
    ("opsd", {"divergence": "jsd", "beta": 1.0}, reverse_kl),
    ("opsd", {"divergence": "sampled"}, sampled),
    ("curio", {}, curio(words=V)),
    ("curio", {"top_words": 3}, curio(words=3)),
    ("one_token_rollout", {}, one_token_rollout),
]
TAUGHT = ("opsd", "curio", "asft")
cases = pytest.mark.parametrize(
    ("name", "settings", "formula"), CASES, ids=[f"{name}-{given}" for name, given, _ in CASES]
)


@cases
def test_loss_and_gradient_are_those_of_the_formula(name, settings, formula):
    view, exact = view_of(WEIGHTS), view_of(WEIGHTS)
    wanted = torch.zeros((), dtype=torch.float64)
    for t in range(N):
        if WEIGHTS[t] > 0:
            wanted = wanted + WEIGHTS[t] * formula(exact.logits_NV[t], exact, t)
    [wanted_gradient] = torch.autograd.grad(wanted, [exact.logits_NV])

    loss = loss_of(name, view, **settings)
    gradient = gradient_of(name, view, **settings)

    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-9)
    assert torch.allclose(gradient, wanted_gradient, rtol=1e-6, atol=1e-9)


@cases
@pytest.mark.parametrize("parts", [[1] * N, [2, 7], [5, 0, 4]])
def test_the_sum_over_any_split_is_the_whole(name, settings, formula, parts):
    view = view_of(WEIGHTS)
    whole = sums_of(name, view, **settings)
    split: dict[str, tuple[float, int]] = dict.fromkeys(whole, (0.0, 0))

    for where in torch.arange(N).split(parts):
        for term, (total, count) in sums_of(name, view.only(where), **settings).items():
            split[term] = (split[term][0] + total, split[term][1] + count)

    for term, (total, count) in whole.items():
        assert split[term] == (pytest.approx(total, rel=1e-12, abs=1e-12), count)


@cases
def test_a_weight_of_zero_removes_a_token_whatever_stands_at_it(name, settings, formula):
    kept = torch.tensor([weight > 0 for weight in WEIGHTS])
    view = view_of(WEIGHTS)
    poison = {"old_logprobs_N", "advantages_N", "ref_logits_NV", "teacher_logits_NV"}
    poisoned = replace(
        view, **{key: _nan_where(~kept, getattr(view, key)) for key in poison | {"logits_NV"}}
    )

    gradient = gradient_of(name, poisoned, **settings)

    assert sums_of(name, poisoned, **settings) == sums_of(name, view.only(kept), **settings)
    assert torch.equal(gradient[~kept], torch.zeros(2, V, dtype=torch.float64))
    assert gradient[kept].isfinite().all()


def _nan_where(mask: Tensor, values: Tensor) -> Tensor:
    poisoned = values.detach().clone()
    poisoned[mask] = math.nan
    return poisoned.requires_grad_(values.requires_grad)


@cases
def test_another_weight_changes_the_sum_and_not_the_count(name, settings, formula):
    ones, twos = view_of([1.0] * N), view_of([2.0] * N)

    once, twice = sums_of(name, ones, **settings), sums_of(name, twos, **settings)

    assert once == sums_of(name, view_of(None), **settings)
    for term, (total, count) in once.items():
        assert twice[term] == (pytest.approx(2 * total), count)


@cases
def test_no_token_left_is_zero_with_a_gradient_of_zero(name, settings, formula):
    view = view_of([0.0] * N)

    assert set(sums_of(name, view, **settings).values()) == {(0.0, 0)}
    assert not gradient_of(name, view, **settings).any()


@cases
def test_extreme_logits_stay_finite(name, settings, formula):
    view = view_of(scale=1.0)
    logits = view.logits_NV.detach().float().sign() * 1e4
    logits[:, 3] = -math.inf
    targets = torch.where(view.targets_N == 3, 2, view.targets_N)
    floats = {
        field.name: getattr(view, field.name).detach().float()
        for field in fields(view)
        if field.name not in {"targets_N", "weights_N", "is_expert_N", "uniforms_NK"}
    }
    for key in ("ref_logits_NV", "teacher_logits_NV"):
        floats[key] = floats[key].sign() * -1e4
        floats[key][:, 3] = -math.inf
    floats["old_logprobs_N"][:6] = -1e5  # a ratio of inf, were it not bounded
    extreme = replace(view, **floats | {"logits_NV": logits.requires_grad_()}, targets_N=targets)

    assert loss_of(name, extreme, **settings).isfinite()
    assert gradient_of(name, extreme, **settings).isfinite().all()


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_that_is_negative_or_not_finite_is_refused(weight):
    with pytest.raises(ValueError, match="weights must be finite"):
        loss_of("sft", view_of([weight] + [1.0] * (N - 1)))


def test_entropy_is_a_term_of_its_own_with_the_same_count():
    uniform = one_token([3.0] * 4)

    [policy, bonus] = resolve("sft")(uniform, resolve("sft").settings(entropy_bonus=0.25))

    assert (policy.name, policy.coefficient, policy.count) == ("sft", 1.0, 1)
    assert (bonus.name, bonus.coefficient, bonus.count) == ("entropy", -0.25, 1)
    assert bonus.total.item() == pytest.approx(math.log(4))


# What the methods promise.


def test_dft_has_the_golden_numbers_and_p_times_the_gradient_of_cross_entropy():
    token = one_token(log_of(0.2, 0.5, 0.3))

    gradient = gradient_of("dft", token)

    assert loss_of("dft", token).item() == pytest.approx(0.321888, abs=1e-6)
    assert torch.allclose(gradient, row(-0.16, 0.10, 0.06), atol=1e-9)
    assert torch.allclose(gradient, 0.2 * gradient_of("sft", token), atol=1e-9)
    through_p = token.logprobs_N.exp() * -token.logprobs_N  # without the stop-gradient
    [other] = torch.autograd.grad(through_p.sum(), [token.logits_NV])
    assert not torch.allclose(gradient, other, atol=1e-2)


def test_asft_has_the_golden_number_and_is_dft_without_its_anchor():
    token = one_token(log_of(0.2, 0.5, 0.3), ref_logits_NV=row(*log_of(0.3, 0.4, 0.3)))

    assert loss_of("asft", token).item() == pytest.approx(0.323507, abs=1e-6)
    assert loss_of("asft", token, anchor=0.0).item() == loss_of("dft", token).item()


def test_raft_at_ratio_1_has_the_gradient_of_sft():
    view = view_of()
    same = replace(view, old_logprobs_N=view.logprobs_N.detach())

    assert torch.allclose(gradient_of("raft", same), gradient_of("sft", same), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "advantage", "ratio", "moves"),
    [
        ("grpo", 1.0, 1.25, False),
        ("dapo", 1.0, 1.25, True),
        ("dapo", 1.0, 1.29, False),
        ("dapo", -1.0, 0.79, False),
        ("dapo", -1.0, 5.0, True),
        ("dapo", 1.0, 0.1, True),
    ],
)
def test_a_ratio_beyond_its_bound_moves_nothing_further(name, advantage, ratio, moves):
    old = torch.tensor([math.log(0.2 / ratio)], dtype=torch.float64)
    advantages = torch.tensor([advantage], dtype=torch.float64)
    token = one_token(log_of(0.2, 0.5, 0.3), advantages_N=advantages, old_logprobs_N=old)

    assert bool(gradient_of(name, token).any()) == moves


@pytest.mark.parametrize(("p", "phi"), [(0.1, 0.09), (0.5, 0.25), (0.9, 0.09)])
def test_chord_learns_most_from_an_experts_word_that_is_half_expected(p, phi):
    expert = one_token(log_of(p, 1 - p), is_expert_N=torch.tensor([True]))

    gradient = gradient_of("chord", expert, mu=1.0)

    assert gradient[0, 0].item() == pytest.approx(-phi * (1 - p), abs=1e-9)


def test_chord_has_the_golden_gradient_and_counts_both_kinds_apart():
    expert = one_token(log_of(0.2, 0.5, 0.3), is_expert_N=torch.tensor([True]))

    gradient = gradient_of("chord", expert, mu=1.0)
    counts = {term: count for term, (_, count) in sums_of("chord", view_of(WEIGHTS)).items()}

    assert torch.allclose(gradient, row(-0.128, 0.08, 0.048), atol=1e-9)
    assert counts == {"own": 5, "expert": 2}  # the token of weight 0 is in neither


def test_chords_share_rises_linearly_and_falls_as_a_cosine():
    settings = ChordSettings(mu=0.9, mu_valley=0.1, mu_warmup_steps=3, mu_decay_steps=4)

    shares = [mu_at(settings, step).mu for step in range(9)]

    high, low = 0.5 + 0.4 * math.sqrt(0.5), 0.5 - 0.4 * math.sqrt(0.5)
    assert shares == pytest.approx([0.3, 0.6, 0.9, 0.9, high, 0.5, low, 0.1, 0.1])
    assert mu_at(ChordSettings(), 0).mu == pytest.approx(0.1)


TEACHER, STUDENT = (0.15, 0.75, 0.10), (0.6, 0.3, 0.1)


def distilled(student: tuple[float, ...] = STUDENT, target: int = 0) -> View:
    teacher = row(*log_of(*TEACHER)).requires_grad_()
    return one_token(log_of(*student), target, teacher_logits_NV=teacher)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"divergence": "forward_kl"}, 0.479274),
        ({"divergence": "reverse_kl"}, 0.556889),
        ({"divergence": "jsd"}, 0.122090),
        ({"divergence": "jsd", "beta": 0.1}, 0.042978),
        ({"divergence": "jsd", "beta": 0.9}, 0.048150),
        ({"divergence": "clipped_forward_kl"}, -0.157944),
    ],
)
def test_divergences_have_the_golden_numbers(settings, value):
    assert loss_of("opsd", distilled(), **settings).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("divergence", "golden"),
    [("reverse_kl", (0.497643, -0.441954, -0.055689)), ("forward_kl", (0.45, -0.45, 0.0))],
)
def test_divergences_have_the_golden_gradients(divergence, golden):
    gradient = gradient_of("opsd", distilled(), divergence=divergence)

    assert torch.allclose(gradient, row(*golden), atol=1e-6)


@pytest.mark.parametrize(
    "kind", ["reverse_kl", "forward_kl", "clipped_forward_kl", "jsd", "sampled"]
)
def test_a_teacher_that_sees_the_same_teaches_nothing(kind):
    same = distilled(student=TEACHER)

    assert loss_of("opsd", same, divergence=kind).item() == pytest.approx(0, abs=1e-12)
    assert torch.allclose(gradient_of("opsd", same, divergence=kind), row(0, 0, 0), atol=1e-9)


@pytest.mark.parametrize(("name", "settings"), [(n, s) for n, s, _ in CASES if n in TAUGHT])
def test_the_teacher_gets_no_gradient(name, settings):
    view = view_of(WEIGHTS)
    assert view.teacher_logits_NV is not None and view.ref_logits_NV is not None
    others = [view.teacher_logits_NV, view.ref_logits_NV]

    gradients = torch.autograd.grad(loss_of(name, view, **settings), others, allow_unused=True)

    assert gradients == (None, None)


def test_sampled_words_give_the_gradient_of_the_reverse_kl_in_the_mean():
    mean = torch.zeros(1, 3, dtype=torch.float64)
    for word, p in enumerate(STUDENT):
        mean += p * gradient_of("opsd", distilled(target=word), divergence="sampled")

    assert torch.allclose(mean, gradient_of("opsd", distilled()), atol=1e-12)


def test_curio_wants_the_golden_entropy_and_finds_its_temperature():
    teacher = row(2.5, 0.0, 0.3, -0.5, 0.1)
    now = torch.distributions.Categorical(logits=teacher).entropy()

    [tau] = temperatures(teacher, CurioSettings(tau_min=1.0, tau_max=20.0)).tolist()

    found = torch.distributions.Categorical(logits=teacher / tau).entropy().item()
    assert wanted_entropy(torch.tensor([1.2])).item() == pytest.approx(1.45)
    assert found == pytest.approx(wanted_entropy(now).item(), abs=1e-4)
    assert found > now.item() + 0.1


def test_curios_entropy_rises_with_tau_and_a_sure_teacher_gets_the_lowest():
    sure, wavering = row(9.0, 0.0, 0.0, -1.0), row(4.0, 3.0, 2.0, -9.0)
    hot = [torch.distributions.Categorical(logits=wavering / tau).entropy() for tau in (1.1, 1.5)]

    tau_sure, tau_wavering = temperatures(torch.cat([sure, wavering]), CurioSettings())

    assert hot[0] < hot[1]
    assert tau_sure.item() == 1.1
    assert 1.1 < tau_wavering.item() <= 1.5


def test_whether_curios_teacher_is_sure_is_asked_of_every_word():
    tail = row(8.0, *[0.0] * 100)  # sure among its two likeliest words, not among all

    assert temperatures(tail, CurioSettings(top_words=2)).item() > 1.4


def test_a_word_of_no_probability_is_never_drawn():
    uniforms = row(0.0, 0.5, 1 - 2**-53)
    token = one_token([-math.inf, 0.0, 0.0, -math.inf], target=1, uniforms_NK=uniforms)

    loss = loss_of("one_token_rollout", token, wrong_reward=-0.1)

    assert loss.item() == pytest.approx(math.log(2) * (1 - 0.1 - 0.1) / 3)


def test_one_token_rollouts_are_fair():
    generator = torch.Generator().manual_seed(5)
    uniforms = torch.rand(1, 20_000, generator=generator, dtype=torch.float64)
    token = one_token(log_of(0.2, 0.5, 0.3), uniforms_NK=uniforms)

    loss = loss_of("one_token_rollout", token, wrong_reward=0.0)

    # Only the data's word is rewarded, so in the mean this is -p log p, DFT's value.
    assert loss.item() == pytest.approx(-0.2 * math.log(0.2), abs=0.02)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("grpo", {"clip_low": 1.5}),
        ("dapo", {"overlong_cache": 30000}),
        ("tldr", {"penalty_long": 0.5}),
        ("tldr", {"penalty_short": 1.0}),
        ("curio", {"tau_min": 2.0}),
        ("opsd", {"divergence": "kl"}),
        ("sft", {"entropy": 0.1}),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, wrong):
    with pytest.raises(ValueError):
        resolve(name).settings(**wrong)


# Names.


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_name_is_an_objective_whose_inputs_are_those_it_declares(name):
    objective, view = resolve(name), view_of()
    inputs = {
        "ref_logits": "ref_logits_NV",
        "teacher_logits": "teacher_logits_NV",
        "old_logprobs": "old_logprobs_N",
        "advantages": "advantages_N",
        "expert_batch": "is_expert_N",
        "uniforms": "uniforms_NK",
    }
    others = {key: None for need, key in inputs.items() if need not in objective.needs}

    assert objective(replace(view, **others), objective.settings())
    for need in objective.needs:
        with pytest.raises(AssertionError):
            objective(replace(view, **{inputs[need]: None}), objective.settings())
    assert ("advantages" in objective.needs) == (objective.advantages is not None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_setting_says_what_it_means(name):
    for field in resolve(name).settings.model_fields.values():
        assert field.description


def test_names_are_read_generously_and_unknown_ones_refused_with_the_nearest():
    assert resolve(" GRPO ") is resolve("grpo")
    with pytest.raises(UserError, match="did you mean 'dr_grpo'") as caught:
        resolve("drgrpo")
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


PLUGIN = """
from configs.schema import Section
from learner.objectives.base import Objective, Term


def terms(view, settings):
    return [Term(name="square", tokens=view, losses_N=view.logprobs_N**2)]


SQUARE = Objective(terms=terms, settings=Section, on_policy=False)
"""


def test_a_module_outside_the_tree_adds_an_objective(tmp_path, monkeypatch):
    (tmp_path / "my_objectives.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    view = view_of(WEIGHTS)

    [(total, count)] = sums_of("my_objectives:SQUARE", view).values()

    weights, logprobs = torch.tensor(WEIGHTS, dtype=torch.float64), view.logprobs_N
    assert total == pytest.approx((weights * logprobs**2).sum().item())
    assert count == 7
    for wrong in ("my_objectives:CUBE", "no_such_module:SQUARE", "my_objectives:terms", ":X"):
        with pytest.raises(UserError) as caught:
            resolve(wrong)
        assert "\n" not in str(caught.value)
