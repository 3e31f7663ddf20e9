"""From a judged group to what the queue keeps of it. Pure.

Accepted rollouts go to the learner with reward 1. An objective that compares the rollouts of a
group also gets the rejected ones, with reward 0: those that were really judged and that the policy
wrote itself.
"""

from collections.abc import Sequence

from verifiers.token_weights import fait
from verifiers.types import (
    Completion,
    Decision,
    Group,
    JudgedGroup,
    Outcome,
    Rollout,
    Settlement,
    Verdict,
    rollout_id,
)


def settlement_of(judged: JudgedGroup, *, keep_rejected: bool) -> Settlement:
    """The fate of every completion, and the tokens of those that the learner gets."""
    ticket = judged.group.ticket
    outcomes: list[Outcome] = []
    rollouts: list[Rollout] = []
    rows = zip(judged.group.completions, judged.verdicts, judged.decisions, strict=True)
    for sample, (completion, verdict, decision) in enumerate(rows):
        name = rollout_id(ticket.number, ticket.attempt, sample)
        outcomes.append(
            Outcome(
                rollout_id=name,
                status=verdict.status,
                reason=decision.reason,
                num_tokens=len(completion.token_ids),
                first_version=completion.first_version,
                last_version=completion.last_version,
                is_expert=completion.is_expert,
            )
        )
        if decision.accepted or (keep_rejected and _teaches(completion, verdict)):
            rollouts.append(_rollout(judged, sample, name))
    return Settlement(
        ticket=ticket.number,
        attempt=ticket.attempt,
        outcomes=tuple(outcomes),
        rollouts=tuple(rollouts),
    )


def fait_weights(
    group: Group, verdicts: Sequence[Verdict], decisions: Sequence[Decision], extra: float
) -> tuple[tuple[float, ...], ...]:
    """For each completion its token weights, none for all 1: an accepted one's come from the most
    similar one of the group that is not right. One that is right and too long shows no fault.

    Takes up to seconds for long responses."""
    wrong = [
        completion.token_ids
        for completion, verdict in zip(group.completions, verdicts, strict=True)
        if _is_judged(completion, verdict) and verdict.status != "correct"
    ]
    return tuple(
        tuple(fait(completion.token_ids, wrong, extra)) if wrong and decision.accepted else ()
        for completion, decision in zip(group.completions, decisions, strict=True)
    )


def _rollout(judged: JudgedGroup, sample: int, name: str) -> Rollout:
    completion, problem = judged.group.completions[sample], judged.group.ticket.problem
    return Rollout(
        id=name,
        prompt_ids=problem.prompt_ids,
        response_ids=completion.token_ids,
        first_version=completion.first_version,
        last_version=completion.last_version,
        is_accepted=judged.decisions[sample].accepted,
        reward=float(judged.decisions[sample].accepted),
        is_expert=completion.is_expert,
        logprobs=completion.logprobs,
        weights=judged.weights[sample] if judged.weights else (),
        teacher_prompt_ids=problem.teacher_prompt_ids,
    )


def _teaches(completion: Completion, verdict: Verdict) -> bool:
    """A rejected response teaches what not to write; an expert's was nobody's own choice."""
    return _is_judged(completion, verdict) and not completion.is_expert


def _is_judged(completion: Completion, verdict: Verdict) -> bool:
    """A verifier's error or time-out says nothing about the response."""
    return completion.finish_reason != "abort" and verdict.status not in ("error", "timeout")
