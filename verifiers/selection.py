"""Which answer to learn from: pure functions of what is known of the answers."""

from collections.abc import Sequence
from typing import Literal

Source = Literal["self", "paraphrase", "gold"]


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
