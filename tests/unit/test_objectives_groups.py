"""What is computed of whole answers: advantages of a group, weights of a step."""

import math

import pytest
import torch

from learner.objectives import advantages, weights
from learner.objectives.advantages import (
    DapoAdvantage,
    Group,
    GrpoAdvantage,
    Level,
    TldrAdvantage,
)

LEVELS: tuple[Level, ...] = ("short", "moderate", "long")


def group(*rewards: float, lengths: tuple[int, ...] = (), level: Level = "short") -> Group:
    lengths = lengths or (100,) * len(rewards)
    return Group(rewards=rewards, lengths=lengths, levels=(level,) * len(rewards))


@pytest.mark.parametrize(
    ("std", "right", "wrong"),
    [("unbiased", 1.5, -0.5), ("biased", math.sqrt(3), -1 / math.sqrt(3))],
)
def test_grpo_says_which_standard_deviation(std, right, wrong):
    found = advantages.grpo(group(1, 0, 0, 0), GrpoAdvantage(std=std))

    assert found == pytest.approx([right, wrong, wrong, wrong], rel=1e-5)


def test_grpo_adds_eps_to_the_standard_deviation():
    found = advantages.grpo(group(1, 0), GrpoAdvantage(std="biased", eps=0.5))

    assert found == [0.5, -0.5]


def test_dr_grpo_subtracts_the_mean_and_nothing_else():
    assert advantages.dr_grpo(group(1, 0, 0, 0)) == [0.75, -0.25, -0.25, -0.25]


@pytest.mark.parametrize("same", [(1.0,), (0.0, 0.0), (0.1, 0.1, 0.1)])
def test_equal_rewards_teach_exactly_nothing(same):
    for found in (
        advantages.grpo(group(*same), GrpoAdvantage()),
        advantages.dr_grpo(group(*same)),
        advantages.dapo(group(*same), DapoAdvantage()),
        advantages.tldr(group(*same), TldrAdvantage()),
    ):
        assert found == [0.0] * len(same)


@pytest.mark.parametrize(
    ("length", "penalty"),
    [(1, 0), (16384, 0), (18432, -0.5), (20480, -1), (22000, -1.37109375)],
)
def test_soft_overlong_has_the_golden_numbers_and_no_bound(length, penalty):
    assert advantages.soft_overlong(length, DapoAdvantage()) == penalty
    assert advantages.soft_overlong(length, DapoAdvantage(overlong_factor=0.5)) == penalty / 2


def test_dapo_tells_an_overlong_right_answer_from_a_right_one():
    lengths = (18432, 100)

    found = advantages.dapo(group(1, 1, lengths=lengths), DapoAdvantage(std="biased", eps=1e-12))

    assert found == pytest.approx([-1, 1])


@pytest.mark.parametrize("level", LEVELS)
def test_right_and_long_beats_wrong_and_short_at_every_level(level):
    mixed = group(1, 0, 1, lengths=(999_999, 1, 1), level=level)

    right_long, wrong_short, right_short = advantages.tldr(mixed, TldrAdvantage())

    assert right_short > right_long > wrong_short


def test_an_answer_is_worth_more_where_a_longer_one_was_asked_for():
    settings = TldrAdvantage(max_length=1000)

    scores = [advantages.tldr_reward(1.0, 500, level, settings) for level in LEVELS]

    assert scores == pytest.approx([0.7, 0.85, 0.95])
    assert {advantages.tldr_reward(0.0, 500, level, settings) for level in LEVELS} == {0.0}


def test_weights_turn_the_mean_over_tokens_into_the_mean_over_rollouts():
    # Responses of 2 and 6 tokens with a loss of 1 and .5 per token.
    first, second = weights.sequence_mean([2, 6])

    assert (2 * first * 1.0 + 6 * second * 0.5) / 8 == pytest.approx(0.75)
    assert weights.sequence_mean([]) == []
    with pytest.raises(ValueError):
        weights.sequence_mean([3, 0])


def test_advantages_of_a_group_are_those_of_torch():
    rewards = torch.tensor([0.3, 1.0, 0.7, 0.0], dtype=torch.float64)

    found = advantages.grpo(group(*rewards.tolist()), GrpoAdvantage(eps=1e-4))

    wanted = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert found == pytest.approx(wanted.tolist(), rel=1e-12)
