"""The length budget: fixed, shrinking, or each problem its own; and that it goes back in time."""

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.budgets import Budget, Budgets, make_budgets
from actors.quantile import quantile
from configs.load import ConfigError, load
from tests.groups import (
    ACCEPTED,
    DOOMED,
    EXPERT,
    FAILED,
    SLOW,
    TOO_LONG,
    TRUNCATED,
    WRONG,
    group,
    long,
)
from verifiers.types import Outcome

L = 100


def budgets(*settings: str) -> Budgets:
    return make_budgets(load("tiny", [f"filter.length_budget={L}", *settings]))


def scheduled(*settings: str) -> Budgets:
    return budgets("budget.kind=schedule", "budget.end=40", "budget.over_steps=6", *settings)


def adaptive(*settings: str) -> Budgets:
    return budgets("budget.kind=adaptive", "budget.explore=0", *settings)


def tokens(budgets: Budgets, problem_id: str = "p", number: int = 0, version: int = 0) -> int:
    return budgets.of(problem_id, number, version).tokens


def learn(
    budgets: Budgets, *outcomes: Sequence[Outcome], budget: int = L, problem_id: str = "p"
) -> list[str]:
    """A step whose groups have these outcomes."""
    return budgets.learn(
        [group(ticket, problem_id, of, budget=budget) for ticket, of in enumerate(outcomes)]
    )


def again(kind: str, budgets: Budgets, *settings: str) -> Budgets:
    """As a restart makes it."""
    restored = {"schedule": scheduled, "adaptive": adaptive}[kind](*settings)
    restored.restore(json.loads(json.dumps(budgets.state())))
    return restored


def test_a_fixed_budget_is_the_same_for_all_whatever_happens():
    fixed = budgets()
    learn(fixed, [WRONG] * 8)

    assert fixed.of("p", 7, 3) == fixed.of("q", 8, 99) == Budget(tokens=L)


def test_a_schedule_is_linear_in_the_version_and_ends_where_it_should():
    found = [tokens(scheduled(), version=version) for version in (0, 1, 2, 3, 5, 6, 7, 99)]

    assert found == [100, 90, 80, 70, 50, 40, 40, 40]


def test_a_schedule_takes_all_steps_unless_told_and_whole_tokens():
    uneven = budgets("budget.kind=schedule", "budget.end=99", "steps=3")

    assert [tokens(uneven, version=version) for version in range(5)] == [100, 100, 100, 99, 99]


def test_a_schedule_that_was_too_short_goes_back_to_the_last_healthy_budget_and_says_so_once():
    schedule = scheduled("budget.min_accepted=0.25")
    assert learn(schedule, [ACCEPTED, WRONG], budget=90) == []
    assert learn(schedule, [ACCEPTED, WRONG, WRONG, WRONG], budget=80) == []  # just enough

    [alarm] = learn(schedule, [ACCEPTED, WRONG, WRONG], [TOO_LONG] * 2, budget=70)

    assert "from 70 to 80 tokens" in alarm
    assert "1 of 5 rollouts" in alarm
    assert "budget.min_accepted 0.25" in alarm
    assert "\n" not in alarm
    assert learn(schedule, [WRONG] * 4, budget=70) == []
    assert [tokens(schedule, version=version) for version in (0, 4, 99)] == [80, 80, 80]


def test_without_a_healthy_step_the_schedule_goes_back_to_its_start():
    schedule = scheduled()

    [alarm] = learn(schedule, [TOO_LONG] * 4, budget=90)

    assert "from 90 to 100 tokens" in alarm
    assert tokens(schedule, version=5) == L


def test_what_comes_late_from_a_smaller_budget_does_not_lower_one_that_is_held():
    schedule = scheduled()
    learn(schedule, [WRONG] * 4, budget=90)

    assert learn(schedule, [ACCEPTED] * 4, budget=80) == []

    assert tokens(schedule, version=5) == L


@pytest.mark.parametrize(
    ("outcomes", "budget"),
    [([WRONG] * 4, L), ([FAILED, SLOW], 90), ([EXPERT, FAILED], 90), ([], 90)],
    ids=["before it shrinks", "failed judges", "an expert", "nothing"],
)
def test_no_alarm_where_the_schedule_cannot_be_the_cause(outcomes: list[Outcome], budget: int):
    schedule = scheduled()

    assert learn(schedule, outcomes, budget=budget) == []

    assert tokens(schedule, version=6) == 40


def test_a_restart_keeps_what_a_schedule_learned():
    healthy = scheduled()
    learn(healthy, [ACCEPTED], budget=70)
    resumed = again("schedule", healthy)
    assert tokens(resumed, version=4) == 60
    assert "to 70 tokens" in learn(resumed, [WRONG], budget=60)[0]

    assert tokens(again("schedule", resumed), version=6) == 70


def test_a_problem_gets_a_budget_of_its_own_from_its_correct_lengths():
    own = adaptive("budget.quantile=0.75", "budget.slack=1.25")

    learn(own, long(ACCEPTED, 20, 40, 30) + long(TOO_LONG, 60))

    assert tokens(own) == 50  # the third of four, 40, times 1.25
    assert tokens(own, "another") == L


def test_a_problem_needs_enough_correct_lengths_for_a_budget_of_its_own():
    own = adaptive("budget.min_lengths=3")
    learn(own, long(ACCEPTED, 20, 20))
    assert tokens(own) == L

    learn(own, long(ACCEPTED, 20))

    assert tokens(own) == 25


@pytest.mark.parametrize("outcome", [WRONG, TRUNCATED, FAILED, SLOW, DOOMED, EXPERT])
def test_only_an_own_correct_answer_that_ended_has_a_length(outcome: Outcome):
    own = adaptive("budget.min_lengths=3")

    learn(own, [*long(ACCEPTED, 20, 20), *long(outcome, 20)])

    assert tokens(own) == L


def test_an_own_budget_lies_between_the_floor_and_the_whole_budget():
    own = adaptive("budget.floor=30", "budget.min_lengths=1", "budget.slack=2")
    learn(own, long(ACCEPTED, 5), problem_id="short")
    learn(own, long(TOO_LONG, 300), problem_id="long")

    assert (tokens(own, "short"), tokens(own, "long")) == (30, L)


def test_only_the_newest_lengths_are_remembered():
    own = adaptive("budget.memory=4", "budget.quantile=1", "budget.slack=1")
    learn(own, long(ACCEPTED, 90, 20, 20, 20))
    assert tokens(own) == 90

    learn(own, long(ACCEPTED, 25))

    assert tokens(own) == 25


def test_a_visit_without_an_accepted_rollout_forgets_the_own_budget_until_the_next_visit():
    own = adaptive("budget.min_lengths=1")
    learn(own, long(ACCEPTED, 20))
    assert tokens(own) == 25

    learn(own, [TOO_LONG, WRONG], budget=25)
    assert tokens(own) == L
    learn(own, [FAILED], budget=25)
    assert tokens(own) == L, "a judge's error is no visit"

    learn(own, [WRONG, *long(ACCEPTED, 20)], budget=L)
    assert tokens(own) == 25
    learn(own, [WRONG], budget=L)
    assert tokens(own) == 25, "that the whole budget did not help is not its fault"


def test_a_known_share_of_the_groups_gets_the_whole_budget_to_look_further():
    own = adaptive("budget.explore=0.2", "budget.min_lengths=1")
    assert not any(own.of("p", number, 0).explores for number in range(100))
    learn(own, long(ACCEPTED, 20))

    found = [own.of("p", number, 0) for number in range(5000)]

    assert {(budget.tokens, budget.explores) for budget in found} == {(25, False), (L, True)}
    assert sum(budget.explores for budget in found) / 5000 == pytest.approx(0.2, abs=0.02)
    assert found == [own.of("p", number, 0) for number in range(5000)]


def test_a_restart_keeps_what_was_learned_of_every_problem():
    own = adaptive("budget.min_lengths=1")
    learn(own, long(ACCEPTED, 20))
    learn(own, long(ACCEPTED, 20), problem_id="hopeless")
    learn(own, [WRONG], budget=25, problem_id="hopeless")

    resumed = again("adaptive", own, "budget.min_lengths=1")

    assert [tokens(resumed, id) for id in ("p", "hopeless", "new")] == [25, L, L]


@given(
    values=st.lists(st.integers(0, 50), min_size=1, max_size=40),
    share=st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[int], share: float
):
    found = quantile(values, share)

    enough = [v for v in values if sum(w <= v for w in values) >= share * len(values) - 1e-6]
    assert found == min(enough)


def test_a_quantile_is_not_led_astray_by_floats():
    values = list(range(1, 11))

    assert [quantile(values, share) for share in (0.1, 0.7, 0.71, 1.0)] == [1, 7, 8, 10]
    assert math.ceil(0.07 * 100) == 8, "what it guards against"
    assert quantile(range(1, 101), 0.07) == 7


def test_a_budget_that_nothing_can_fill_is_refused():
    with pytest.raises(ConfigError, match=r"min_lengths 9 is above memory 8.*Raise memory"):
        adaptive("budget.min_lengths=9", "budget.memory=8")


def test_a_paused_schedule_goes_back_stands_still_and_goes_on_from_there():
    budgets = scheduled()
    usual = [tokens(scheduled(), version=version) for version in range(7)]
    assert [tokens(budgets, version=version) for version in range(4)] == usual[:4]

    budgets.pause(2)
    budgets.pause(4)
    restored = again("schedule", budgets)
    for each in (budgets, restored):
        assert [tokens(each, version=version) for version in (3, 4, 5)] == [usual[2]] * 3
        each.unpause(5)
        each.unpause(6)
        assert [tokens(each, version=version) for version in (5, 6, 7, 99)] == [
            usual[2], usual[3], usual[4], usual[6],
        ]  # fmt: skip


def test_a_paused_problem_of_its_own_budget_keeps_it():
    budgets = adaptive()
    learn(budgets, long(ACCEPTED, 40, 40, 40, 40))
    before = tokens(budgets)

    budgets.pause(1)
    learn(budgets, long(ACCEPTED, *[20] * 40))
    assert tokens(budgets) == before < L

    budgets.unpause(2)
    learn(budgets, long(ACCEPTED, *[20] * 40))
    assert tokens(budgets) < before
