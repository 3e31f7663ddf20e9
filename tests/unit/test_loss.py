import pytest

from learner.loss import Totals, denominator, is_finite, learning_rate


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [("global_tokens", 0.625), ("batch_max_len", 5 / 12), ("constant", 0.3125)],
)
def test_aggregation_gives_the_golden_numbers(normalizer, expected):
    # Responses of 2 and 6 tokens with a loss of 1 and .5 per token; length budget 8.
    totals = Totals(num_tokens=8, num_rollouts=2, max_tokens=6)

    loss = (2 * 1.0 + 6 * 0.5) / denominator(normalizer, totals, length_budget=8)

    assert loss == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("normalizer", ["global_tokens", "batch_max_len", "constant"])
def test_nothing_to_learn_from_is_a_denominator_of_zero(normalizer):
    assert denominator(normalizer, Totals(num_tokens=0, num_rollouts=0, max_tokens=0), 8) == 0


def test_the_rate_rises_over_the_warm_up_and_stays():
    rates = [learning_rate(6.0, 3, applied) for applied in range(5)]

    assert rates == [2.0, 4.0, 6.0, 6.0, 6.0]
    assert learning_rate(6.0, 0, 0) == 6.0


@pytest.mark.row(22)
def test_one_value_that_is_not_finite_is_enough():
    assert is_finite(1.0, 0.0)
    assert not is_finite(1.0, float("nan"))
    assert not is_finite(float("inf"), 1.0)
