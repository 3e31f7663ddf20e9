"""How likely a problem is to be asked when its turn comes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.visits import Known
from configs.economy import CurriculumConfig
from configs.errors import UserError
from configs.section import Section
from verifiers import plugins

POLICIES = {"band": "actors.problem_policy:BAND"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    probability: Callable[[Known, Any], float]
    """Of asking a problem, from what is known of it and these settings: above 0, at most 1."""
    settings: type[Section]
    """Its numbers and their documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPolicy:
    """A policy with its numbers."""

    name: str
    policy: Policy
    settings: Section

    def __call__(self, problem_id: str, known: Known) -> float:
        with plugins.blamed(f"curriculum.policy {self.name!r}"):
            probability = self.policy.probability(known, self.settings)
        if not 0 < probability <= 1:
            raise UserError(
                f"curriculum.policy={self.name} gave problem {problem_id!r} the probability "
                f"{probability!r}; it must be above 0 and at most 1"
            )
        return probability


def bind_policy(config: CurriculumConfig) -> BoundPolicy:
    """Raises UserError, one line, for what is unknown or cannot be set."""
    policy = plugins.resolve("curriculum.policy", config.policy, POLICIES)
    if not isinstance(policy, Policy):
        raise UserError(f"curriculum.policy {config.policy!r} is no actors.problem_policy.Policy")
    if policy is not BAND:
        key = "curriculum.policy_settings"
        numbers = plugins.settings_of(key, config.policy, policy.settings, config.policy_settings)
        return BoundPolicy(name=config.policy, policy=policy, settings=numbers)
    if config.policy_settings:
        raise UserError(
            f"curriculum.policy_settings={dict(config.policy_settings)} is for a policy of your "
            "own; band has curriculum.band, memory, revisit and revisit_floor"
        )
    return BoundPolicy(name=config.policy, policy=policy, settings=config)


def band(known: Known, settings: CurriculumConfig) -> float:
    """1 inside the band and where nothing is known; less with every visit outside it."""
    if known.outside == 0:
        return 1.0
    return max(settings.revisit_floor, settings.revisit**known.outside)


BAND = Policy(probability=band, settings=CurriculumConfig)
