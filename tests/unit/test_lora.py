"""Adapters put into small models, without a learner around them."""

from collections.abc import Callable

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    PreTrainedModel,
)

from configs.errors import UserError
from configs.schema import LoraConfig
from learner.lora import add_adapters, plain_weights


def llama() -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        attention_bias=True,
    )
    return AutoModelForCausalLM.from_config(config)


def gpt2() -> PreTrainedModel:
    """Its linear layers are stored the other way round."""
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=9))


def logits(model: PreTrainedModel) -> torch.Tensor:
    return model.eval()(input_ids=torch.arange(6)[None]).logits


def merged(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {weight.name: weight.merged(weight.parts).detach() for weight in plain_weights(model)}


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_merged_weights_are_those_of_a_plain_model_that_computes_the_same(
    make: Callable[[], PreTrainedModel],
):
    model, plain = make(), make()
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    add_adapters(model, LoraConfig(rank=2, alpha=3))
    assert list(merged(model)) == list(start)
    assert all(weight.equal(start[name]) for name, weight in merged(model).items())

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_()
    plain.load_state_dict(merged(model), strict=False)

    assert not all(weight.equal(start[name]) for name, weight in merged(model).items())
    torch.testing.assert_close(logits(plain), logits(model))


def test_only_the_layers_that_are_named_get_an_adapter():
    model = llama()

    add_adapters(model, LoraConfig(targets=("q_proj",)))

    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == [
        "model.layers.0.self_attn.q_proj.lora_A.default.weight",
        "model.layers.0.self_attn.q_proj.lora_B.default.weight",
    ]


def test_dropout_is_that_of_the_configuration():
    model = llama()

    add_adapters(model, LoraConfig(dropout=0.25, targets=("q_proj",)))

    assert "Dropout(p=0.25" in repr(model.model.layers[0].self_attn.q_proj)


def test_the_class_and_the_configuration_of_the_model_stay():
    model, before = llama(), llama().config.to_dict()

    add_adapters(model, LoraConfig())

    assert type(model) is type(llama())
    assert model.config.to_dict() == before


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head", "nothing_like_this"])
def test_what_cannot_be_adapted_is_refused_in_one_line(target: str):
    with pytest.raises(UserError, match=rf"learner\.lora\.targets.*{target}") as failure:
        add_adapters(llama(), LoraConfig(targets=(target,)))

    assert "\n" not in str(failure.value)
