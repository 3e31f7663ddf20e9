"""What an objective sees of some supervised tokens, and what it gives back. Suffixes name the axes:
N tokens, V vocabulary, K samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from learner.objectives.advantages import Group

Need = Literal[
    "ref_logits", "teacher_logits", "old_logprobs", "advantages", "expert_batch", "uniforms"
]

Tokens = Literal["all", "own", "expert"]


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """What is known of some supervised tokens before any model looks at them. What belongs to a
    whole rollout, an advantage, stands at each of its tokens."""

    targets_N: Tensor
    weights_N: Tensor | None = None
    """Finite and >= 0. Exactly 0 takes the token out of the sum and out of the count; any other
    value changes the sum only. None: all 1."""
    advantages_N: Tensor | None = None
    old_logprobs_N: Tensor | None = None
    """Of the policy that wrote the tokens; nan where nobody knows."""
    is_expert_N: Tensor | None = None
    """Whether somebody else wrote the token."""
    uniforms_NK: Tensor | None = None
    """Random numbers in [0, 1), float64, drawn before the step: however it is cut into chunks, the
    same samples are drawn."""

    def __len__(self) -> int:
        return len(self.targets_N)

    def fields(self) -> dict[str, Tensor]:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def only(self, where_N: Tensor | slice) -> Self:
        return type(self)(**{name: tensor[where_N] for name, tensor in self.fields().items()})

    def to(self, device: torch.device) -> Self:
        return type(self)(**{name: tensor.to(device) for name, tensor in self.fields().items()})

    def counted(self) -> Self:
        """Without the tokens of weight 0, so that nothing that stands at them can matter."""
        if self.weights_N is None:
            return self
        if not bool((self.weights_N.isfinite() & (self.weights_N >= 0)).all()):
            raise ValueError("token weights must be finite and at least 0")
        where_N = self.weights_N > 0
        return self if bool(where_N.all()) else self.only(where_N)

    def count(self, tokens: Tokens) -> int:
        """How many there are of a kind, those of weight 0 aside."""
        if tokens == "all":
            return len(self)
        num_experts = 0 if self.is_expert_N is None else int(self.is_expert_N.sum())
        return num_experts if tokens == "expert" else len(self) - num_experts


def joined(parts: Sequence[Supervised]) -> Supervised:
    """One behind the other; all know the same."""
    if not parts:
        return Supervised(targets_N=torch.zeros(0, dtype=torch.long))
    each = [part.fields() for part in parts]
    return Supervised(**{name: torch.cat([tensors[name] for tensors in each]) for name in each[0]})


@dataclass(frozen=True, kw_only=True)
class View(Supervised):
    """A chunk of supervised tokens as the models see them. An objective is a sum over tokens, so it
    may be computed chunk by chunk."""

    logits_NV: Tensor
    """float32, with gradient."""
    ref_logits_NV: Tensor | None = None
    """Of a frozen policy on the same text."""
    teacher_logits_NV: Tensor | None = None
    """Of a policy that may have seen a richer prompt, at the same response tokens."""

    @cached_property
    def logprobs_N(self) -> Tensor:
        return -F.cross_entropy(self.logits_NV, self.targets_N, reduction="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand of the loss: ``coefficient * sum(losses) / count``, where the count, of all ranks
    and micro-batches, is the learner's business and never a local mean."""

    name: str
    tokens: View
    """The tokens that this term counts: the view that was given, or a part of it."""
    losses_N: Tensor
    coefficient: float = 1.0
    over: Tokens = "all"
    """Which tokens of the step they are: their number is what the sum is divided by."""

    @property
    def total(self) -> Tensor:
        weights_N = self.tokens.weights_N
        return (self.losses_N if weights_N is None else weights_N * self.losses_N).sum()

    @property
    def count(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``terms`` is a pure function of tensors and settings; the rest says what it asks for. Call
    the objective itself: ``terms`` never sees a token of weight 0."""

    terms: Callable[[View, Any], list[Term]]
    settings: type[Any]
    """A frozen pydantic section with its numbers and their documentation."""
    needs: frozenset[Need] = frozenset()
    on_policy: bool = True
    """Rollouts must be samples of the policy itself: temperature 1, nothing cut off. Not so where
    the loss divides by the probability they were drawn with, or never asks who wrote them."""
    aggregation: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    """How the method is published: over tokens, over tokens that ``weights.sequence_mean`` weights,
    or over a constant number of tokens per rollout."""
    advantages: Callable[[Group, Any], list[float]] | None = None
    """From the rewards of a group, with these settings. None: it asks for none."""
    at_step: Callable[[Any, int], Any] | None = None
    """The settings as of an optimizer step. None: they stay."""
    uniforms: Callable[[Any], int] | None = None
    """How many random numbers it wants at each token, with these settings. None: none."""

    def __call__(self, view: View, settings: Any) -> list[Term]:
        return self.terms(view.counted(), settings)
