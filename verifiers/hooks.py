"""From verdicts to what is kept and what it counts: the parts that ``filter`` names, together."""

from collections.abc import Sequence
from dataclasses import dataclass

from configs.schema import FilterConfig
from verifiers.filters import is_judged
from verifiers.rewards import BoundReward, bind_reward
from verifiers.steps import Step, bind_steps, decide_group
from verifiers.token_weights import Weigher, bind_token_weights
from verifiers.types import Decision, Group, JudgedGroup, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    steps: tuple[Step, ...]
    reward: BoundReward | None
    weigh: Weigher | None


def bind_hooks(config: FilterConfig) -> Hooks:
    """Raises UserError, one line, for whatever cannot be used."""
    return Hooks(
        steps=bind_steps(config.steps),
        reward=bind_reward(config.reward) if config.reward is not None else None,
        weigh=bind_token_weights(config),
    )


def judged_group(group: Group, verdicts: Sequence[Verdict], hooks: Hooks) -> JudgedGroup:
    """Decisions, then rewards and weights. Pure, as far as somebody's own parts are."""
    ticket = group.ticket
    decisions = decide_group(
        group.completions, verdicts, ticket.budget, hooks.steps, dict(ticket.limits)
    )
    return JudgedGroup(
        group=group,
        verdicts=tuple(verdicts),
        decisions=decisions,
        weights=hooks.weigh(group, verdicts, decisions) if hooks.weigh is not None else (),
        rewards=_rewards(group, verdicts, decisions, hooks.reward),
    )


def _rewards(
    group: Group,
    verdicts: Sequence[Verdict],
    decisions: Sequence[Decision],
    reward: BoundReward | None,
) -> tuple[dict[str, float], ...]:
    """Nothing for a rollout that nobody judged: the learner never gets it."""
    if reward is None:
        return ()
    rows = zip(group.completions, verdicts, decisions, strict=True)
    return tuple(reward(c, v, d) if is_judged(c, v) else {} for c, v, d in rows)
