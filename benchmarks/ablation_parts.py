"""What the method forbids, for ablations that show why: parts by ``module:NAME``."""

from collections.abc import Sequence

from pydantic import Field

from actors.temperature import TemperaturePolicy
from configs.section import Section
from learner.objectives.advantages import Group
from learner.objectives.base import Objective, Term, View
from learner.objectives.sft import SftSettings, sft
from verifiers.rewards import Reward
from verifiers.types import Completion, Decision, Verdict
from verifiers.types import Group as Written


class Constant(Section):
    value: float = Field(default=1.0, gt=0)
    """The temperature from the second step on; a run begins at 1."""


CONSTANT = TemperaturePolicy(
    after=lambda before, entropy, settings: settings.value, settings=Constant
)

SFT_ANY_TEMPERATURE = Objective(terms=sft, settings=SftSettings, on_policy=False)
"""On-Policy SFT's loss, for samples that are not the policy's own."""


class Budget(Section):
    length: int = Field(default=120, gt=0)
    """L."""


def _right(
    completion: Completion, verdict: Verdict, decision: Decision, settings: Budget
) -> dict[str, float]:
    short = len(completion.token_ids) <= settings.length
    return {"right": float(verdict.status == "correct" and short)}


RIGHT_UNFINISHED_TOO = Reward(components=_right, settings=Budget)
"""Without the finish check: a response that was cut off behind its right answer counts."""


def right_alone(
    group: Written, verdicts: Sequence[Verdict], decisions: Sequence[Decision]
) -> list[list[float]]:
    """Tokens of responses that are not right leave the loss and its count."""
    return [
        [float(verdict.status == "correct")] * len(completion.token_ids)
        for completion, verdict in zip(group.completions, verdicts, strict=True)
    ]


def _rewards(group: Group, settings: object) -> list[float]:
    return list(group.rewards)


def _weighted(view: View, settings: object) -> list[Term]:
    assert view.advantages_N is not None
    return [Term(name="sft", tokens=view, losses_N=-view.advantages_N * view.logprobs_N)]


SFT_BY_REWARD = Objective(
    terms=_weighted,
    settings=SftSettings,
    needs=frozenset({"advantages"}),
    advantages=_rewards,
)
"""The same cross-entropy, of what a reward says instead of what the filter accepted."""
