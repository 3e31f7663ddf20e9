"""How much each token of an answer counts: pure functions of what is known of the answers.

A weight of exactly 0 leaves the token out; any other scales its loss.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from configs.errors import UserError
from configs.schema import FilterConfig
from verifiers import plugins
from verifiers.filters import is_judged
from verifiers.types import Decision, Group, Verdict

Weights = tuple[tuple[float, ...], ...]
"""For each completion of a group those of its tokens; empty for all 1."""

Weigher = Callable[[Group, Sequence[Verdict], Sequence[Decision]], Weights]

Quadrant = Literal["noise", "misconception", "redundant", "calibration"]


def bind_token_weights(config: FilterConfig) -> Weigher | None:
    """What ``filter.token_weights`` names, held to its promises. None: nothing is weighted.

    Raises UserError, one line."""
    name = config.token_weights
    if name == "none":
        return None
    if name == "fait":
        return partial(fait_weights, extra=config.fait_extra)
    ours = {"none": "", "fait": ""}  # for the hint: both are answered above
    own = plugins.resolve("filter.token_weights", name, ours)
    if not callable(own):
        raise UserError(f"filter.token_weights={name!r} is no function")
    return partial(_own_weights, name, own)


def fait_weights(
    group: Group, verdicts: Sequence[Verdict], decisions: Sequence[Decision], extra: float
) -> Weights:
    """An accepted one's come from the most similar one of the group that is not right. One that is
    right and too long shows no fault.

    Takes up to seconds for long responses."""
    wrong = [
        completion.token_ids
        for completion, verdict in zip(group.completions, verdicts, strict=True)
        if is_judged(completion, verdict) and verdict.status != "correct"
    ]
    return tuple(
        tuple(fait(completion.token_ids, wrong, extra)) if wrong and decision.accepted else ()
        for completion, decision in zip(group.completions, decisions, strict=True)
    )


def _own_weights(
    name: str,
    own: Callable[..., Any],
    group: Group,
    verdicts: Sequence[Verdict],
    decisions: Sequence[Decision],
) -> Weights:
    """One value too few would shift all that follow, and nothing else would notice."""
    with plugins.blamed(f"filter.token_weights {name!r}"):
        weights = tuple(tuple(map(float, row)) for row in own(group, verdicts, decisions))
        if len(weights) != len(group.completions):
            raise ValueError(f"{len(weights)} rows for {len(group.completions)} completions")
        for sample, (row, completion) in enumerate(zip(weights, group.completions, strict=True)):
            length = len(completion.token_ids)
            if len(row) not in (0, length):
                raise ValueError(f"{len(row)} weights for the {length} tokens of sample {sample}")
            if not all(math.isfinite(weight) and weight >= 0 for weight in row):
                raise ValueError(f"a weight of sample {sample} is below 0 or not finite")
        return weights


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
