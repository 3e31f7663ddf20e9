"""Entropy and divergences over the whole vocabulary, from logits.

A word may be masked with a logit of -inf, in every distribution that is compared or in none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def log_probs(logits_NV: Tensor) -> Tensor:
    """Log-softmax that never says -inf: 0 * -inf would be nan, forward and backward."""
    return F.log_softmax(logits_NV, dim=-1).clamp(min=torch.finfo(logits_NV.dtype).min)


def entropy(logits_NV: Tensor) -> Tensor:
    """H = -sum_v p_v log p_v."""
    logp_NV = log_probs(logits_NV)
    return -(logp_NV.exp() * logp_NV).sum(-1)


def kl_entries(logp_NV: Tensor, logq_NV: Tensor) -> Tensor:
    """p_v (log p_v - log q_v), whose sum over v is KL(p || q)."""
    return logp_NV.exp() * (logp_NV - logq_NV)


def kl(logp_NV: Tensor, logq_NV: Tensor) -> Tensor:
    return kl_entries(logp_NV, logq_NV).sum(-1)


def k3(logp_N: Tensor, logq_N: Tensor) -> Tensor:
    """An estimate of KL(p || q) from what each says of a sample of p; never negative."""
    ratio_N = (logq_N - logp_N).clamp(max=20.0)
    return ratio_N.exp() - 1 - ratio_N


def jsd(logp_NV: Tensor, logq_NV: Tensor, beta: float) -> Tensor:
    """beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q, for 0 < beta < 1."""
    logm_NV = torch.logaddexp(logp_NV + math.log(beta), logq_NV + math.log1p(-beta))
    return beta * kl(logp_NV, logm_NV) + (1 - beta) * kl(logq_NV, logm_NV)
