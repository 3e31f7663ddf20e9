"""What an objective sees of some supervised tokens, and what it gives back. Suffixes name the axes:
N tokens, V vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

Need = Literal["ref_logits", "teacher_logits", "old_logprobs", "advantages", "expert_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A chunk of supervised tokens. An objective is a sum over tokens, so it may be computed chunk
    by chunk; what belongs to a whole rollout, an advantage, stands at each of its tokens."""

    logits_NV: Tensor
    """float32, with gradient."""
    targets_N: Tensor
    advantages_N: Tensor | None = None
    old_logprobs_N: Tensor | None = None
    """Of the policy that wrote the tokens."""
    ref_logits_NV: Tensor | None = None
    """Of a frozen policy on the same text."""
    teacher_logits_NV: Tensor | None = None
    """Of a policy that may have seen a richer prompt, at the same response tokens."""
    is_expert_N: Tensor | None = None
    """Whether somebody else wrote the token."""

    @property
    def logprobs_N(self) -> Tensor:
        return -F.cross_entropy(self.logits_NV, self.targets_N, reduction="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand of the loss: ``coefficient * sum(losses) / count``, where the count, of all ranks
    and micro-batches, is the learner's business and never a local mean."""

    name: str
    losses_N: Tensor
    coefficient: float = 1.0
    counted_N: Tensor | None = None
    """Tokens of this term; the others have a loss of 0. None: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``terms`` is a pure function of tensors and settings; the rest says what it asks for."""

    terms: Callable[[View, Any], list[Term]]
    settings: type[Any]
    """A frozen pydantic section with its numbers and their documentation."""
    needs: frozenset[Need] = frozenset()
    on_policy: bool = True
    """Rollouts must be samples of the policy itself: temperature 1, nothing cut off."""
