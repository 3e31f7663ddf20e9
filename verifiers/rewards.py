"""``filter.reward``: what an objective of whole groups gets for a rollout, in named parts."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from configs.economy import HookConfig
from configs.errors import UserError
from configs.section import Section
from verifiers import plugins
from verifiers.steps import NoSettings
from verifiers.types import Completion, Decision, Verdict

REWARDS = {"scores": "verifiers.rewards:SCORES"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    components: Callable[[Completion, Verdict, Decision, Any], dict[str, float]]
    """By name, from the settings too; the reward is their sum. Pure."""
    settings: type[Section] = NoSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundReward:
    """A reward with its name and its numbers."""

    name: str
    reward: Reward
    settings: Any

    def __call__(
        self, completion: Completion, verdict: Verdict, decision: Decision
    ) -> dict[str, float]:
        with plugins.blamed(f"filter.reward {self.name!r}"):
            found = self.reward.components(completion, verdict, decision, self.settings)
            components = {name: float(value) for name, value in found.items()}
            bad = [name for name, value in components.items() if not math.isfinite(value)]
            if bad:
                raise ValueError(f"{', '.join(bad)} is not finite")
            return components


def bind_reward(hook: HookConfig) -> BoundReward:
    """Raises UserError, one line."""
    reward = plugins.resolve("filter.reward", hook.use, REWARDS)
    if not isinstance(reward, Reward):
        raise UserError(f"filter.reward {hook.use!r} is no verifiers.rewards.Reward")
    settings = plugins.settings_of(
        "filter.reward.settings", hook.use, reward.settings, hook.settings
    )
    return BoundReward(name=hook.use, reward=reward, settings=settings)


def _scores(
    completion: Completion, verdict: Verdict, decision: Decision, settings: object
) -> dict[str, float]:
    """The mean of what a judge of several criteria gave; of another judge, 1 if it was accepted."""
    if not verdict.scores:
        return {"accepted": float(decision.accepted)}
    return {name: score / len(verdict.scores) for name, score in verdict.scores.items()}


SCORES = Reward(components=_scores)
