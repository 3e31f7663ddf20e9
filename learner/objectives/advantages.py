"""From the rewards of a group, which are all rollouts of one problem, to their advantages.

Pure and without tensors. Where all rewards are equal every advantage is exactly 0.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from configs.schema import Section

Level = Literal["short", "moderate", "long"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All rollouts of one problem, the rejected ones too."""

    rewards: tuple[float, ...]
    """1 for a correct answer, 0 otherwise, or any other finite score."""
    lengths: tuple[int, ...]
    """Response tokens, the end token included."""
    levels: tuple[Level, ...] = ()
    """The length that each rollout's prompt asked for; TLDR only. Empty: ``TldrAdvantage.level``
    for all."""


class GrpoAdvantage(Section):
    std: Literal["unbiased", "biased"] = "unbiased"
    """Divisor of the variance: G - 1, as torch.std has it, or G."""
    eps: float = Field(default=1e-6, gt=0)
    """Added to the standard deviation. Ours: published code has 1e-4 to 1e-8."""


class DapoAdvantage(GrpoAdvantage):
    max_length: int = Field(default=20480, gt=0)
    """L_max: response tokens at which the penalty reaches ``overlong_factor``. It grows beyond."""
    overlong_cache: int = Field(default=4096, gt=0)
    """Tokens before L_max over which the penalty rises from 0."""
    overlong_factor: float = Field(default=1.0, ge=0)
    """Penalty at L_max."""

    @model_validator(mode="after")
    def _cache_fits(self) -> "DapoAdvantage":
        if self.overlong_cache > self.max_length:
            raise ValueError(
                f"overlong_cache {self.overlong_cache} is above max_length {self.max_length}"
            )
        return self


class TldrAdvantage(GrpoAdvantage):
    """The published form of the penalty was not found: this one, and every number, is ours."""

    level: Level = "moderate"
    """The length that prompts ask for where they do not say it one by one. Ours."""
    penalty_short: float = Field(default=0.6, ge=0, lt=1)
    """alpha where the prompt asks for a short answer. Below 1: correct always beats wrong. Ours."""
    penalty_moderate: float = Field(default=0.3, ge=0, lt=1)
    """alpha where it asks for a moderate one. Ours."""
    penalty_long: float = Field(default=0.1, ge=0, lt=1)
    """alpha where it asks for a long one. Ours."""
    max_length: int = Field(default=3500, gt=0)
    """L_max: response tokens from which the penalty is all of alpha. Ours."""

    @model_validator(mode="after")
    def _shorter_costs_more(self) -> "TldrAdvantage":
        if not self.penalty_long < self.penalty_moderate < self.penalty_short:
            raise ValueError("penalty_long < penalty_moderate < penalty_short must hold")
        return self


def grpo(group: Group, settings: GrpoAdvantage) -> list[float]:
    """A_i = (r_i - mean r) / (std r + eps)."""
    return _normalized(group.rewards, settings)


def dr_grpo(group: Group, settings: object = None) -> list[float]:
    """A_i = r_i - mean r: no standard deviation, which favours very easy and very hard problems."""
    return _centred(group.rewards)


def dapo(group: Group, settings: DapoAdvantage) -> list[float]:
    """GRPO's advantage of r_i + soft_overlong(|o_i|)."""
    pairs = zip(group.rewards, group.lengths, strict=True)
    shaped = [reward + soft_overlong(length, settings) for reward, length in pairs]
    return _normalized(shaped, settings)


def tldr(group: Group, settings: TldrAdvantage) -> list[float]:
    """GRPO's advantage of tldr_reward."""
    levels = group.levels or (settings.level,) * len(group.rewards)
    rollouts = zip(group.rewards, group.lengths, levels, strict=True)
    shaped = [tldr_reward(*rollout, settings) for rollout in rollouts]
    return _normalized(shaped, settings)


def soft_overlong(length: int, settings: DapoAdvantage) -> float:
    """min(-(length - (L_max - cache)) / cache * factor, 0)."""
    excess = length - (settings.max_length - settings.overlong_cache)
    return -max(excess, 0) / settings.overlong_cache * settings.overlong_factor


def tldr_reward(reward: float, length: int, level: Level, settings: TldrAdvantage) -> float:
    """r - alpha_level min(length / L_max, 1) if r > 0, else r. A wrong answer pays nothing: it
    would teach short wrong answers where all are wrong."""
    if reward <= 0:
        return reward
    alphas = {
        "short": settings.penalty_short,
        "moderate": settings.penalty_moderate,
        "long": settings.penalty_long,
    }
    return reward - alphas[level] * min(length / settings.max_length, 1.0)


_DEVIATION: dict[str, Callable[[Sequence[float]], float]] = {
    "unbiased": statistics.stdev,
    "biased": statistics.pstdev,
}


def _normalized(rewards: Sequence[float], settings: GrpoAdvantage) -> list[float]:
    centred = _centred(rewards)
    if not any(centred):
        return centred
    scale = _DEVIATION[settings.std](rewards) + settings.eps
    return [value / scale for value in centred]


def _centred(rewards: Sequence[float]) -> list[float]:
    if len(set(rewards)) <= 1:  # rounding of the mean must not make a difference of nothing
        return [0.0] * len(rewards)
    mean = statistics.fmean(rewards)
    return [reward - mean for reward in rewards]
