"""PPO's clipped surrogate and the methods that are made of it.

| objective | advantage of a rollout | bounds of the ratio | mean over |
|---|---|---|---|
| RAFT++ | 1: only accepted answers are trained | 1 -+ .2 | tokens |
| GRPO | (r - mean) / std of its group | 1 -+ .2 | rollouts, of means over tokens |
| TLDR | the same of r minus a penalty by level | 1 -+ .2 | rollouts, of means over tokens |
| Dr.GRPO | r - mean of its group | 1 -+ .2 | tokens, divided by a constant length |
| DAPO | GRPO's, of r plus soft overlong | 1 - .2, 1 + .28 | tokens |
"""

import torch
from pydantic import Field
from torch import Tensor

from configs.schema import Section
from learner.objectives import advantages
from learner.objectives.base import Need, Objective, Term, View
from learner.objectives.entropy import EntropySettings, with_entropy

MAX_LOG_RATIO = 20.0
"""A ratio of 5e8 is as absurd as any larger one, and inf * 0 would be nan in the backward pass."""


class ClipBounds(Section):
    clip_low: float = Field(default=0.2, ge=0, le=1)
    """The ratio counts down to 1 - clip_low. PPO's .2."""
    clip_high: float = Field(default=0.2, ge=0)
    """The ratio counts up to 1 + clip_high. PPO's .2."""


class ClipSettings(ClipBounds, EntropySettings):
    pass


class RaftSettings(ClipSettings):
    """RAFT++'s own bounds are not known to us; these are PPO's."""


class GrpoSettings(ClipSettings, advantages.GrpoAdvantage):
    pass


class DrGrpoSettings(ClipSettings):
    pass


class DapoSettings(ClipSettings, advantages.DapoAdvantage):
    clip_high: float = Field(default=0.28, ge=0)
    """The ratio counts up to 1 + clip_high. DAPO's .28 lets unlikely words grow."""


class TldrSettings(ClipSettings, advantages.TldrAdvantage):
    pass


def clipped(view: View, advantages_N: Tensor, settings: ClipBounds) -> Tensor:
    """-min(ratio A, clip(ratio, 1 - low, 1 + high) A), ratio = pi(y) / pi_old(y)."""
    assert view.old_logprobs_N is not None
    log_ratio_N = view.logprobs_N - view.old_logprobs_N
    ratio_N = log_ratio_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    bounded_N = ratio_N.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    return -torch.minimum(ratio_N * advantages_N, bounded_N * advantages_N)


def raft(view: View, settings: RaftSettings) -> list[Term]:
    """RAFT++: the clipped surrogate with A = 1, arXiv 2504.11343. Every token is one of an accepted
    answer; at ratio 1 the gradient is that of cross-entropy."""
    losses_N = clipped(view, torch.ones_like(view.logits_NV[:, 0]), settings)
    return with_entropy(Term(name="raft", tokens=view, losses_N=losses_N), settings)


def surrogate(view: View, settings: ClipSettings) -> list[Term]:
    """The clipped surrogate with the advantages that are given."""
    assert view.advantages_N is not None
    losses_N = clipped(view, view.advantages_N, settings)
    return with_entropy(Term(name="policy", tokens=view, losses_N=losses_N), settings)


_GIVEN: frozenset[Need] = frozenset({"advantages", "old_logprobs"})

RAFT = Objective(
    terms=raft, settings=RaftSettings, needs=frozenset({"old_logprobs"}), on_policy=False
)
GRPO = Objective(
    terms=surrogate,
    settings=GrpoSettings,
    needs=_GIVEN,
    on_policy=False,
    aggregation="sequence_mean",
    advantages=advantages.grpo,
)
TLDR = Objective(
    terms=surrogate,
    settings=TldrSettings,
    needs=_GIVEN,
    on_policy=False,
    aggregation="sequence_mean",
    advantages=advantages.tldr,
)
DR_GRPO = Objective(
    terms=surrogate,
    settings=DrGrpoSettings,
    needs=_GIVEN,
    on_policy=False,
    aggregation="constant",
    advantages=advantages.dr_grpo,
)
DAPO = Objective(
    terms=surrogate,
    settings=DapoSettings,
    needs=_GIVEN,
    on_policy=False,
    advantages=advantages.dapo,
)
