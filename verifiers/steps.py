"""``filter.steps``: what a rollout must pass that is right, finished and within its budget.

Steps run in the order of the configuration; the first that rejects gives the reason. The value of
every step is kept for every finished rollout, whatever rejected it before, so that one can see what
another order or another limit would do. Pure: a judge and ``laconic replay`` call the same.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from configs.economy import HookConfig
from configs.errors import UserError
from configs.section import Section
from verifiers import plugins
from verifiers.filters import decide
from verifiers.types import Check, Completion, Decision, Origin, Status, Verdict

STEPS = {
    "duplicate": "verifiers.our_steps:DUPLICATE",
    "max_kept": "verifiers.our_steps:MAX_KEPT",
    "branchy": "verifiers.our_steps:BRANCHY",
    "grape": "verifiers.our_steps:GRAPE",
    "s3ft": "verifiers.our_steps:S3FT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a step knows of a rollout: only what is recorded, so that a replay knows it too."""

    sample: int
    """Its number in the group."""
    text: str
    num_tokens: int
    origin: Origin
    status: Status
    answer: str | None
    """That the judge found in it."""
    score: float | None
    """Mean log-probability of its tokens under the policy at the problem's own prompt."""


class NoSettings(Section):
    """Of a part without numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Looks at one rollout, which stays where its value is not above the limit."""

    value: Callable[[Candidate, Any], float]
    """From a rollout and the settings."""
    limit: Callable[[Any], float | None] = lambda settings: None
    """None: everything stays."""
    quantile: Callable[[Any], float | None] = lambda settings: None
    """Where not None, the limit is this quantile of the run's earlier values; before there are any,
    everything stays."""
    settings: type[Section] = NoSettings
    reads_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Looks at the candidates of a group, in the order of their numbers."""

    choose: Callable[[Sequence[Candidate], Any], Collection[int]]
    """The numbers of those that stay. It may be asked of any candidates, also of none."""
    value: Callable[[Candidate, Any], float] | None = None
    """What is recorded of each. None: 1 if it stays, else 0."""
    settings: type[Section] = NoSettings
    reads_text: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part with its name and its numbers."""

    name: str
    part: Filter | Selector
    settings: Any

    @property
    def quantile(self) -> float | None:
        """Of the run's values, where the limit follows them."""
        return self.part.quantile(self.settings) if isinstance(self.part, Filter) else None

    def checks(
        self, finished: Sequence[Candidate], staying: Sequence[Candidate], running: float | None
    ) -> list[Check]:
        """One for each finished rollout; ``staying`` are those that nothing rejected before."""
        with plugins.blamed(f"filter.steps {self.name!r}"):
            if isinstance(self.part, Filter):
                return [self._filtered(self.part, one, running) for one in finished]
            chosen = self._chosen(self.part, staying)
            return [self._selected(self.part, one, staying, chosen) for one in finished]

    def _filtered(self, part: Filter, one: Candidate, running: float | None) -> Check:
        value = float(part.value(one, self.settings))
        if math.isnan(value):
            raise ValueError("its value is not a number")
        limit = part.limit(self.settings) if self.quantile is None else running
        threshold = math.inf if limit is None else float(limit)
        return Check(name=self.name, passed=value <= threshold, value=value, threshold=threshold)

    def _chosen(self, part: Selector, candidates: Sequence[Candidate]) -> frozenset[int]:
        chosen = frozenset(part.choose(candidates, self.settings))
        unknown = chosen - {one.sample for one in candidates}
        if unknown:
            raise ValueError(f"it chose {sorted(unknown)}, which are no candidates")
        return chosen

    def _selected(
        self,
        part: Selector,
        one: Candidate,
        staying: Sequence[Candidate],
        chosen: frozenset[int],
    ) -> Check:
        """One that was rejected before passes if it would stay, were it among the candidates."""
        if one not in staying:
            with_it = sorted([*staying, one], key=lambda candidate: candidate.sample)
            passed = one.sample in self._chosen(part, with_it)
        else:
            passed = one.sample in chosen
        if part.value is None:
            return Check(name=self.name, passed=passed, value=float(passed), threshold=1.0)
        values = [part.value(other, self.settings) for other in staying if other.sample in chosen]
        return Check(
            name=self.name,
            passed=passed,
            value=float(part.value(one, self.settings)),
            threshold=min(values, default=math.nan),
        )


def bind_steps(hooks: Sequence[HookConfig]) -> tuple[Step, ...]:
    """Raises UserError, one line, for a name that means nothing and settings that do not fit."""
    steps = []
    for place, hook in enumerate(hooks):
        part = plugins.resolve("filter step", hook.use, STEPS)
        if not isinstance(part, Filter | Selector):
            raise UserError(
                f"filter step {hook.use!r} is no verifiers.steps.Filter and no Selector"
            )
        if any(step.name == hook.use for step in steps):
            raise UserError(
                f"filter.steps names {hook.use!r} twice: its name is the reason of a rejection; "
                "leave one out"
            )
        key = f"filter.steps.{place}.settings"
        settings = plugins.settings_of(key, hook.use, part.settings, hook.settings)
        steps.append(Step(name=hook.use, part=part, settings=settings))
    return tuple(steps)


def decide_group(
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict],
    budget: int,
    steps: Sequence[Step],
    limits: Mapping[str, float],
) -> tuple[Decision, ...]:
    """All decisions on a group: right, finished, within the budget, and every step passed."""
    decisions = [decide(c, v, budget) for c, v in zip(completions, verdicts, strict=True)]
    candidates = {
        sample: candidate_of(sample, completion, verdict)
        for sample, (completion, verdict) in enumerate(zip(completions, verdicts, strict=True))
        if completion.finish_reason == "stop"
    }
    return apply_steps(steps, candidates, decisions, limits)


def apply_steps(
    steps: Sequence[Step],
    finished: Mapping[int, Candidate],
    decisions: Sequence[Decision],
    limits: Mapping[str, float],
) -> tuple[Decision, ...]:
    """``finished``: by their numbers, which are their places among ``decisions``."""
    decided = list(decisions)
    for step in steps:
        staying = [one for sample, one in finished.items() if decided[sample].accepted]
        checks = step.checks(list(finished.values()), staying, limits.get(step.name))
        for sample, check in zip(finished, checks, strict=True):
            before = decided[sample]
            rejects = before.accepted and not check.passed
            decided[sample] = replace(
                before,
                reason=step.name if rejects else before.reason,
                checks=(*before.checks, check),
            )
    return tuple(decided)


def candidate_of(sample: int, completion: Completion, verdict: Verdict) -> Candidate:
    return Candidate(
        sample=sample,
        text=completion.text,
        num_tokens=len(completion.token_ids),
        origin=completion.origin,
        status=verdict.status,
        answer=verdict.extracted,
        score=_score(completion),
    )


def _score(completion: Completion) -> float | None:
    """Where nobody asked the engine again, what it said when it drew the policy's own tokens."""
    if completion.score is not None or completion.is_expert or not completion.logprobs:
        return completion.score
    return sum(completion.logprobs) / len(completion.logprobs)
