"""What a rollout must pass that is right and short enough, and what the parts may not do."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from configs.economy import HookConfig
from configs.errors import UserError
from configs.schema import FilterConfig
from tests.fakes import make_ticket
from verifiers.hooks import bind_hooks, judged_group
from verifiers.our_steps import CUES
from verifiers.plugins import PluginFailed
from verifiers.steps import STEPS, bind_steps, decide_group
from verifiers.types import (
    Check,
    Completion,
    Decision,
    FinishReason,
    Group,
    JudgedGroup,
    Origin,
    Status,
    Verdict,
)

BUDGET = 10


@dataclass(frozen=True, kw_only=True)
class Said:
    """One completion of a group, as far as a test cares."""

    text: str = "so 42"
    status: Status = "correct"
    num_tokens: int = 4
    finish: FinishReason = "stop"
    origin: Origin = "self"
    score: float | None = None
    logprobs: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    @property
    def completion(self) -> Completion:
        return Completion(
            text=self.text,
            token_ids=(7,) * self.num_tokens,
            logprobs=self.logprobs,
            finish_reason=self.finish,
            first_version=0,
            last_version=0,
            start_us=0,
            end_us=1,
            is_expert=self.origin != "self",
            origin=self.origin,
            score=self.score,
        )

    @property
    def verdict(self) -> Verdict:
        scores = {f"part {at}": score for at, score in enumerate(self.scores)}
        return Verdict(status=self.status, scores=scores)


def hook(use: str, **settings: Any) -> HookConfig:
    return HookConfig(use=use, settings=settings)


def decided(
    group: list[Said], *hooks: HookConfig, limits: dict[str, float] | None = None
) -> tuple[Decision, ...]:
    return decide_group(
        [said.completion for said in group],
        [said.verdict for said in group],
        BUDGET,
        bind_steps(hooks),
        limits or {},
    )


def reasons(
    group: list[Said], *hooks: HookConfig, limits: dict[str, float] | None = None
) -> list[str | None]:
    return [decision.reason for decision in decided(group, *hooks, limits=limits)]


def check(decision: Decision, name: str) -> Check:
    [found] = [one for one in decision.checks if one.name == name]
    return found


def test_a_duplicate_is_one_of_an_accepted_rollout_before_it():
    wrong = Said(text="b", status="wrong")
    group = [wrong, Said(text="a"), Said(text="b"), Said(text="a"), Said(text="a", num_tokens=99)]

    assert reasons(group, hook("duplicate")) == [
        "wrong", None, None, "duplicate", "over_budget",
    ]  # fmt: skip


def test_the_first_ones_are_kept_whatever_their_length_and_number_of_tokens():
    group = [Said(num_tokens=9), Said(status="wrong"), Said(num_tokens=8), Said(num_tokens=1)]

    assert reasons(group, hook("max_kept", count=2)) == [None, "wrong", None, "max_kept"]


def test_steps_run_in_the_order_of_the_configuration_and_the_first_gives_the_reason():
    group = [Said(text="a"), Said(text="a"), Said(text="b")]
    unique, one = hook("duplicate"), hook("max_kept", count=2)

    assert reasons(group, unique, one) == [None, "duplicate", None]
    assert reasons(group, one, unique) == [None, "duplicate", "max_kept"]


def test_every_step_is_looked_at_for_every_finished_rollout():
    group = [
        Said(text="a"),
        Said(text="a", status="wrong"),
        Said(text="b", status="error"),
        Said(text="c", finish="length"),
        Said(finish="abort"),
        Said(text="a"),
    ]

    found = decided(group, hook("duplicate"), hook("max_kept", count=1))

    names = ["finished", "correct", "length"]
    assert [[one.name for one in decision.checks] for decision in found] == [
        [*names, "duplicate", "max_kept"],
        [*names, "duplicate", "max_kept"],
        [*names, "duplicate", "max_kept"],
        names,
        names,
        [*names, "duplicate", "max_kept"],
    ]
    # Had the wrong ones been right: the first says what was said before, the second does not.
    assert [check(found[at], "duplicate").passed for at in (0, 1, 2, 5)] == [
        True, False, True, False,
    ]  # fmt: skip
    assert [check(found[at], "max_kept").passed for at in (0, 1, 2, 5)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert found[5].reason == "duplicate"


def test_branching_is_counted_in_whole_words_per_thousand_tokens():
    calm = Said(text="awaiting butter, debut, however", num_tokens=8)
    torn = Said(text="Wait. BUT hmm, however? Alternatively actually...", num_tokens=8)

    first, second = decided([calm, torn], hook("branchy", max=125))

    assert check(first, "branchy") == Check(
        name="branchy", passed=True, value=125.0, threshold=125.0
    )
    assert check(second, "branchy").value == 1000 * len(CUES) / 8
    assert (first.reason, second.reason) == (None, "branchy")


def test_a_limit_that_follows_the_run_is_the_tickets_and_before_there_is_one_all_pass():
    group = [Said(text="wait", num_tokens=2)]
    follows = hook("branchy", quantile=0.9)

    [unknown] = decided(group, follows)
    [below], [above] = (
        decided(group, follows, limits={"branchy": limit}) for limit in (499.0, 500.0)
    )

    assert (unknown.reason, check(unknown, "branchy").threshold) == (None, math.inf)
    assert (below.reason, check(below, "branchy").threshold) == ("branchy", 499.0)
    assert above.reason is None
    [step] = bind_steps([follows])
    assert step.quantile == 0.9
    assert bind_steps([hook("branchy", max=3)])[0].quantile is None


def test_grape_keeps_the_likeliest_candidate_own_or_experts():
    group = [
        Said(logprobs=(-1.0, -2.0, -3.0, -2.0)),
        Said(origin="gold", score=-0.5),
        Said(origin="paraphrase", logprobs=(-0.1,) * 4),
        Said(score=-0.1, status="wrong"),
    ]

    found = decided(group, hook("grape"))

    assert [decision.reason for decision in found] == ["grape", None, "grape", "wrong"]
    values = [check(decision, "grape").value for decision in found]
    assert values[:2] == [-2.0, -0.5]
    assert math.isnan(values[2])  # drawn at another prompt, and nobody asked at the problem's own
    assert {check(decision, "grape").threshold for decision in found} == {-0.5}
    assert check(found[3], "grape").passed


@pytest.mark.parametrize(
    ("statuses", "kept"),
    [
        (("correct", "wrong", "correct", "correct"), [0]),
        (("wrong", "correct", "correct", "correct"), [1]),
        (("wrong", "wrong", "correct", "correct"), [2]),
        (("wrong", "wrong", "wrong", "correct"), [3]),
        (("wrong", "wrong", "wrong", "wrong"), []),
        (("correct", "correct", "correct", "correct"), [0, 1]),
    ],
)
def test_s3ft_takes_own_answers_then_a_paraphrase_then_the_gold_one(
    statuses: tuple[Status, ...], kept: list[int]
):
    origins: tuple[Origin, ...] = ("self", "self", "paraphrase", "gold")
    group = [Said(status=s, origin=o) for s, o in zip(statuses, origins, strict=True)]

    found = reasons(group, hook("s3ft"))

    assert [at for at, reason in enumerate(found) if reason is None] == kept


def test_a_group_without_a_candidate_is_nothing_special():
    hooks = [hook("branchy", max=1), hook("max_kept", count=1)]
    hooks += [hook(name) for name in STEPS if name not in ("branchy", "max_kept")]

    assert reasons([Said(status="wrong"), Said(finish="length")], *hooks) == ["wrong", "truncated"]
    assert reasons([], *hooks) == []


def test_ones_own_filter_needs_no_registration():
    name = "tests.own_parts:WORDY"

    group = [Said(text="a b c"), Said(text="a b")]

    assert reasons(group, hook(name, most=2)) == [name, None]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": [{"use": "duplikate"}]}, ["filter step", "did you mean 'duplicate'"]),
        ({"steps": [{"use": "max_kept"}]}, ["filter.steps.0.settings.count", "required"]),
        (
            {"steps": [{"use": "grape"}, {"use": "grape"}]},
            ["names 'grape' twice", "leave one out"],
        ),
        (
            {"steps": [{"use": "branchy", "settings": {"max": 1, "quantile": 0.5}}]},
            ["filter.steps.0.settings", "set one of max and quantile"],
        ),
        ({"steps": [{"use": "s3ft", "settings": {"x": 1}}]}, ["settings.x", "s3ft has none"]),
        ({"steps": [{"use": "tests.own_parts:NOTHING_OF_OURS"}]}, ["Filter", "Selector"]),
        ({"steps": [{"use": "tests.own_parts:MISSING"}]}, ["no importable", "MISSING"]),
        ({"reward": {"use": "skores"}}, ["filter.reward", "did you mean 'scores'"]),
        ({"reward": {"use": "tests.own_parts:WORDY"}}, ["filter.reward", "Reward"]),
        (
            {"reward": {"use": "tests.own_parts:BONUS", "settings": {"bonus": "x"}}},
            ["filter.reward.settings.bonus"],
        ),
        ({"token_weights": "fiat"}, ["filter.token_weights", "did you mean 'fait'"]),
        ({"token_weights": "no_such_module:x"}, ["no importable", "no_such_module"]),
        ({"token_weights": "tests.own_parts:NOTHING_OF_OURS"}, ["is no function"]),
    ],
)
def test_what_cannot_be_used_is_one_line(settings: dict[str, Any], words: list[str]):
    config = FilterConfig.model_validate({"length_budget": BUDGET, **settings})

    with pytest.raises(UserError) as caught:
        bind_hooks(config)

    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def judged(group: list[Said], **settings: Any) -> JudgedGroup:
    config = FilterConfig.model_validate({"length_budget": BUDGET, **settings})
    written = Group(
        ticket=make_ticket(size=len(group), budget=BUDGET),
        generator_id="g",
        completions=tuple(said.completion for said in group),
        temperature=1.0,
        top_p=1.0,
        max_tokens=BUDGET,
    )
    return judged_group(written, [said.verdict for said in group], bind_hooks(config))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": [{"use": "tests.own_parts:FAILS"}]}, "FAILS.*KeyError.*a bug"),
        ({"steps": [{"use": "tests.own_parts:NO_NUMBER"}]}, "NO_NUMBER.*not a number"),
        ({"steps": [{"use": "tests.own_parts:STRANGER"}]}, r"STRANGER.*\[99\].*no candidates"),
        ({"reward": {"use": "tests.own_parts:ENDLESS"}}, "ENDLESS.*b is not finite"),
        ({"token_weights": "tests.own_parts:too_few"}, "too_few.*1 weights for the 4 tokens"),
        ({"token_weights": "tests.own_parts:below_nothing"}, "below_nothing.*below 0"),
        ({"token_weights": "tests.own_parts:for_nobody"}, "for_nobody.*0 rows for 1 completions"),
    ],
)
def test_a_part_that_does_what_it_may_not_stops_the_run_and_is_named(
    settings: dict[str, Any], words: str
):
    with pytest.raises(PluginFailed, match=words) as caught:
        judged([Said()], **settings)

    assert "\n" not in str(caught.value)


def test_scores_are_averaged_where_a_judge_gave_some_and_acceptance_counts_elsewhere():
    group = [
        Said(scores=(1.0, 0.5), status="wrong"),
        Said(),
        Said(num_tokens=99),
        Said(status="timeout"),
        Said(finish="abort"),
    ]

    found = judged(group, reward={"use": "scores"})

    assert found.rewards == (
        {"part 0": 0.5, "part 1": 0.25},
        {"accepted": 1.0},
        {"accepted": 0.0},
        {},
        {},
    )
    assert [decision.accepted for decision in found.decisions] == [False, True, False, False, False]
    assert judged(group).rewards == ()


def test_ones_own_reward_has_parts_and_settings():
    found = judged(
        [Said(num_tokens=4), Said(num_tokens=5)],
        reward={"use": "tests.own_parts:BONUS", "settings": {"bonus": 0.25}},
    )

    assert found.rewards == ({"right": 1.0, "short": 0.25}, {"right": 1.0, "short": 0.0})


def test_ones_own_token_weights_stand_beside_the_rollouts():
    found = judged(
        [Said(num_tokens=3), Said(status="wrong")],
        token_weights="tests.own_parts:first_tokens",
    )

    assert found.weights == ((0.0, 1.0, 1.0), ())
