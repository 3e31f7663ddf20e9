"""The frozen policy that some objectives compare with: another model, the starting weights, or a
copy of the policy that is refreshed now and then. It may see more than the policy does.

It is whole on every rank, and is asked for one pack at a time, right before the policy is.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from configs.errors import UserError
from configs.schema import RunConfig
from learner import attention
from learner.head import Frozen
from learner.objectives.base import Objective
from learner.pack import Pack
from learner.policy import load_model
from learner.provided import FROZEN
from learner.publish import buckets

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine


class Teacher:
    def __init__(
        self, model_dir: str, config: RunConfig, objective: Objective, policy: PreTrainedModel
    ) -> None:
        self._settings = config.learner.teacher
        [need] = set(FROZEN) & objective.needs
        self._field = FROZEN[need]
        self._model: Any = load_model(model_dir, config, is_policy=self._settings.model is None)
        _require_same_words(self._model, policy, model_dir)
        # A moving average needs more digits than a forward pass.
        moves = self._settings.refresh_every is not None and self._settings.refresh_share < 1
        dtype = torch.float32 if moves else getattr(torch, config.learner.dtype)
        self._compute_dtype = getattr(torch, config.learner.dtype)
        self._model.to(dtype).eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Where the policy is, unless the configuration keeps it in host memory."""
        self._device = device
        self._place = torch.device("cpu") if self._settings.device == "cpu" else device
        self._model.to(self._place)

    @torch.no_grad()
    def states(self, pack: Pack) -> Frozen:
        """What it says of a pack's supervised tokens."""
        autocast = torch.autocast(
            self._place.type, self._compute_dtype, enabled=self._compute_dtype != torch.float32
        )
        with autocast:
            hidden_TH = attention.hidden_states(self._model, pack.to(self._place))
        head: Any = self._model.get_output_embeddings()
        return Frozen(
            name=self._field,
            hidden_NH=hidden_TH[pack.where_N].to(self._device, self._compute_dtype),
            weight_VH=head.weight.to(self._device, self._compute_dtype),
        )

    def is_due(self, step: int) -> bool:
        """Before optimizer step ``step``, counted from 0."""
        every = self._settings.refresh_every
        return every is not None and step > 0 and step % every == 0

    @torch.no_grad()
    def refresh(self, engine: "Engine", policy: PreTrainedModel) -> None:
        """Move by ``refresh_share`` to the policy's weights; 1 is a copy. Collective."""
        ours = dict(self._model.named_parameters())
        for bucket in buckets(policy):
            with engine.gathered([part for weight in bucket for part in weight.parts]):
                for weight in bucket:
                    mine = ours[weight.name]
                    theirs = weight.merged([part.detach() for part in weight.parts])
                    mine.lerp_(theirs.to(mine.device, mine.dtype), self._settings.refresh_share)

    def copy(self) -> dict[str, Tensor]:
        """What a checkpoint must keep of it: a frozen one is where it came from."""
        if self._settings.refresh_every is None:
            return {}
        weights = self._model.named_parameters()
        return {n: w.detach().to("cpu", copy=True).contiguous() for n, w in weights}

    @torch.no_grad()
    def load(self, file: Path) -> None:
        """What was kept; not asked of a frozen one."""
        if self._settings.refresh_every is not None:
            weights = load_file(file)
            for name, parameter in self._model.named_parameters():
                parameter.copy_(weights[name])


def _require_same_words(teacher: PreTrainedModel, policy: PreTrainedModel, model_dir: str) -> None:
    theirs, ours = teacher.config.vocab_size, policy.config.vocab_size
    if theirs != ours:
        raise UserError(
            f"learner.teacher.model={model_dir!r} knows {theirs} words and the policy {ours}: they "
            "cannot be compared token by token; choose a teacher of the same family"
        )
