"""Every estimator against all the ways to draw, counted."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest

from evaluation.calibration import calibrate
from evaluation.estimators import budget_grid, maj_at_k, pass_at_k, powers_up_to, right_within
from evaluation.intervals import bootstrap, bootstrap_ratio, mcnemar_p, sign_flip_p


@pytest.mark.parametrize("num_right", range(7))
@pytest.mark.parametrize("k", range(1, 7))
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(num_right: int, k: int):
    right = [i < num_right for i in range(6)]
    draws = [any(draw) for draw in itertools.combinations(right, k)]

    assert pass_at_k(6, num_right, k) == pytest.approx(sum(draws) / len(draws))


def elected(draw: list[tuple[bool, str | None]]) -> float:
    """Share of the ties that a right answer wins, by counting."""
    votes = Counter("right" if ok else answer for ok, answer in draw if ok or answer is not None)
    if not votes:
        return 0.0
    best = [name for name, count in votes.items() if count == max(votes.values())]
    return ("right" in best) / len(best)


@pytest.mark.parametrize("seed", range(30))
def test_maj_at_k_is_the_mean_over_all_draws(seed: int):
    rng = random.Random(seed)
    size = rng.randint(1, 8)
    right = [rng.random() < 0.4 for _ in range(size)]
    answers = [rng.choice(["4", "four"]) if ok else rng.choice([*"abc", None]) for ok in right]

    for k in range(1, size + 1):
        draws = itertools.combinations(zip(right, answers, strict=True), k)
        expected = np.mean([elected(list(draw)) for draw in draws])
        assert maj_at_k(right, answers, k) == pytest.approx(expected), k


def test_maj_at_1_is_the_accuracy():
    assert maj_at_k([True, False, False, True], ["1", "2", None, "1"], 1) == 0.5


def test_the_bootstrap_agrees_with_all_resamples():
    values = np.array([0.0, 0.25, 0.5, 1.0, 1.0])
    means = [np.mean(draw) for draw in itertools.product(values, repeat=5)]
    low, high = np.percentile(means, [2.5, 97.5])

    found = bootstrap(values, resamples=200_000)

    assert found == pytest.approx((low, high), abs=0.011)


def test_the_bootstrap_covers_as_often_as_it_says():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        low, high = bootstrap((rng.random(80) < 0.6).astype(float), resamples=400)
        hits += low <= 0.6 <= high

    assert 0.90 <= hits / 300 <= 0.985


def test_a_bootstrap_in_portions_is_the_same(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(1).random(50)
    whole = bootstrap(values)
    monkeypatch.setattr("evaluation.intervals.CHUNK", 501)

    assert bootstrap(values) == whole


def test_a_ratio_keeps_the_pairs():
    """Of numbers that are always twice the others, the ratio is 2 and nothing else."""
    below = np.array([1.0, 5.0, 9.0])

    assert bootstrap_ratio(2 * below, below) == pytest.approx((2, 2))


@pytest.mark.parametrize("seed", range(5))
def test_sign_flips_are_all_sign_flips(seed: int):
    differences = np.random.default_rng(seed).normal(0.5, 1, size=8).round(2)
    totals = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=8)
    ]
    expected = np.mean([total >= abs(differences.sum()) - 1e-9 for total in totals])

    assert sign_flip_p(differences) == pytest.approx(expected)
    assert sign_flip_p(differences, flips=200) == pytest.approx(expected, abs=0.15)


def test_sign_flips_of_nothing_prove_nothing():
    assert sign_flip_p(np.zeros(9)) == 1


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 3), (1, 8), (9, 0), (5, 7)])
def test_mcnemar_is_the_coin_that_was_thrown_so_often(gained: int, lost: int):
    total = gained + lost
    away = abs(gained - lost)
    sides = [abs(2 * sum(coins) - total) for coins in itertools.product((0, 1), repeat=total)]

    assert mcnemar_p(gained, lost) == pytest.approx(np.mean([side >= away for side in sides]))


def test_a_budget_counts_what_a_cap_there_would_have_left():
    rng = random.Random(3)
    lengths = [rng.randint(1, 40) for _ in range(60)]
    right = [rng.random() < 0.5 for _ in range(60)]

    found = right_within(right, lengths, range(0, 45))

    for budget, share in enumerate(found):
        kept = [ok and length <= budget for ok, length in zip(right, lengths, strict=True)]
        assert share == pytest.approx(sum(kept) / 60)


def test_budgets_reach_from_the_shortest_to_the_cap():
    grid = budget_grid([30, 75, 400], 640)

    assert (grid[0], grid[-1]) == (30, 640)
    assert grid == sorted(set(grid))
    assert budget_grid([7], 7) == [7]


@pytest.mark.parametrize(
    ("size", "powers"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_the_ks_of_a_table(size: int, powers: list[int]):
    assert powers_up_to(size) == powers


def test_calibration_by_hand():
    found = calibrate([0.95, 0.91, 0.05, 1.0], [True, False, False, True])

    # (0.05) -> 0 right, (0.95, 0.91, 1.0) -> 2 of 3 right
    assert found.ece == pytest.approx((0.05 + 3 * abs(2.86 / 3 - 2 / 3)) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.91**2 + 0.05**2 + 0) / 4)
    assert sum(b.count for b in found.bins) == 4


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_pairs_in_order(seed: int):
    rng = random.Random(seed)
    sure = [rng.randint(0, 9) / 10 for _ in range(30)]
    right = [rng.random() < s for s in sure]
    pairs = [
        (a > b) + 0.5 * (a == b)
        for a, good in zip(sure, right, strict=True) if good
        for b, bad in zip(sure, right, strict=True) if not bad
    ]  # fmt: skip

    assert calibrate(sure, right).auroc == pytest.approx(sum(pairs) / len(pairs))
    assert calibrate([0.5, 0.5], [True, True]).auroc is None
