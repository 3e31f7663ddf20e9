"""The temperature that groups are written at, for objectives that allow another one than 1.

``entropy`` is AceReason-Nemotron 1.1's rule of thumb, arXiv 2506.13284: what is sampled is held at
an entropy of 0.3 nats a token.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from configs.economy import HookConfig
from configs.errors import UserError
from configs.section import Section
from verifiers import plugins
from verifiers.types import GroupOutcome

TEMPERATURES = {"entropy": "actors.temperature:ENTROPY"}
START = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperaturePolicy:
    after: Callable[[float, float, Any], float]
    """The temperature after a step, from the one before, from the entropy in nats a token of what
    the step's groups drew, and from these settings."""
    settings: type[Section]
    """Its numbers and their documentation."""


class EntropySettings(Section):
    target: float = Field(default=0.3, gt=0)
    """Nats a token."""

    rate: float = Field(default=0.1, gt=0)
    """Change of the temperature's logarithm for each nat that the entropy is off, at every step."""

    low: float = Field(default=0.5, gt=0)
    """Lowest temperature."""

    high: float = Field(default=1.5, gt=0)
    """Highest temperature."""

    @model_validator(mode="after")
    def _starts_inside(self) -> "EntropySettings":
        if not self.low <= START <= self.high:
            raise ValueError(
                f"low {self.low} and high {self.high} must have 1, where a run begins, between them"
            )
        return self


def towards_target(temperature: float, entropy: float, settings: EntropySettings) -> float:
    """T exp(rate (target - H)), between ``low`` and ``high``."""
    moved = temperature * math.exp(settings.rate * (settings.target - entropy))
    return min(max(moved, settings.low), settings.high)


ENTROPY = TemperaturePolicy(after=towards_target, settings=EntropySettings)


class Temperature:
    """``value`` is for the next ticket. Without a policy it stays 1."""

    def __init__(self, config: HookConfig | None) -> None:
        """Raises UserError, one line, for what is unknown or cannot be set."""
        self.value = START
        self._policy = None if config is None else _bind(config)

    def learn(self, groups: Sequence[GroupOutcome]) -> None:
        """The groups of one step."""
        entropy = entropy_of(groups)
        if self._policy is not None and entropy is not None:
            self.value = self._policy(self.value, entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """A policy with its numbers."""

    name: str
    policy: TemperaturePolicy
    settings: Section

    def __call__(self, temperature: float, entropy: float) -> float:
        with plugins.blamed(f"sampling.policy {self.name!r}"):
            after = self.policy.after(temperature, entropy, self.settings)
        if not 0 < after < math.inf:
            raise UserError(
                f"sampling.policy={self.name} gave the temperature {after!r} at the entropy "
                f"{entropy:g}; it must be above 0 and finite"
            )
        return after


def _bind(config: HookConfig) -> _Bound:
    policy = plugins.resolve("sampling.policy", config.use, TEMPERATURES)
    if not isinstance(policy, TemperaturePolicy):
        raise UserError(
            f"sampling.policy {config.use!r} is no actors.temperature.TemperaturePolicy"
        )
    settings = plugins.settings_of(
        "sampling.policy.settings", config.use, policy.settings, config.settings
    )
    return _Bound(name=config.use, policy=policy, settings=settings)


def entropy_of(groups: Sequence[GroupOutcome]) -> float | None:
    """Nats a token: the mean of -log p over what was drawn. None: nobody knows."""
    total, num_tokens = 0.0, 0
    for group in groups:
        if group.logprob_mean is not None and math.isfinite(group.logprob_mean):
            drawn = sum(o.num_tokens for o in group.outcomes if not o.is_expert)
            total -= drawn * group.logprob_mean
            num_tokens += drawn
    return total / num_tokens if num_tokens else None
