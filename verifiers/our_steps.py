"""The steps that come with us: ``verifiers.steps.STEPS`` names them."""

import math
import re
from collections.abc import Sequence

from pydantic import Field, model_validator

from configs.section import Section
from verifiers import selection
from verifiers.steps import Candidate, Filter, Selector

CUES = ("Wait", "Alternatively", "But", "Hmm", "However", "Actually")
"""Words with which a train of thought takes another branch. Ours: the paper's list is not known to
us."""

_CUE = re.compile(rf"\b(?:{'|'.join(CUES)})\b", re.IGNORECASE)


class MaxKeptSettings(Section):
    count: int = Field(gt=0)
    """Rollouts of a group that may be kept."""


class BranchySettings(Section):
    max: float | None = Field(default=None, ge=0)
    """Cues per 1000 tokens that are still allowed."""
    quantile: float | None = Field(default=None, gt=0, le=1)
    """Or: this quantile of what the run has seen."""

    @model_validator(mode="after")
    def _has_one_limit(self) -> "BranchySettings":
        if (self.max is None) == (self.quantile is None):
            raise ValueError("set one of max and quantile")
        return self


def cues_per_1000_tokens(candidate: Candidate) -> float:
    return 1000 * len(_CUE.findall(candidate.text)) / max(1, candidate.num_tokens)


def _first_of_each_text(candidates: Sequence[Candidate], settings: object) -> list[int]:
    first: dict[str, int] = {}
    for candidate in candidates:
        first.setdefault(candidate.text, candidate.sample)
    return list(first.values())


def _first(candidates: Sequence[Candidate], settings: MaxKeptSettings) -> list[int]:
    """By number: in the order of finishing, or of lengths, the short ones would be preferred."""
    return [candidate.sample for candidate in candidates[: settings.count]]


def _likeliest(candidates: Sequence[Candidate], settings: object) -> list[int]:
    scores = [[] if c.score is None else [c.score] for c in candidates]
    best = selection.grape(scores)
    return [] if best is None else [candidates[best].sample]


def _by_origin(candidates: Sequence[Candidate], settings: object) -> list[int]:
    origins = {candidate.origin for candidate in candidates}
    source = selection.s3ft(
        own_is_correct="self" in origins, paraphrase_is_correct="paraphrase" in origins
    )
    return [candidate.sample for candidate in candidates if candidate.origin == source]


DUPLICATE = Selector(choose=_first_of_each_text)
MAX_KEPT = Selector(choose=_first, settings=MaxKeptSettings, reads_text=False)
BRANCHY = Filter(
    value=lambda candidate, settings: cues_per_1000_tokens(candidate),
    limit=lambda settings: settings.max,
    quantile=lambda settings: settings.quantile,
    settings=BranchySettings,
)
GRAPE = Selector(
    choose=_likeliest,
    value=lambda candidate, settings: math.nan if candidate.score is None else candidate.score,
    reads_text=False,
)
S3FT = Selector(choose=_by_origin, reads_text=False)
