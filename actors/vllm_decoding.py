"""vLLM's door to ``actors.decoding``: an engine-level logits processor that reads its orders from
each request. vLLM imports it in the process that computes."""

import random
from collections.abc import Callable
from typing import Any

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from actors.decoding import Decoder
from verifiers.types import Decoding

NAME = "actors.vllm_decoding:DecodingProcessor"
KEY = "laconic_decoding"
"""Of ``SamplingParams.extra_args``."""


class DecodingProcessor(AdapterLogitsProcessor):
    """Requests without orders are left alone."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._random = random.Random(vllm_config.model_config.seed)

    def is_argmax_invariant(self) -> bool:
        """Called before the temperature, and for greedy requests too."""
        return False

    def new_req_logits_processor(
        self, params: SamplingParams
    ) -> Callable[[list[int], torch.Tensor], torch.Tensor] | None:
        orders = (params.extra_args or {}).get(KEY)
        if orders is None:
            return None
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in orders.items()
        }
        return Decoder(Decoding(**values), params.temperature, self._random.random)
