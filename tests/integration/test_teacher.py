"""A policy and a frozen teacher, packed, against both asked plainly in float64."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from configs.errors import UserError
from configs.schema import RunConfig
from learner import head as head_module
from learner.examples import supervise
from learner.loss import StepLoss
from learner.objectives.bind import bind
from learner.pack import build, plan
from learner.policy import Policy, load_policy, packing_of
from learner.publish import write_tensors
from learner.teacher import Teacher
from tests.integration.test_policy import SMALL, configured, saved
from verifiers.types import Rollout

CPU = torch.device("cpu")
MANY = 10**9


def other_model(folder: Path) -> str:
    """The same kind with other weights."""
    source = saved(folder, LlamaConfig(**SMALL))
    weights = load_file(f"{source}/model.safetensors")
    generator = torch.Generator().manual_seed(9)
    shifted = {n: w + 0.3 * torch.randn(w.shape, generator=generator) for n, w in weights.items()}
    save_file(shifted, f"{source}/model.safetensors", metadata={"format": "pt"})
    return source


def configured_for(objective: str, *, teacher: dict[str, Any], **learner: Any) -> RunConfig:
    return configured(objective=objective, teacher=teacher, dtype="float32", **learner)


def groups() -> list[Rollout]:
    """Teachers see seven tokens more, or the same prompt."""
    generator = torch.Generator().manual_seed(3)

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, 61, (number,), generator=generator).tolist())

    return [
        Rollout(
            id=f"{index:06d}.0.{length}",
            prompt_ids=prompt,
            response_ids=tokens(length),
            first_version=0,
            last_version=0,
            teacher_prompt_ids=teacher_prompt,
        )
        for index, (prompt, teacher_prompt) in enumerate(
            [(tokens(5), tokens(12)), (tokens(3), tokens(10)), (tokens(4), ())]
        )
        for length in (1, 6, 9)
    ]


def plain_logprobs(model: PreTrainedModel, prompt: tuple[int, ...], response: tuple[int, ...]):
    """At each token of the response, over all words."""
    ids = torch.tensor([prompt + response])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)


def reverse_kl(student_NV: Tensor, teacher_NV: Tensor, targets: tuple[int, ...]) -> Tensor:
    return (student_NV.exp() * (student_NV - teacher_NV)).sum()


def anchored(student_NV: Tensor, teacher_NV: Tensor, targets: tuple[int, ...]) -> Tensor:
    logp_N = student_NV[range(len(targets)), targets]
    kl = (teacher_NV.exp() * (teacher_NV - student_NV)).sum()
    return (-logp_N.detach().exp() * logp_N).sum() + 0.05 * kl


@pytest.mark.parametrize("chunk", [61 * 4, MANY])
@pytest.mark.parametrize(
    ("objective", "formula"), [("opsd", reverse_kl), ("asft", anchored)], ids=["opsd", "asft"]
)
def test_loss_and_gradient_are_those_of_the_formula(
    tmp_path, monkeypatch, objective, formula: Callable[..., Tensor], chunk
):
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", chunk)
    policy_dir, teacher_dir = other_model(tmp_path / "p"), saved(tmp_path, LlamaConfig(**SMALL))
    config = configured_for(objective, teacher={"model": teacher_dir})
    model = load_policy(policy_dir, config)
    bound = bind(objective, {})
    teacher = Teacher(teacher_dir, config, bound.objective, model)
    teacher.to(CPU)
    rollouts = groups()
    tokens = supervise(rollouts, bound, "global_tokens", "")
    loss = StepLoss(objective=bound, divisors={"all": 7.0})
    policy = Policy(model, torch.float32)

    total = torch.zeros(())
    for slot in plan(rollouts, 1, packing_of(config, model))[0]:
        frozen = teacher.states(build(rollouts, tokens, slot, teacher=True))
        total = total + policy(build(rollouts, tokens, slot), loss, frozen)[0]
    total.backward()

    exact, exact_teacher = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
        for folder in (policy_dir, teacher_dir)
    )
    expected = torch.zeros((), dtype=torch.float64)
    for each in rollouts:
        seen = each.teacher_prompt_ids or each.prompt_ids
        student_NV = plain_logprobs(exact, each.prompt_ids, each.response_ids)
        teacher_NV = plain_logprobs(exact_teacher, seen, each.response_ids).detach()
        expected = expected + formula(student_NV, teacher_NV, each.response_ids) / 7
    expected.backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, theirs = (
        torch.cat(
            [weight.grad.flatten() for weight in each.parameters() if weight.grad is not None]
        )
        for each in (model, exact)
    )
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
    assert all(weight.grad is None for weight in teacher._model.parameters())


def test_a_teacher_that_sees_what_the_policy_sees_teaches_nothing(tmp_path):
    folder = saved(tmp_path, LlamaConfig(**SMALL))
    config = configured_for("opsd", teacher={"model": folder})
    model = load_policy(folder, config)
    bound = bind("opsd", {})
    teacher = Teacher(folder, config, bound.objective, model)
    teacher.to(CPU)
    rollouts = groups()[6:]  # their teacher's prompt is their own
    tokens = supervise(rollouts, bound, "global_tokens", "")
    loss = StepLoss(objective=bound, divisors={"all": 1.0})

    [[slot]] = plan(rollouts, 1, packing_of(config, model))
    frozen = teacher.states(build(rollouts, tokens, slot, teacher=True))
    total, _ = Policy(model, torch.float32)(build(rollouts, tokens, slot), loss, frozen)

    assert total.item() == pytest.approx(0, abs=1e-6)


class WholeEngine:
    """Nothing is sharded."""

    def gathered(self, parameters: list[Any]) -> Any:
        return torch.no_grad()


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_refreshed_teacher_moves_towards_the_policy_and_is_kept(tmp_path, share):
    policy_dir, teacher_dir = other_model(tmp_path / "p"), saved(tmp_path, LlamaConfig(**SMALL))
    rules = {"model": teacher_dir, "refresh_every": 5, "refresh_share": share}
    config = configured_for("curio", teacher=rules)
    model = load_policy(policy_dir, config)
    objective = bind("curio", {}).objective
    teacher = Teacher(teacher_dir, config, objective, model)
    teacher.to(CPU)
    before = {name: w.clone() for name, w in teacher._model.named_parameters()}

    assert [step for step in range(12) if teacher.is_due(step)] == [5, 10]
    teacher.refresh(WholeEngine(), model)  # pyright: ignore[reportArgumentType]
    write_tensors(tmp_path / "teacher.safetensors", teacher.copy())
    again = Teacher(teacher_dir, config, objective, model)
    again.load(tmp_path / "teacher.safetensors")

    for name, target in model.named_parameters():
        expected = before[name] + share * (target - before[name])
        assert torch.allclose(dict(teacher._model.named_parameters())[name], expected, atol=1e-6)
        assert torch.allclose(dict(again._model.named_parameters())[name], expected, atol=1e-6)


def test_a_teacher_with_other_words_is_refused(tmp_path):
    config = configured_for("opsd", teacher={"model": "other"})
    model = load_policy(saved(tmp_path / "p", LlamaConfig(**SMALL)), config)
    more_words: dict[str, Any] = {**SMALL, "vocab_size": 62}
    stranger = saved(tmp_path / "t", LlamaConfig(**more_words))

    with pytest.raises(UserError, match="knows 62 words and the policy 61"):
        Teacher(stranger, config, bind("opsd", {}).objective, model)
