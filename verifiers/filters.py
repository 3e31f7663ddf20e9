"""Which rollouts are trained. Pure: a completion, its verdict and the length budget in, a decision
out."""

from typing import get_args

from verifiers.types import Check, Completion, Decision, Guard, Status, Verdict

GUARDS = get_args(Guard)

_REASON_OF_STATUS: dict[Status, str | None] = {
    "correct": None,
    "wrong": "wrong",
    "no_answer": "no_answer",
    "error": "verifier_error",
    "timeout": "verifier_timeout",
}

NOT_JUDGED = Verdict(status="no_answer", detail="not judged: the completion was aborted")
"""Stands where an aborted completion's verdict would be."""


def decide(completion: Completion, verdict: Verdict, budget: int) -> Decision:
    """Accept iff it is correct, stopped by itself, and uses at most ``budget`` tokens.

    The reason is the first of ``REASONS`` that holds; every check keeps its own value regardless.
    """
    num_tokens = len(completion.token_ids)
    finished = completion.finish_reason == "stop"
    correct = verdict.status == "correct"
    checks = (
        Check(name="finished", passed=finished, value=float(finished), threshold=1.0),
        Check(name="correct", passed=correct, value=float(correct), threshold=1.0),
        Check(
            name="length",
            passed=num_tokens <= budget,
            value=float(num_tokens),
            threshold=float(budget),
        ),
        *(
            Check(name=name, passed=score >= 1.0, value=score, threshold=1.0)
            for name, score in verdict.scores.items()
        ),
    )
    return Decision(reason=_reason(completion, verdict, num_tokens, budget), checks=checks)


def is_judged(completion: Completion, verdict: Verdict) -> bool:
    """A verifier's error or time-out says nothing about the response."""
    return completion.finish_reason != "abort" and verdict.status not in ("error", "timeout")


def _reason(completion: Completion, verdict: Verdict, num_tokens: int, budget: int) -> str | None:
    if completion.finish_reason == "abort":
        return completion.aborted_by or "aborted"
    if completion.finish_reason != "stop":
        return "truncated"
    if verdict.status == "wrong" and verdict.reason in GUARDS:
        return verdict.reason
    if verdict.status != "correct":
        return _REASON_OF_STATUS[verdict.status]
    return "over_budget" if num_tokens > budget else None
