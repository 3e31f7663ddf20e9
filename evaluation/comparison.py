"""Two models on the same problems: paired tests, and which answers changed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from evaluation.figures import Answers, by_problem
from evaluation.intervals import bootstrap, bootstrap_ratio, mcnemar_p, sign_flip_p
from evaluation.summary import is_right
from verifiers.types import EvalSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A problem whose answer changed sides: of several responses, more than half are right."""

    problem_id: str
    change: Literal["right to wrong", "wrong to right"]
    base: EvalSample
    other: EvalSample
    """Of each model a response that shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """``other`` beside ``base``; intervals are at 95 %, over problems."""

    problems: int
    """On both sides; no other counts."""
    base_only: int
    other_only: int
    base_accuracy: float
    other_accuracy: float
    accuracy_change: float
    accuracy_change_ci: tuple[float, float]
    accuracy_p: float
    """By flipping the sign of each problem's difference."""
    base_tokens: float
    other_tokens: float
    tokens_ratio: float
    tokens_ratio_ci: tuple[float, float]
    tokens_p: float
    gained: int
    """Problems that became right, more than half of the responses."""
    lost: int
    mcnemar_p: float
    """Whether gained and lost may be as many, by that same half."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    base: Sequence[EvalSample], other: Sequence[EvalSample]
) -> tuple[Paired, list[Flip]] | None:
    """None: they have no problem in common."""
    left, right = _answers(base), _answers(other)
    both = [id for id in left if id in right]
    if not both:
        return None
    accuracy = np.array([[np.mean(side[id].right) for side in (left, right)] for id in both])
    tokens = np.array([[np.mean(side[id].num_tokens) for side in (left, right)] for id in both])
    flips = [flip for id in both if (flip := _flip(left[id], right[id])) is not None]
    gained = sum(flip.change == "wrong to right" for flip in flips)
    change, longer = accuracy[:, 1] - accuracy[:, 0], tokens[:, 1] - tokens[:, 0]
    paired = Paired(
        problems=len(both),
        base_only=len(left) - len(both),
        other_only=len(right) - len(both),
        base_accuracy=float(accuracy[:, 0].mean()),
        other_accuracy=float(accuracy[:, 1].mean()),
        accuracy_change=float(change.mean()),
        accuracy_change_ci=bootstrap(change),
        accuracy_p=sign_flip_p(change),
        base_tokens=float(tokens[:, 0].mean()),
        other_tokens=float(tokens[:, 1].mean()),
        tokens_ratio=float(tokens[:, 1].mean() / tokens[:, 0].mean()),
        tokens_ratio_ci=bootstrap_ratio(tokens[:, 1], tokens[:, 0]),
        tokens_p=sign_flip_p(longer),
        gained=gained,
        lost=len(flips) - gained,
        mcnemar_p=mcnemar_p(gained, len(flips) - gained),
    )
    return paired, flips


def flip_row(flip: Flip, problem: Mapping[str, Any] | None) -> dict[str, Any]:
    """A line of ``flips.jsonl``, with the texts."""
    row: dict[str, Any] = {"problem_id": flip.problem_id, "change": flip.change}
    if problem is not None:
        row |= {"problem": problem["text"], "gold": problem["gold"]}
    for side, sample in (("base", flip.base), ("other", flip.other)):
        row[side] = {
            "verdict": sample.status,
            "finish_reason": sample.finish_reason,
            "answer": sample.extracted,
            "tokens": sample.num_tokens,
            "text": sample.text,
        }
    return row


def _answers(samples: Sequence[EvalSample]) -> dict[str, Answers]:
    return {answers.problem_id: answers for answers in by_problem(samples)}


def _flip(base: Answers, other: Answers) -> Flip | None:
    was, now = (np.mean(side.right) > 0.5 for side in (base, other))
    if was == now:
        return None
    return Flip(
        problem_id=base.problem_id,
        change="right to wrong" if was else "wrong to right",
        base=_showing(base, bool(was)),
        other=_showing(other, bool(now)),
    )


def _showing(answers: Answers, right: bool) -> EvalSample:
    return next(sample for sample in answers.samples if is_right(sample) == right)
