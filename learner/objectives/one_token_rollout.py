"""One-Token Rollout, arXiv 2509.26313: at every token of given data, a policy gradient over words
drawn from the policy; no text is generated. Suffix K: samples."""

import torch
from pydantic import Field
from torch import Tensor

from configs.schema import Section
from learner.objectives.base import Objective, Term, View
from learner.objectives.distribution import log_probs


class OneTokenRolloutSettings(Section):
    samples: int = Field(default=32, gt=0)
    """K, words drawn at each token. Ours: the paper's number is not known to us."""
    wrong_reward: float = Field(default=-0.1, lt=1)
    """beta, the reward of a word that is not the data's, whose reward is 1. Ours, likewise."""


def one_token_rollout(view: View, settings: OneTokenRolloutSettings) -> list[Term]:
    """-(1/K) sum_k sg[r_k] log p(a_k), a_k ~ p, r_k = 1 if a_k = y, else beta."""
    assert view.uniforms_NK is not None
    logp_NV = log_probs(view.logits_NV)
    words_NK = _sample(logp_NV.detach(), view.uniforms_NK)
    is_gold_NK = words_NK == view.targets_N[:, None]
    rewards_NK = torch.where(is_gold_NK, 1.0, settings.wrong_reward)
    losses_N = -(rewards_NK * logp_NV.gather(-1, words_NK)).mean(-1)
    return [Term(name="one_token_rollout", tokens=view, losses_N=losses_N)]


def _sample(logp_NV: Tensor, uniforms_NK: Tensor) -> Tensor:
    """Word v where p_0 + ... + p_(v-1) <= u < p_0 + ... + p_v. Sums in float64: u < 1 times the
    last one rounds to less than the last one, so a word of probability 0 is never drawn."""
    upto_NV = logp_NV.double().exp().cumsum(-1)
    return torch.searchsorted(upto_NV, uniforms_NK.double() * upto_NV[:, -1:], right=True)


ONE_TOKEN_ROLLOUT = Objective(
    terms=one_token_rollout,
    settings=OneTokenRolloutSettings,
    needs=frozenset({"uniforms"}),
    on_policy=False,
    uniforms=lambda settings: settings.samples,
)
