"""What is computed of whole answers without a tensor: token weights, choices."""

import pytest

from verifiers import selection, token_weights


def test_fait_weights_what_the_most_similar_rejected_answer_says_otherwise():
    accepted = [1, 2, 3, 4, 5, 6]
    far, near = [6, 5, 4, 3, 2, 1], [1, 2, 9, 4, 6]

    assert token_weights.fait(accepted, [far, near], extra=0.5) == [1, 1, 1.5, 1, 1.5, 1]
    assert token_weights.fait(accepted, [near, accepted], extra=0.5) == [1.0] * 6
    assert token_weights.fait(accepted, []) == [1.0] * 6
    assert token_weights.fait([], [near]) == []


def test_q_tuning_sorts_answers_by_error_and_uncertainty():
    table = {
        (2.0, 2.0): "noise",
        (2.0, 1.0): "misconception",
        (1.0, 1.0): "redundant",
        (1.0, 2.0): "calibration",
    }
    for (nll, entropy), where in table.items():
        assert token_weights.quadrant(nll, entropy, max_nll=1.0, max_entropy=1.0) == where


def test_q_tuning_drops_tokens_of_low_smoothed_nll_from_misconceptions_only():
    # Smoothed: 2.5, 2.5, 1.25, .5, 1.25. The second is carried by its neighbour, the last not.
    nlls = [5.0, 0.0, 0.0, 0.0, 2.5]

    assert token_weights.q_tuning(nlls, "misconception", keep_share=0.4) == [1, 1, 0, 0, 0]
    assert token_weights.q_tuning(nlls, "misconception", keep_share=0.4, neighbours=0) == [
        1,
        0,
        0,
        0,
        1,
    ]
    assert token_weights.q_tuning(nlls, "misconception", keep_share=0.41) == [1, 1, 0, 0, 1]
    assert token_weights.q_tuning(nlls, "calibration") == [1.0] * 5
    assert (
        token_weights.q_tuning(nlls, "noise")
        == token_weights.q_tuning(nlls, "redundant")
        == [0.0] * 5
    )
    assert token_weights.q_tuning([3.0], "misconception") == [1.0]
    assert token_weights.q_tuning([], "misconception") == []


def test_grape_takes_the_likeliest_per_token_and_not_the_shortest():
    long, short = [-0.1] * 40, [-1.0]

    assert selection.grape([short, long]) == 1
    assert selection.grape([short, short]) == 0
    assert selection.grape([[], short]) == 1
    assert selection.grape([]) is None


@pytest.mark.parametrize(
    ("own", "paraphrase", "source"),
    [
        (True, True, "self"),
        (True, False, "self"),
        (False, True, "paraphrase"),
        (False, False, "gold"),
    ],
)
def test_s3ft_takes_the_first_that_holds(own, paraphrase, source):
    assert selection.s3ft(own_is_correct=own, paraphrase_is_correct=paraphrase) == source
