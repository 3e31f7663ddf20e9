"""Packs against the same model asked one rollout at a time."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from configs.errors import UserError
from configs.schema import RunConfig
from learner.attention import longest_sight
from learner.examples import supervise
from learner.loss import StepLoss
from learner.pack import Segment, build, plan
from learner.policy import SFT, Policy, _plain_nll, load_policy, packing_of
from verifiers.types import Rollout

SUM = StepLoss(objective=SFT, divisors={"all": 1.0})

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def saved(folder: Any, config: Any) -> str:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


def configured(max_model_len: int = 64, **learner: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"path": "made"},
            "data": {"train": "made", "max_prompt_tokens": 8},
            "filter": {"length_budget": 16},
            "engine": {"max_model_len": max_model_len, "dtype": "bfloat16"},
            "learner": {"micro_batch_tokens": 64, "dtype": "bfloat16", **learner},
        }
    )


def groups(seed: int = 3) -> list[Rollout]:
    """Three groups of four; a response of one token among them, and of many."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, 61, (number,), generator=generator).tolist())

    return [
        Rollout(id="", prompt_ids=p, response_ids=tokens(n), first_version=0, last_version=0)
        for p in (tokens(5), tokens(1), tokens(9))
        for n in (1, 2, 7, 16)
    ]


def gradients(model: PreTrainedModel, loss: Tensor) -> Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat(
        [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    )


@pytest.mark.parametrize(
    "settings",
    [{}, {"share_prompts": False}, {"packing": False}, {"activation_checkpointing": True}],
)
@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL, tie_word_embeddings=True),
        LlamaConfig(**SMALL, tie_word_embeddings=False),
        Qwen2Config(**SMALL),
        Qwen3Config(**SMALL, head_dim=8),
        MistralConfig(**SMALL, sliding_window=64),
    ],
    ids=["llama tied", "llama", "qwen2", "qwen3", "mistral"],
)
def test_loss_and_gradient_are_those_of_one_rollout_at_a_time(tmp_path, config, settings):
    folder = saved(tmp_path, config)
    model = load_policy(folder, configured(**settings))
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    rollouts = groups()

    policy = Policy(model, torch.float32)
    tokens = supervise(rollouts, SFT, "global_tokens", "")
    [slots] = plan(rollouts, 1, packing_of(configured(**settings), model))
    packs = [build(rollouts, tokens, slot) for slot in slots]
    ours = sum((policy(pack, SUM)[0] for pack in packs), torch.zeros(()))
    theirs = sum((_plain_nll(exact, each).double() for each in rollouts), torch.zeros(()))

    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    ours_grad, exact_grad = gradients(model, ours), gradients(exact, theirs)
    assert (ours_grad - exact_grad).norm() <= 1e-5 * exact_grad.norm()


def test_nothing_leaks_from_one_rollout_into_another(tmp_path):
    model = load_policy(saved(tmp_path, LlamaConfig(**SMALL)), configured())
    rollouts = groups()
    policy = Policy(model, torch.float32)
    [[slot, *_]] = plan(rollouts, 1, packing_of(configured(), model))
    pack = build(rollouts, supervise(rollouts, SFT, "global_tokens", ""), slot)
    reached: list[Tensor] = []
    embeddings: Any = model.get_input_embeddings()
    embeddings.register_forward_hook(lambda *args: reached.append(args[2].requires_grad_()) or None)
    starts = [0]
    for segment in pack.segments:
        starts.append(starts[-1] + segment.num_positions)

    hidden = model.get_decoder()(
        input_ids=pack.ids_T[None], position_ids=pack.positions_T[None], segments=pack.segments
    ).last_hidden_state[0]

    assert isinstance(policy, Policy)
    for index, segment in enumerate(pack.segments):
        (grad,) = torch.autograd.grad(
            hidden[starts[index] : starts[index + 1]].sum(), reached[0], retain_graph=True
        )
        seen = grad[0].abs().sum(-1).nonzero().flatten().tolist()
        allowed = list(range(starts[index], starts[index + 1]))
        if segment.prefix is not None:
            allowed = [*range(starts[segment.prefix], starts[segment.prefix + 1]), *allowed]
        assert set(seen) <= set(allowed), index
        assert len(seen) == len(allowed)


def test_a_model_that_does_more_with_attention_is_refused_with_the_way_out(tmp_path):
    config = Gemma2Config(**SMALL, head_dim=8, sliding_window=64, attn_logit_softcapping=5.0)
    folder = saved(tmp_path, config)

    with pytest.raises(UserError, match=r"learner\.packing=false"):
        load_policy(folder, configured())


def test_a_model_that_does_more_with_its_logits_is_refused(tmp_path):
    config = Gemma2Config(
        **SMALL, head_dim=8, sliding_window=64, attn_logit_softcapping=None,
        final_logit_softcapping=0.5,
    )  # fmt: skip

    with pytest.raises(UserError, match=r"masks or logits .* use another model"):
        load_policy(saved(tmp_path, config), configured(packing=False))


def test_a_window_that_is_shorter_than_the_context_is_refused(tmp_path):
    folder = saved(tmp_path, MistralConfig(**SMALL, sliding_window=32))

    with pytest.raises(UserError, match=r"32 tokens back.*max_model_len is 64; set"):
        load_policy(folder, configured())
    assert load_policy(folder, configured(packing=False))


def test_a_response_sees_as_far_as_its_prompt():
    assert longest_sight((Segment(5), Segment(9), Segment(6, 0))) == 11
