"""Low-rank adapters: ``W + alpha/r B A``, where W is frozen and only A and B are trained.

The only file that knows peft, which is imported when adapters are asked for. Outside the learner
nobody sees them: what is published and saved is the merged model under its plain names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from configs.errors import UserError
from configs.schema import LoraConfig

ADAPTER = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One weight of the plain model, and what it is made of."""

    name: str
    parts: tuple[torch.nn.Parameter, ...]
    """The weight itself; behind it, where it is adapted, A and B."""
    scale: float = 0.0
    """alpha/r."""
    is_transposed: bool = False

    def merged(self, parts: Sequence[Tensor]) -> Tensor:
        """The plain weight, in float32 where it is adapted, from the whole values of its parts."""
        if len(parts) == 1:
            return parts[0]
        base, down, up = (part.float() for part in parts)
        change = up @ down
        return base + (change.T if self.is_transposed else change) * self.scale


def add_adapters(model: PreTrainedModel, settings: LoraConfig) -> None:
    """Freeze the model and put adapters into it. B is 0: it computes what it did before."""
    from peft import LoraConfig as Adapters  # noqa: PLC0415 - takes seconds and is rarely needed
    from peft import inject_adapter_in_model  # noqa: PLC0415
    from peft.tuners.lora import Linear, LoraLayer  # noqa: PLC0415

    adapters = Adapters(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) if settings.targets else "all-linear",
    )
    try:
        inject_adapter_in_model(adapters, model, ADAPTER)
    except ValueError as error:
        raise UserError(f"learner.lora.targets: {str(error).splitlines()[0]}") from error
    for name, layer in model.named_modules():
        is_head = layer is model.get_output_embeddings()
        if isinstance(layer, LoraLayer) and (is_head or not isinstance(layer, Linear)):
            raise UserError(
                f"learner.lora.targets: {name} cannot be adapted, only linear layers other than "
                "the output head can"
            )


def plain_weights(model: PreTrainedModel) -> Iterator[Weight]:
    """Those of the model without adapters, in its order and under its names; a tied one once."""
    for name, parameter in model.named_parameters():
        owner, is_wrapped, own_name = name.partition(".base_layer.")
        if ".lora_A." in name or ".lora_B." in name:
            continue
        if not is_wrapped or own_name != "weight":
            yield Weight(name=name.replace(".base_layer.", "."), parts=(parameter,))
            continue
        layer: Any = model.get_submodule(owner)
        yield Weight(
            name=f"{owner}.weight",
            parts=(parameter, layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight),
            scale=layer.scaling[ADAPTER],
            is_transposed=layer.fan_in_fan_out,
        )
