"""What became of made-up groups, as a curriculum is told of it."""

from collections.abc import Iterable
from dataclasses import replace

from verifiers.types import GroupOutcome, Outcome, rollout_id

ACCEPTED = Outcome(
    rollout_id="", status="correct", reason=None, num_tokens=10, first_version=0, last_version=0
)
WRONG = replace(ACCEPTED, status="wrong", reason="wrong")
TOO_LONG = replace(ACCEPTED, reason="over_budget")
TRUNCATED = replace(ACCEPTED, reason="truncated")
FAILED = replace(ACCEPTED, status="error", reason="verifier_error")
SLOW = replace(ACCEPTED, status="timeout", reason="verifier_timeout")
CANCELLED = replace(ACCEPTED, status="no_answer", reason="cancelled")
DOOMED = replace(ACCEPTED, status="no_answer", reason="doomed")
EXPERT = replace(ACCEPTED, is_expert=True)


def long(outcome: Outcome, *lengths: int) -> list[Outcome]:
    """One of these lengths each."""
    return [replace(outcome, num_tokens=length) for length in lengths]


def group(
    ticket: int,
    problem_id: str,
    outcomes: Iterable[Outcome],
    *,
    budget: int = 100,
    temperature: float = 1.0,
    logprob_mean: float | None = None,
) -> GroupOutcome:
    return GroupOutcome(
        ticket=ticket,
        problem_id=problem_id,
        budget=budget,
        temperature=temperature,
        logprob_mean=logprob_mean,
        outcomes=tuple(
            replace(outcome, rollout_id=rollout_id(ticket, 0, sample))
            for sample, outcome in enumerate(outcomes)
        ),
    )
