"""Parts of somebody's own, good and bad ones, as ``module:NAME`` finds them."""

from collections.abc import Sequence

from pydantic import Field

from configs.section import Section
from verifiers.rewards import Reward
from verifiers.steps import Candidate, Filter, Selector
from verifiers.types import Completion, Decision, Group, Verdict


class WordSettings(Section):
    most: int = Field(gt=0)


WORDY = Filter(
    value=lambda candidate, settings: len(candidate.text.split()),
    limit=lambda settings: settings.most,
    settings=WordSettings,
)
NO_NUMBER = Filter(value=lambda candidate, settings: float("nan"))
STRANGER = Selector(choose=lambda candidates, settings: [99])
NOTHING_OF_OURS = "a string"


def _fails(candidate: Candidate, settings: object) -> float:
    raise KeyError("a bug")


FAILS = Filter(value=_fails)


class BonusSettings(Section):
    bonus: float = 0.5


def _with_bonus(
    completion: Completion, verdict: Verdict, decision: Decision, settings: BonusSettings
) -> dict[str, float]:
    short = settings.bonus if len(completion.token_ids) < 5 else 0.0
    return {"right": float(verdict.status == "correct"), "short": short}


BONUS = Reward(components=_with_bonus, settings=BonusSettings)
ENDLESS = Reward(components=lambda *known: {"a": 1.0, "b": float("inf")})


def first_tokens(
    group: Group, verdicts: Sequence[Verdict], decisions: Sequence[Decision]
) -> list[list[float]]:
    """0 for the first token of what was accepted, 1 for the others."""
    return [
        [0.0] + [1.0] * (len(completion.token_ids) - 1) if decision.accepted else []
        for completion, decision in zip(group.completions, decisions, strict=True)
    ]


def too_few(
    group: Group, verdicts: Sequence[Verdict], decisions: Sequence[Decision]
) -> list[list[float]]:
    return [[1.0] for _ in group.completions]


def below_nothing(
    group: Group, verdicts: Sequence[Verdict], decisions: Sequence[Decision]
) -> list[list[float]]:
    return [[-1.0] * len(completion.token_ids) for completion in group.completions]


def for_nobody(
    group: Group, verdicts: Sequence[Verdict], decisions: Sequence[Decision]
) -> list[list[float]]:
    return []
