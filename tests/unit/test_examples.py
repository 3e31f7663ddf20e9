import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from learner.examples import count, supervise
from learner.loss import Totals
from learner.objectives.bind import Bound, bind
from verifiers.types import Rollout

SFT = bind("sft", {})


def rollout(sample: int, length: int, *, ticket: int = 0, **rest: Any) -> Rollout:
    return Rollout(
        id=f"{ticket:06d}.0.{sample}",
        prompt_ids=(1, 2),
        response_ids=(7,) * length,
        first_version=0,
        last_version=0,
        **rest,
    )


def drawn(sample: int, length: int, *, reward: float, ticket: int = 0) -> Rollout:
    return rollout(sample, length, ticket=ticket, reward=reward, logprobs=(-1.0,) * length)


def at_each_token(
    rollouts: list[Rollout], objective: Bound, field: str, normalizer: Any = "global_tokens"
) -> list[list[float]]:
    tokens = supervise(rollouts, objective, normalizer, "0 0")
    return [getattr(supervised, field).tolist() for supervised in tokens]


def test_advantages_are_relative_to_the_group_and_stand_at_each_token():
    group = [drawn(0, 2, reward=1.0), drawn(1, 1, reward=0.0), drawn(2, 1, reward=0.0)]
    other = [drawn(0, 1, ticket=1, reward=1.0), drawn(1, 2, ticket=1, reward=1.0)]

    found = at_each_token([*group, *other], bind("dr_grpo", {}), "advantages_N")

    expected = [[2 / 3, 2 / 3], [-1 / 3], [-1 / 3], [0], [0, 0]]
    assert found == [pytest.approx(values) for values in expected]


def test_another_attempt_at_a_ticket_is_another_group():
    again = replace(drawn(0, 1, reward=1.0), id="000000.1.0")

    found = at_each_token([drawn(0, 1, reward=0.0), again], bind("dr_grpo", {}), "advantages_N")

    assert found == [[0], [0]]


def test_an_expert_is_no_member_of_the_group():
    group = [drawn(0, 1, reward=1.0), drawn(1, 1, reward=0.0)]
    expert = rollout(2, 2, reward=1.0, is_expert=True)
    objective = bind("chord_grpo", {"std": "biased"})

    assert at_each_token([*group, expert], objective, "advantages_N") == [
        [pytest.approx(1, abs=1e-5)], [pytest.approx(-1, abs=1e-5)], [0, 0],
    ]  # fmt: skip
    assert at_each_token([*group, expert], objective, "is_expert_N") == [
        [False], [False], [True, True],
    ]  # fmt: skip


def test_lengths_reach_the_advantage_that_looks_at_them():
    group = [drawn(0, 2, reward=1.0), drawn(1, 4, reward=1.0)]
    objective = bind("tldr", {"max_length": 4, "level": "short", "std": "biased"})

    [short, _], [long, *_] = at_each_token(group, objective, "advantages_N")

    assert short == pytest.approx(1, abs=1e-4)
    assert long == pytest.approx(-1, abs=1e-4)


def test_a_mean_over_rollouts_weighs_tokens_by_the_length_of_theirs():
    rollouts = [rollout(0, 2), rollout(1, 6)]

    found = at_each_token(rollouts, SFT, "weights_N", "sequence_mean")

    # METHODS' toy: losses 1 and .5 per token, sequence mean .75.
    assert sum(
        w * loss for ws, loss in zip(found, (1, 0.5), strict=True) for w in ws
    ) == pytest.approx(8 * 0.75)


def test_weights_of_the_rollout_and_of_the_mean_multiply_and_0_stays_0():
    rollouts = [
        rollout(0, 3, weights=(2.0, 0.0, 1.0)),
        rollout(1, 6),
        rollout(2, 1, weights=(0.0,)),
    ]

    first, second, third = at_each_token(rollouts, SFT, "weights_N", "sequence_mean")

    assert first == [4.0, 0.0, 2.0]  # two tokens count, four on average
    assert second == [pytest.approx(4 / 6)] * 6
    assert third == [0.0]


def test_a_rollouts_weight_scales_its_losses_and_not_the_count():
    rollouts = [rollout(0, 2), rollout(1, 3, weight=4.0, weights=(0.5, 0.0, 1.0))]
    losses = [(1.0, 2.0), (3.0, 50.0, 5.0)]

    weights = at_each_token(rollouts, SFT, "weights_N")

    assert weights == [[1.0, 1.0], [2.0, 0.0, 4.0]]
    total = sum(w * x for ws, xs in zip(weights, losses, strict=True)
                for w, x in zip(ws, xs, strict=True))  # fmt: skip
    assert total == 3.0 + 4.0 * (0.5 * 3.0 + 5.0)
    tokens = supervise(rollouts, SFT, "global_tokens", "")
    assert count(tokens, "all") == Totals(num_tokens=4, num_rollouts=2, max_tokens=2)


def test_a_level_of_its_own_reaches_the_advantage_and_half_known_ones_do_not():
    objective = bind("tldr", {"max_length": 4, "level": "long", "std": "biased"})
    group = [drawn(0, 4, reward=1.0), drawn(1, 1, reward=1.0), drawn(2, 2, reward=0.0)]

    def advantage(*levels: Any) -> float:
        told = [replace(r, level=level) for r, level in zip(group, levels, strict=True)]
        return at_each_token(told, objective, "advantages_N")[0][0]

    assert advantage("short", "short", "short") < advantage("long", "long", "long")
    assert advantage("long", "long", "long") == advantage(None, None, None)
    assert advantage("short", "short", None) == advantage(None, None, None)


def test_only_tokens_that_count_are_counted_each_kind_on_its_own():
    rollouts = [
        rollout(0, 3, weights=(2.0, 0.0, 1.0)),
        rollout(1, 6, is_expert=True),
        rollout(2, 1, weights=(0.0,)),
    ]
    tokens = supervise(rollouts, SFT, "global_tokens", "")

    assert count(tokens, "all") == Totals(num_tokens=8, num_rollouts=2, max_tokens=6)
    assert count(tokens, "own") == Totals(num_tokens=2, num_rollouts=1, max_tokens=2)
    assert count(tokens, "expert") == Totals(num_tokens=6, num_rollouts=1, max_tokens=6)
    assert count([], "all") == Totals(num_tokens=0, num_rollouts=0, max_tokens=0)


def test_what_nobody_asks_for_and_nobody_knows_is_not_there():
    [supervised] = supervise([rollout(0, 2)], SFT, "global_tokens", "")

    assert list(supervised.fields()) == ["targets_N"]


def test_what_the_engine_said_is_unknown_for_an_experts_tokens():
    rollouts = [rollout(0, 2, logprobs=(-1.5, -0.5)), rollout(1, 1, is_expert=True)]

    drawn, given = at_each_token(rollouts, SFT, "old_logprobs_N")

    assert drawn == [-1.5, -0.5]
    assert math.isnan(given[0])


def test_random_numbers_depend_on_the_step_and_the_rollout_and_on_nothing_else():
    objective = bind("one_token_rollout", {"samples": 3})
    rollouts = [rollout(0, 2), rollout(1, 2)]

    first, second = supervise(rollouts, objective, "global_tokens", "0 5")
    [alone] = supervise(rollouts[1:], objective, "global_tokens", "0 5")
    later, _ = supervise(rollouts, objective, "global_tokens", "0 6")

    assert first.uniforms_NK is not None and first.uniforms_NK.shape == (2, 3)
    assert second.uniforms_NK is not None and alone.uniforms_NK is not None
    assert later.uniforms_NK is not None
    assert torch.equal(second.uniforms_NK, alone.uniforms_NK)
    assert not torch.equal(first.uniforms_NK, second.uniforms_NK)
    assert not torch.equal(first.uniforms_NK, later.uniforms_NK)


@pytest.mark.parametrize("rest", [{"logprobs": (-1.0,)}, {"weights": (1.0, 1.0, 1.0)}])
def test_values_that_do_not_stand_at_every_token_are_refused(rest):
    with pytest.raises(ValueError, match=r"rollout 000000\.0\.0: \d .* for 2 tokens"):
        supervise([rollout(0, 2, **rest)], SFT, "global_tokens", "")


def test_a_ratio_needs_to_know_who_wrote():
    ours, expert = rollout(0, 2), rollout(1, 2, is_expert=True)

    with pytest.raises(ValueError, match="nobody knows"):
        supervise([ours], bind("raft", {}), "global_tokens", "")
    assert supervise([expert], bind("chord_grpo", {}), "global_tokens", "")
