"""Whether a model is still as right as the one that the run began with, and what is known to be.

A look asks both models the same problems. What counts is the difference problem by problem: what
one problem is harder than another then adds nothing to the uncertainty.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist, fmean
from typing import Any, Literal

from configs.guardrail import GuardrailConfig
from evaluation.summary import is_right
from verifiers.types import EvalSample

Step = Literal["go_on", "pause", "resume", "go_back", "end"]
"""What a look comes to."""

Shares = Mapping[str, float]
"""By problem: the share of its responses that was right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look saw."""

    version: int
    problems: int
    accuracy: float
    base: float
    """Accuracy of the first model on the same problems."""
    at_best: float
    """Upper end of the one-sided interval of the difference."""
    is_breach: bool

    def __str__(self) -> str:
        return (
            f"{100 * self.accuracy:.1f} % of {self.problems} probe problems, "
            f"{100 * self.base:.1f} % before training: a difference of at best "
            f"{100 * self.at_best:+.1f} points"
        )


def shares_right(samples: Sequence[EvalSample]) -> dict[str, float]:
    rights: dict[str, list[float]] = {}
    for sample in samples:
        rights.setdefault(sample.problem_id, []).append(float(is_right(sample)))
    return {problem: fmean(right) for problem, right in rights.items()}


def upper_bound(differences: Sequence[float], confidence: float) -> float:
    """One-sided upper bound of the mean of values between -1 and 1.

    Wald's interval with half an observation of each sign and one of no difference added (Agresti
    and Min's for paired proportions): it has a width also where all differences are the same, and
    keeps its level for few problems, where a bootstrap is too sure.
    """
    count = len(differences) + 2
    mean = sum(differences) / count
    square = (sum(difference**2 for difference in differences) + 1) / count
    deviation = math.sqrt(max(square - mean**2, 0.0) / count)
    return mean + NormalDist().inv_cdf(confidence) * deviation


@dataclass(slots=True)
class Guardrail:
    """Judges version after version; plain values, so that it can be kept in a file."""

    config: GuardrailConfig
    base: dict[str, float] = field(default_factory=dict)
    """Of the first model. Empty: nobody has looked yet."""
    good: list[int] = field(default_factory=list)
    """Versions that no look found worse, in their order; version 0 by definition."""
    num_looks: int = 0
    num_breaches: int = 0
    num_rollbacks: int = 0
    is_over: bool = False
    """The run ended because of what was seen."""
    is_paused: bool = False

    @property
    def is_on(self) -> bool:
        return self.config.every > 0

    def is_point(self, version: int) -> bool:
        """Whether this version is to be looked at, and a checkpoint of it made."""
        return self.is_on and version % self.config.every == 0

    def look(self, version: int, shares: Shares) -> tuple[Look, Step]:
        """The first look is at the model that is the measure of all others."""
        if not self.base:
            self.base = dict(shares)
        assert shares.keys() == self.base.keys(), "the same problems at every look"
        differences = [share - self.base[problem] for problem, share in shares.items()]
        at_best = upper_bound(differences, self.config.confidence)
        look = Look(
            version=version,
            problems=len(shares),
            accuracy=fmean(shares.values()),
            base=fmean(self.base.values()),
            at_best=at_best,
            is_breach=at_best < -self.config.margin,
        )
        return look, self._next(look)

    def is_good(self, version: int) -> None:
        """Looked at, or the same weights as one that was."""
        if version not in self.good:
            self.good.append(version)

    def forget_after(self, step: int) -> None:
        """Steps after it are taken again."""
        self.good = [version for version in self.good if version <= step]

    def _next(self, look: Look) -> Step:
        self.num_looks += 1
        if not look.is_breach:
            self.is_good(look.version)
            was_paused, self.is_paused = self.is_paused, False
            return "resume" if was_paused else "go_on"
        self.num_breaches += 1
        self.is_paused = True
        if self.config.action == "pause":
            return "pause"
        if self.config.action == "stop" or self.num_rollbacks >= self.config.rollbacks:
            self.is_over = True
            return "end"
        self.num_rollbacks += 1
        return "go_back"

    def state(self) -> dict[str, Any]:
        """For JSON."""
        values = asdict(self)
        del values["config"]
        return values

    @classmethod
    def restored(cls, config: GuardrailConfig, state: Mapping[str, Any]) -> "Guardrail":
        return cls(config=config, **state)
