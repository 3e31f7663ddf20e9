"""Token weights that a whole step decides; what a group decides is ``verifiers.token_weights``."""

from collections.abc import Sequence


def sequence_mean(lengths: Sequence[int]) -> list[float]:
    """One weight for all tokens of each rollout of a step: mean length / |o_i|. Then the mean over
    tokens is the mean over rollouts of the mean over their tokens."""
    if min(lengths, default=1) < 1:
        raise ValueError("a rollout without supervised tokens has no mean")
    return [sum(lengths) / len(lengths) / length for length in lengths]
