"""Token weights, and which answer to learn from: pure functions of what is known of the answers.

A weight of exactly 0 removes the token; see ``View.weights_N``.
"""

import difflib
import math
from collections.abc import Sequence
from typing import Literal

Quadrant = Literal["noise", "misconception", "redundant", "calibration"]
Source = Literal["self", "paraphrase", "gold"]


def sequence_mean(lengths: Sequence[int]) -> list[float]:
    """One weight for all tokens of each rollout of a step: mean length / |o_i|. Then the mean over
    tokens is the mean over rollouts of the mean over their tokens."""
    if min(lengths, default=1) < 1:
        raise ValueError("a rollout without supervised tokens has no mean")
    return [sum(lengths) / len(lengths) / length for length in lengths]


def fait(
    accepted_ids: Sequence[int], rejected: Sequence[Sequence[int]], extra: float = 1.0
) -> list[float]:
    """1 + extra at the tokens of an accepted answer that a diff against the most similar rejected
    answer of its group does not find there, else 1 (FAIT, arXiv 2503.16913).

    Ours: that the group gives the wrong variant, the diff of tokens alone, and extra (lambda).
    """
    if not rejected:
        return [1.0] * len(accepted_ids)
    diffs = [difflib.SequenceMatcher(None, ids, accepted_ids, autojunk=False) for ids in rejected]
    nearest = max(diffs, key=lambda diff: diff.ratio())
    weights = [1.0 + extra] * len(accepted_ids)
    for block in nearest.get_matching_blocks():
        weights[block.b : block.b + block.size] = [1.0] * block.size
    return weights


def quadrant(nll: float, entropy: float, max_nll: float, max_entropy: float) -> Quadrant:
    """Where the means over an answer's tokens put it (Q-Tuning, arXiv 2509.23873). To keep:
    misconception, sure and wrong, and calibration, unsure and right. Thresholds are the caller's:
    the paper's are not known to us."""
    if nll > max_nll:
        return "noise" if entropy > max_entropy else "misconception"
    return "calibration" if entropy > max_entropy else "redundant"


def q_tuning(
    nlls: Sequence[float], where: Quadrant, keep_share: float = 0.5, neighbours: float = 0.5
) -> list[float]:
    """0 or 1 per token: calibration keeps all, misconception the ceil(keep_share n) tokens of the
    highest smoothed NLL, (1 - neighbours) nll_t + neighbours mean(nll_(t-1), nll_(t+1)), the other
    two nothing. Both shares are ours."""
    if where != "misconception":
        return [float(where == "calibration")] * len(nlls)
    smoothed = [_smooth(nlls, at, neighbours) for at in range(len(nlls))]
    best = sorted(range(len(nlls)), key=lambda at: -smoothed[at])
    kept = set(best[: math.ceil(keep_share * len(nlls))])
    return [float(at in kept) for at in range(len(nlls))]


def _smooth(nlls: Sequence[float], at: int, neighbours: float) -> float:
    around = [*nlls[max(at - 1, 0) : at], *nlls[at + 1 : at + 2]]
    if not around:
        return nlls[at]
    return (1 - neighbours) * nlls[at] + neighbours * sum(around) / len(around)


def grape(logprobs: Sequence[Sequence[float]]) -> int | None:
    """Which candidate the base model finds likeliest per token, argmax (1/|y|) log p(y | x), the
    first of equals (GRAPE, arXiv 2502.04194). The plain sum would take the shortest. None of
    none."""
    means = {at: sum(tokens) / len(tokens) for at, tokens in enumerate(logprobs) if tokens}
    return max(means, key=means.__getitem__, default=None)


def s3ft(*, own_is_correct: bool, paraphrase_is_correct: bool) -> Source:
    """Which answer to a problem to learn: the first that a judge accepts of the model's own and its
    paraphrase of the gold one, else the gold one (S3FT, arXiv 2502.08130)."""
    if own_is_correct:
        return "self"
    return "paraphrase" if paraphrase_is_correct else "gold"
