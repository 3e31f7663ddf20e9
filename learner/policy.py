"""The policy with the loss inside, and one optimizer step's forward and backward passes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from configs.errors import UserError
from configs.schema import RunConfig
from learner import attention
from learner.examples import supervise
from learner.head import MEASURES, Frozen, take_over
from learner.lora import add_adapters
from learner.loss import StepLoss
from learner.objectives.bind import bind
from learner.pack import Pack, Packing, build, plan
from learner.work import MicroBatch
from verifiers.types import Rollout

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine
    from learner.teacher import Teacher

SFT = bind("sft", {})

SAME = 1e-4
"""Relative difference of losses in float32 that rounding explains."""


class Policy(torch.nn.Module):
    """Returns the loss of a pack and what was measured beside it, never logits.

    Matrix products run in ``compute_dtype``, whatever type the weights are kept in.
    """

    def __init__(self, model: PreTrainedModel, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self._compute_dtype = compute_dtype

    def forward(
        self, pack: Pack, loss: StepLoss, frozen: Frozen | None = None
    ) -> tuple[Tensor, Tensor]:
        autocast = torch.autocast(
            pack.ids_T.device.type,
            self._compute_dtype,
            enabled=self._compute_dtype != torch.float32,
            # Each weight is used once, and the cache would keep a copy of all of them: under ZeRO-3
            # that is the whole model on every rank.
            cache_enabled=False,
        )
        with autocast:
            hidden_NH = attention.hidden_states(self.model, pack)[pack.where_N]
            head: Any = self.model.get_output_embeddings()
            return head(hidden_NH, pack.tokens, loss, frozen)


def load_policy(model_dir: str, config: RunConfig) -> PreTrainedModel:
    model = load_model(model_dir, config)
    if config.learner.lora is not None:
        add_adapters(model, config.learner.lora)
    if config.learner.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def load_model(model_dir: str, config: RunConfig, *, is_policy: bool = True) -> PreTrainedModel:
    """In float32, with our attention, and with the loss in its output layer. The revision and the
    trust are the policy's: another model has neither."""
    disable_progress_bar()
    attention.register()
    model = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=torch.float32,
        revision=config.model.revision if is_policy else None,
        trust_remote_code=config.model.trust_remote_code and is_policy,
    )
    _require_no_window(model, config)
    _require_same_loss(model, packing_of(config, model))
    return model


def packing_of(config: RunConfig, model: PreTrainedModel) -> Packing:
    settings = config.learner
    return Packing(
        pack_tokens=settings.micro_batch_tokens,
        share_prompts=settings.share_prompts,
        one_by_one=not settings.packing,
        # A position costs 12 h^2 multiplications in a layer, and 2 h for each position it sees.
        free_context=6.0 * model.config.hidden_size,
    )


def _require_no_window(model: PreTrainedModel, config: RunConfig) -> None:
    window = getattr(model.config, "sliding_window", None)
    kinds = getattr(model.config, "layer_types", None) or ["sliding_attention"]
    if not (window and config.learner.packing and "sliding_attention" in kinds):
        return
    if getattr(model.config, "use_sliding_window", True) and config.engine.max_model_len > window:
        raise UserError(
            f"learner.packing=true: this model sees {window} tokens back, and "
            f"engine.max_model_len is {config.engine.max_model_len}; set learner.packing=false"
        )


@torch.no_grad()
def _require_same_loss(model: PreTrainedModel, packing: Packing) -> None:
    """Packed, prompts shared, logits in chunks: the loss must be that of the model asked plainly,
    one rollout at a time. Some models do more than we know of with masks or logits."""
    words = torch.arange(4 * 9) * 7 % model.config.vocab_size
    rollouts = [
        Rollout(
            id=str(index),
            prompt_ids=tuple(words[9 * (index // 2) :][:4].tolist()),
            response_ids=tuple(words[9 * index + 4 : 9 * index + 9 - index].tolist()),
            first_version=0,
            last_version=0,
        )
        for index in range(4)
    ]
    model.eval()
    plain = float(sum(_plain_nll(model, rollout) for rollout in rollouts))
    output_layer: Any = model.get_output_embeddings()
    take_over(output_layer)
    policy, loss = Policy(model, torch.float32), StepLoss(objective=SFT, divisors={"all": 1.0})
    tokens = supervise(rollouts, SFT, "global_tokens", "")
    [slots] = plan(rollouts, 1, packing)
    try:
        if not packing.one_by_one:
            model.set_attn_implementation(attention.NAME)
        ours = sum(float(policy(build(rollouts, tokens, slot), loss)[0]) for slot in slots)
    except (NotImplementedError, ValueError, TypeError) as error:
        raise UserError(
            f"learner.packing=true does not work with {type(model).__name__} ({error}); "
            f"set learner.packing=false"
        ) from error
    if abs(ours - plain) > SAME * abs(plain):
        way_out = "use another model" if packing.one_by_one else "set learner.packing=false"
        raise UserError(
            f"{type(model).__name__} has a loss of {plain:.6g} where the learner computes "
            f"{ours:.6g} for the same tokens: it treats masks or logits in a way that is not "
            f"supported; {way_out}"
        )


def _plain_nll(model: PreTrainedModel, rollout: Rollout) -> Tensor:
    ids = torch.tensor([rollout.prompt_ids + rollout.response_ids])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(rollout.prompt_ids) - 1 : -1]
    targets = torch.tensor(rollout.response_ids)
    return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")


def accumulate(
    engine: "Engine",
    micro_batches: Sequence[MicroBatch],
    loss: StepLoss,
    teacher: "Teacher | None" = None,
) -> tuple[Tensor, Tensor]:
    """Forward and backward of every micro-batch; this rank's part of the loss and its measures."""
    total = torch.zeros((), dtype=torch.float64, device=engine.device)
    measures = torch.zeros(len(MEASURES), dtype=torch.float64, device=engine.device)
    for position, micro_batch in enumerate(micro_batches, start=1):
        frozen = None
        if teacher is not None and micro_batch.teacher_pack is not None:
            frozen = teacher.states(micro_batch.teacher_pack)
        part, measured = engine(micro_batch.pack.to(engine.device), loss, frozen)
        engine.backward(part, last=position == len(micro_batches))
        total += part.detach()
        worst = torch.maximum(measures[-1], measured[-1])
        measures += measured
        measures[-1] = worst
    return total, measures
