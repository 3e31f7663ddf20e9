"""Unbiased estimates from n responses to a problem of what k of them would have done."""

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from math import comb

import numpy as np


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """How likely one of k responses, drawn from these without putting back, is right.

    ``pass_at_k(4, 1, 2) == 0.5``: 1 - C(n - c, k) / C(n, k).
    """
    assert 0 < k <= num_samples, (k, num_samples)
    return 1.0 - comb(num_samples - num_right, k) / comb(num_samples, k)


def maj_at_k(right: Sequence[bool], answers: Sequence[str | None], k: int) -> float:
    """How likely the answer that most of k responses give, drawn from these without putting back,
    is right. Of answers that tie each wins equally often.

    All right responses vote together, however they spell it; None does not vote, and k of those
    are never right. Exact: what every k of them would elect is counted, not drawn.
    """
    assert 0 < k <= len(right) == len(answers), k
    num_right = sum(right)
    wrong = [answer for answer, is_right in zip(answers, right, strict=True) if not is_right]
    rivals = list(Counter(answer for answer in wrong if answer is not None).values())
    silent = sum(answer is None for answer in wrong)
    won = sum(
        comb(num_right, votes) * _wins_against(rivals, silent, votes, k - votes)
        for votes in range(1, min(num_right, k) + 1)
    )
    return won / comb(len(right), k)


def _wins_against(rivals: Sequence[int], silent: int, votes: int, left: int) -> float:
    """Ways to draw ``left`` of the others so that none has more than ``votes``, each counted with
    its share of the tie."""
    ways = reduce(lambda known, rival: _with_rival(known, rival, votes, left), rivals, {(0, 0): 1})
    return sum(
        count * comb(silent, left - drawn) / (1 + ties)
        for (drawn, ties), count in ways.items()
        if 0 <= left - drawn <= silent
    )


def _with_rival(
    ways: dict[tuple[int, int], int], rival: int, votes: int, left: int
) -> dict[tuple[int, int], int]:
    """(drawn so far, rivals that tie) -> number of ways, with one more rival's responses."""
    after: Counter[tuple[int, int]] = Counter()
    for (drawn, ties), count in ways.items():
        for more in range(min(rival, votes, left - drawn) + 1):
            after[drawn + more, ties + (more == votes)] += count * comb(rival, more)
    return after


def powers_up_to(num_samples: int) -> list[int]:
    """The k that are worth a row: ``powers_up_to(6) == [1, 2, 4, 6]``."""
    powers = [2**e for e in range(num_samples.bit_length()) if 2**e <= num_samples]
    return powers if powers[-1] == num_samples else [*powers, num_samples]


def right_within(
    right: Sequence[bool], num_tokens: Sequence[int], budgets: Sequence[int]
) -> np.ndarray:
    """For each budget the share of responses that are right and no longer than it. With a cap at
    that budget the others would have been cut off, so one set of samples answers for all."""
    good = np.sort(np.asarray(num_tokens)[np.asarray(right, dtype=bool)])
    return np.searchsorted(good, np.asarray(budgets), side="right") / len(right)


def budget_grid(lengths: Sequence[int], max_tokens: int, points: int = 24) -> list[int]:
    """Budgets worth asking about: spaced evenly by ratio, from the shortest response to the cap."""
    low = max(1, min(lengths))
    grid = np.geomspace(low, max(low, max_tokens), points)
    return sorted({round(budget) for budget in grid.tolist()})
