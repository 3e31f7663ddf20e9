"""From a judged group to what the queue keeps of it. Pure.

Accepted rollouts go to the learner with reward 1, or with what ``filter.reward`` made of them. An
objective that compares the rollouts of a group also gets the rejected ones, with reward 0 or their
own: those that were really judged and that the policy wrote itself.
"""

from collections.abc import Collection

from verifiers.filters import is_judged
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


def settlement_of(
    judged: JudgedGroup,
    *,
    keep_rejected: bool,
    reweight: bool = False,
    measured: Collection[str] = (),
) -> Settlement:
    """The fate of every completion, and the tokens of those that the learner gets.

    ``reweight``: divide what a rollout counts by the probability that it was written. ``measured``:
    filters whose values the run follows.
    """
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
                measures=_measures(decision, measured),
            )
        )
        if decision.accepted or (keep_rejected and _teaches(completion, verdict)):
            rollouts.append(_rollout(judged, sample, name, reweight))
    return Settlement(
        ticket=ticket.number,
        attempt=ticket.attempt,
        outcomes=tuple(outcomes),
        rollouts=tuple(rollouts),
        logprob_mean=_logprob_mean(judged.group),
    )


def total_reward(judged: JudgedGroup, sample: int) -> float:
    if judged.rewards:
        return sum(judged.rewards[sample].values())
    return float(judged.decisions[sample].accepted)


def _rollout(judged: JudgedGroup, sample: int, name: str, reweight: bool) -> Rollout:
    completion, ticket = judged.group.completions[sample], judged.group.ticket
    problem = ticket.problem
    return Rollout(
        id=name,
        prompt_ids=problem.prompt_ids,
        response_ids=completion.token_ids,
        first_version=completion.first_version,
        last_version=completion.last_version,
        is_accepted=judged.decisions[sample].accepted,
        reward=total_reward(judged, sample),
        weight=1 / (ticket.propensity * completion.propensity) if reweight else 1.0,
        level=ticket.level,
        is_expert=completion.is_expert,
        logprobs=completion.logprobs,
        weights=judged.weights[sample] if judged.weights else (),
        teacher_prompt_ids=problem.teacher_prompt_ids,
    )


def _measures(decision: Decision, names: Collection[str]) -> tuple[tuple[str, float], ...]:
    return tuple((check.name, check.value) for check in decision.checks if check.name in names)


def _logprob_mean(group: Group) -> float | None:
    """An expert's tokens were not drawn, or at another prompt."""
    drawn = [logprob for c in group.completions if not c.is_expert for logprob in c.logprobs]
    return sum(drawn) / len(drawn) if drawn else None


def _teaches(completion: Completion, verdict: Verdict) -> bool:
    """A rejected response teaches what not to write; an expert's was nobody's own choice."""
    return is_judged(completion, verdict) and not completion.is_expert
