"""The policy with the loss inside, and one optimizer step's forward and backward passes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from configs.schema import RunConfig
from learner.batch import MicroBatch
from learner.loss import nll_sum

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine


class TokenLoss(torch.nn.Module):
    """Returns the summed NLL of a micro-batch, never logits.

    Weights stay float32 and matrix products run in ``compute_dtype``: the same numbers in every
    ZeRO stage, where DeepSpeed's own bf16 mode refuses exact accumulation in stage 0.
    """

    def __init__(self, model: PreTrainedModel, compute_dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self._compute_dtype = compute_dtype

    def forward(self, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
        autocast = torch.autocast(
            ids_BT.device.type,
            self._compute_dtype,
            enabled=self._compute_dtype != torch.float32,
            # Each weight is used once, and the cache would keep a copy of all of them: under ZeRO-3
            # that is the whole model on every rank.
            cache_enabled=False,
        )
        with autocast:
            logits_BTV = self.model(input_ids=ids_BT, use_cache=False).logits
        return nll_sum(logits_BTV, targets_BT)


def load_policy(model_dir: str, config: RunConfig) -> PreTrainedModel:
    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=torch.float32,
        attn_implementation="sdpa",
        trust_remote_code=config.model.trust_remote_code,
    )
    if config.learner.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def accumulate(engine: "Engine", micro_batches: Sequence[MicroBatch], divisor: float) -> Tensor:
    """Forward and backward of every micro-batch; this rank's summed NLL, undivided."""
    total = torch.zeros((), dtype=torch.float64, device=engine.device)
    for position, micro_batch in enumerate(micro_batches, start=1):
        ids_BT = micro_batch.ids_BT.to(engine.device)
        targets_BT = micro_batch.targets_BT.to(engine.device)
        nll = engine(ids_BT, targets_BT)
        engine.backward(nll / divisor, last=position == len(micro_batches))
        total += nll.detach()
    return total
