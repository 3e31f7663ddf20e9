import pytest

from verifiers.filters import NOT_JUDGED, decide
from verifiers.types import REASONS, Completion, FinishReason, Verdict

L = 3500
CORRECT = Verdict(status="correct")


def completion(num_tokens: int, finish_reason: FinishReason = "stop") -> Completion:
    return Completion(
        text="",
        token_ids=tuple(range(num_tokens)),
        finish_reason=finish_reason,
        first_version=0,
        last_version=0,
        start_us=0,
        end_us=1,
    )


@pytest.mark.row(21)
def test_of_the_four_of_the_paper_exactly_the_short_correct_one_is_accepted():
    decisions = [
        decide(completion(100), CORRECT, L),
        decide(completion(3600), CORRECT, L),
        decide(completion(3500, "length"), CORRECT, L),
        decide(completion(50), Verdict(status="wrong"), L),
    ]

    assert [decision.accepted for decision in decisions] == [True, False, False, False]
    assert [d.reason for d in decisions] == [None, "over_budget", "truncated", "wrong"]


@pytest.mark.row(21)
@pytest.mark.parametrize(("num_tokens", "reason"), [(L, None), (L + 1, "over_budget")])
def test_the_budget_itself_is_allowed(num_tokens, reason):
    assert decide(completion(num_tokens), CORRECT, L).reason == reason


@pytest.mark.parametrize(
    ("finish_reason", "verdict", "reason"),
    [
        ("abort", NOT_JUDGED, "aborted"),
        ("abort", CORRECT, "aborted"),
        ("length", Verdict(status="timeout"), "truncated"),
        ("stop", Verdict(status="timeout"), "verifier_timeout"),
        ("stop", Verdict(status="error"), "verifier_error"),
        ("stop", Verdict(status="no_answer"), "no_answer"),
        ("stop", Verdict(status="wrong"), "wrong"),
        ("stop", CORRECT, "over_budget"),
    ],
)
def test_the_first_reason_that_holds_is_given(finish_reason, verdict, reason):
    assert decide(completion(L + 1, finish_reason), verdict, L).reason == reason
    assert reason in REASONS


def test_every_check_keeps_its_own_value_when_an_earlier_one_failed():
    checks = decide(completion(3600, "length"), CORRECT, L).checks

    rows = [(check.name, check.passed, check.value, check.threshold) for check in checks]
    assert rows == [
        ("finished", False, 0.0, 1.0),
        ("correct", True, 1.0, 1.0),
        ("length", False, 3600.0, 3500.0),
    ]


def test_an_accepted_one_passes_every_check():
    checks = decide(completion(L), CORRECT, L).checks
    assert all(check.passed for check in checks)
    assert checks[2].value == L
