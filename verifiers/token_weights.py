"""How much each token of an answer counts: pure functions of what is known of the answers.

A weight of exactly 0 leaves the token out; any other scales its loss.
"""

import difflib
import math
from collections.abc import Sequence
from typing import Literal

Quadrant = Literal["noise", "misconception", "redundant", "calibration"]


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
