"""What is known of every rollout's tokens before any model looks at them: weights, advantages, what
the engine said. It depends on the whole step and not on how the step is cut into packs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
import xxhash
from torch import Tensor

from learner.loss import Normalizer, Totals
from learner.objectives.advantages import Group, Level
from learner.objectives.base import Supervised, Tokens
from learner.objectives.bind import Bound
from learner.objectives.weights import sequence_mean
from verifiers.types import Rollout


def supervise(
    rollouts: Sequence[Rollout], objective: Bound, normalizer: Normalizer, draw: str
) -> list[Supervised]:
    """One for each rollout. ``draw`` names the step: what is random is drawn from it."""
    needs = objective.objective.needs
    for rollout in rollouts:
        _require_aligned(rollout, needs_logprobs="old_logprobs" in needs)
    weights = _weights(rollouts, normalizer)
    advantages = _advantages(rollouts, objective) if "advantages" in needs else None
    has_experts = "expert_batch" in needs or any(rollout.is_expert for rollout in rollouts)
    is_drawn = any(rollout.logprobs for rollout in rollouts)
    return [
        Supervised(
            targets_N=torch.tensor(rollout.response_ids, dtype=torch.long),
            weights_N=None if weights is None else weights[index],
            advantages_N=_constant(rollout, advantages[index]) if advantages else None,
            old_logprobs_N=_old_logprobs(rollout) if is_drawn else None,
            is_expert_N=_constant(rollout, rollout.is_expert) if has_experts else None,
            uniforms_NK=_uniforms(rollout, objective, draw),
        )
        for index, rollout in enumerate(rollouts)
    ]


def count(tokens: Iterable[Supervised], kind: Tokens) -> Totals:
    lengths = [supervised.counted().count(kind) for supervised in tokens]
    return Totals(
        num_tokens=sum(lengths),
        num_rollouts=sum(length > 0 for length in lengths),
        max_tokens=max(lengths, default=0),
    )


def _require_aligned(rollout: Rollout, *, needs_logprobs: bool) -> None:
    """One value too few would shift all that follow, and nothing else would notice."""
    length = len(rollout.response_ids)
    for what, values in (("log-probabilities", rollout.logprobs), ("weights", rollout.weights)):
        if len(values) not in (0, length):
            raise ValueError(f"rollout {rollout.id}: {len(values)} {what} for {length} tokens")
    if needs_logprobs and not (rollout.logprobs or rollout.is_expert):
        raise ValueError(f"rollout {rollout.id}: nobody knows how likely its tokens were")


def _constant(rollout: Rollout, value: float | bool) -> Tensor:
    return torch.full((len(rollout.response_ids),), value)


def _weights(rollouts: Sequence[Rollout], normalizer: Normalizer) -> list[Tensor] | None:
    """Those that came with the rollouts and their tokens, and those that make a mean over
    rollouts."""
    is_mean = normalizer == "sequence_mean"
    if not is_mean and not any(rollout.weights or rollout.weight != 1 for rollout in rollouts):
        return None
    weights = [
        torch.tensor(rollout.weights) * rollout.weight
        if rollout.weights
        else _constant(rollout, rollout.weight)
        for rollout in rollouts
    ]
    if is_mean:
        lengths = [int((weights_N > 0).sum()) for weights_N in weights]
        factors = iter(sequence_mean([length for length in lengths if length]))
        weights = [w * next(factors) if n else w for w, n in zip(weights, lengths, strict=True)]
    return weights


def _advantages(rollouts: Sequence[Rollout], objective: Bound) -> list[float]:
    """Of each rollout within its group. An expert's is 0: the policy did not draw it."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, rollout in enumerate(rollouts):
        if not rollout.is_expert:
            groups[rollout.id.rpartition(".")[0]].append(index)
    advantages = [0.0] * len(rollouts)
    assert objective.objective.advantages is not None, objective.name
    for members in groups.values():
        group = Group(
            levels=_levels([rollouts[index].level for index in members]),
            rewards=tuple(rollouts[index].reward for index in members),
            lengths=tuple(len(rollouts[index].response_ids) for index in members),
        )
        values = objective.objective.advantages(group, objective.settings)
        for index, value in zip(members, values, strict=True):
            advantages[index] = value
    return advantages


def _levels(levels: Sequence[Level | None]) -> tuple[Level, ...]:
    """Of all members of a group, or nothing."""
    known: list[Level] = [level for level in levels if level is not None]
    return tuple(known) if len(known) == len(levels) else ()


def _old_logprobs(rollout: Rollout) -> Tensor:
    return torch.tensor(rollout.logprobs) if rollout.logprobs else _constant(rollout, float("nan"))


def _uniforms(rollout: Rollout, objective: Bound, draw: str) -> Tensor | None:
    if objective.objective.uniforms is None:
        return None
    seed = xxhash.xxh3_64_intdigest(f"{draw} {rollout.id}".encode()) >> 1
    shape = (len(rollout.response_ids), objective.objective.uniforms(objective.settings))
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
