"""What of a judged group reaches the learner, and that the log gives it back as it was."""

import base64
import json
import math
import struct
from dataclasses import replace

import pytest

from actors.settlement import settlement_of
from actors.settlement_rows import decode_settlement, encode_settlement
from tests.fakes import make_problem, make_ticket
from verifiers.filters import NOT_JUDGED, decide
from verifiers.token_weights import fait_weights
from verifiers.types import (
    Check,
    Completion,
    FinishReason,
    Group,
    JudgedGroup,
    Outcome,
    Rollout,
    Settlement,
    Status,
    Verdict,
)

BUDGET = 6


def completion(
    tokens: tuple[int, ...],
    finish_reason: FinishReason = "stop",
    *,
    is_expert: bool = False,
) -> Completion:
    return Completion(
        text="",
        token_ids=tokens,
        logprobs=() if is_expert else tuple(-0.5 for _ in tokens),
        finish_reason=finish_reason,
        first_version=3,
        last_version=4,
        start_us=0,
        end_us=1,
        is_expert=is_expert,
    )


def judged(*rows: tuple[Completion, Status]) -> JudgedGroup:
    problem = replace(make_problem(), teacher_prompt_ids=(7, 8))
    completions = tuple(row[0] for row in rows)
    verdicts = tuple(
        NOT_JUDGED if c.finish_reason == "abort" else Verdict(status=status) for c, status in rows
    )
    group = Group(
        ticket=make_ticket(5, size=len(rows), budget=BUDGET, problem=problem),
        generator_id="g",
        completions=completions,
        temperature=1.0,
        top_p=1.0,
        max_tokens=9,
    )
    decisions = tuple(decide(c, v, BUDGET) for c, v in zip(completions, verdicts, strict=True))
    return JudgedGroup(group=group, verdicts=verdicts, decisions=decisions)


EVERYTHING = judged(
    (completion((1, 2)), "correct"),
    (completion((1, 2, 3)), "wrong"),
    (completion((4,) * 9, "length"), "no_answer"),
    (completion((4,) * 8), "correct"),  # over the budget
    (completion((4,) * 9, "length"), "correct"),
    (completion((5,)), "error"),
    (completion((6,)), "timeout"),
    (completion((7,), "abort"), "wrong"),
    (completion((8,), is_expert=True), "correct"),
)


def test_without_whole_groups_only_accepted_rollouts_are_kept():
    found = settlement_of(EVERYTHING, keep_rejected=False)

    assert [r.id for r in found.rollouts] == ["000005.0.0", "000005.0.8"]
    assert {r.reward for r in found.rollouts} == {1.0}
    assert len(found.outcomes) == 9


def test_whole_groups_hold_what_was_judged_and_never_an_error_or_an_aborted_one():
    found = settlement_of(EVERYTHING, keep_rejected=True)

    rewards = {int(r.id[-1]): r.reward for r in found.rollouts}
    assert rewards == {0: 1.0, 1: 0.0, 2: 0.0, 3: 0.0, 4: 0.0, 8: 1.0}
    assert found.outcomes == settlement_of(EVERYTHING, keep_rejected=False).outcomes


def test_what_the_learner_asks_of_a_rollout_travels_with_it():
    own, expert = settlement_of(EVERYTHING, keep_rejected=False).rollouts

    assert (own.is_expert, own.logprobs) == (False, (-0.5, -0.5))
    assert (expert.is_expert, expert.logprobs) == (True, ())
    assert own.teacher_prompt_ids == expert.teacher_prompt_ids == (7, 8)
    assert own.weights == ()


@pytest.mark.parametrize("keep_rejected", [True, False])
def test_a_rejected_expert_is_never_kept(keep_rejected: bool):
    group = judged((completion((1,)), "wrong"), (completion((2,), is_expert=True), "wrong"))

    kept = settlement_of(group, keep_rejected=keep_rejected).rollouts

    assert [r.id for r in kept] == (["000005.0.0"] if keep_rejected else [])


def test_a_reward_of_its_own_is_the_sum_of_its_parts_and_decides_nothing():
    group = judged((completion((1,)), "correct"), (completion((2,)), "wrong"))
    group = replace(group, rewards=({"right": 1.0, "short": 0.5}, {"short": 0.25}))

    kept = settlement_of(group, keep_rejected=True).rollouts

    assert [(r.reward, r.is_accepted) for r in kept] == [(1.5, True), (0.25, False)]


def test_a_rollout_counts_for_those_that_were_not_written_where_that_is_asked_for():
    ticket = replace(make_ticket(size=2), propensity=0.5, level="short")
    group = judged(
        (completion((1,)), "correct"), (replace(completion((2,)), propensity=0.25), "correct")
    )
    group = replace(group, group=replace(group.group, ticket=ticket))

    plain = settlement_of(group, keep_rejected=False).rollouts
    weighted = settlement_of(group, keep_rejected=False, reweight=True).rollouts

    assert [r.weight for r in plain] == [1.0, 1.0]
    assert [r.weight for r in weighted] == [2.0, 8.0]
    assert {r.level for r in plain} == {"short"}


def test_the_queue_is_told_how_likely_the_policys_own_tokens_were_and_what_filters_follow():
    group = judged(
        (replace(completion((1, 2)), logprobs=(-1.0, -2.0)), "correct"),
        (replace(completion((3,)), logprobs=(-6.0,)), "wrong"),
        (replace(completion((4,), is_expert=True), logprobs=(-99.0,)), "correct"),
    )
    check = Check(name="branchy", passed=True, value=2.5, threshold=3.0)
    first, *others = group.decisions
    group = replace(group, decisions=(replace(first, checks=(*first.checks, check)), *others))

    found = settlement_of(group, keep_rejected=False, measured=("branchy",))

    assert found.logprob_mean == -3.0
    assert [o.measures for o in found.outcomes] == [(("branchy", 2.5),), (), ()]
    assert settlement_of(group, keep_rejected=False).outcomes[0].measures == ()
    experts = judged((completion((4,), is_expert=True), "correct"))
    assert settlement_of(experts, keep_rejected=False).logprob_mean is None


def weights_of(group: JudgedGroup) -> tuple[tuple[float, ...], ...]:
    return fait_weights(group.group, group.verdicts, group.decisions, extra=0.5)


def test_accepted_rollouts_count_more_where_a_wrong_one_of_their_group_differs():
    group = judged(
        (completion((1, 2, 3)), "correct"),
        (completion((1, 9, 3)), "wrong"),
        (completion((2,), is_expert=True), "correct"),
    )
    weights = weights_of(group)
    assert weights == ((1.0, 1.5, 1.0), (), (1.5,))

    kept = settlement_of(replace(group, weights=weights), keep_rejected=True).rollouts

    assert [r.weights for r in kept] == list(weights)


def test_only_what_was_judged_and_is_wrong_shows_a_fault():
    group = judged(
        (completion((1, 2, 3)), "correct"),
        (completion((1, 2, 9)), "error"),
        (completion((1, 2, 9), "abort"), "wrong"),
        (completion((1, 2, 9, 9, 9, 9, 9)), "correct"),
    )

    assert weights_of(group) == ((), (), (), ())


def as_written(settlement: Settlement) -> Settlement:
    return decode_settlement(json.loads(json.dumps(encode_settlement(settlement))))


def test_a_settlement_is_read_from_the_log_as_it_was_written():
    logprobs = struct.unpack("<4f", struct.pack("<4f", -1e-9, -0.1, -17.25, -math.inf))
    plain = Rollout(
        id="a", prompt_ids=(1,), response_ids=(2, 3, 4, 5), first_version=0, last_version=1
    )
    settlement = Settlement(
        ticket=1,
        attempt=2,
        outcomes=tuple(
            Outcome(
                rollout_id=name,
                status="correct",
                reason=reason,
                num_tokens=3,
                first_version=0,
                last_version=1,
                is_expert=reason is None,
                measures=measures,
            )
            for name, reason, measures in (
                ("a", None, ()),
                ("b", "over_budget", ()),
                ("c", "branchy", (("branchy", 0.1), ("wordy", -3.5))),
            )
        ),
        logprob_mean=-0.1 / 3,
        rollouts=(
            plain,
            replace(plain, reward=0.0, logprobs=logprobs),
            replace(plain, is_expert=True, weights=(1.0, 0.0, 2.5, 1.0), teacher_prompt_ids=(9,)),
        ),
    )

    assert as_written(settlement) == settlement
    assert decode_settlement(encode_settlement(settlement)) == settlement


def test_what_a_run_does_not_use_costs_its_log_nothing():
    plain = settlement_of(EVERYTHING, keep_rejected=False)
    bare = tuple(replace(r, logprobs=(), teacher_prompt_ids=()) for r in plain.rollouts[:1])

    record = encode_settlement(replace(plain, rollouts=bare))

    prompt, response = (
        base64.b64encode(struct.pack(f"<{len(ids)}i", *ids)).decode()
        for ids in (bare[0].prompt_ids, bare[0].response_ids)
    )
    assert record["rollouts"] == [["000005.0.0", prompt, response, 3, 4, {}]]
    assert record["outcomes"][0] == ["000005.0.0", "correct", None, 2, 3, 4]


def test_a_log_probability_costs_less_than_six_characters():
    rollout = settlement_of(EVERYTHING, keep_rejected=False).rollouts[0]
    long = replace(rollout, logprobs=(-1.2345678,) * 3000, teacher_prompt_ids=())
    settlement = Settlement(ticket=0, attempt=0, outcomes=(), rollouts=(long,))

    assert len(json.dumps(encode_settlement(settlement))) < 3000 * 6
