"""CHORD, arXiv 2508.11408: learning from own answers and, weighted, from an expert's, each with a
count of its own."""

import math
from collections.abc import Callable

from pydantic import Field
from torch import Tensor

from configs.schema import Section
from learner.objectives import advantages
from learner.objectives.base import Objective, Term, View
from learner.objectives.clipped import ClipBounds, clipped


class ChordSettings(Section):
    mu: float = Field(default=0.1, ge=0, le=1)
    """Share of the expert's term, and its peak. .1 as in the authors' code."""
    mu_valley: float = Field(default=0.1, ge=0, le=1)
    """Share it falls to. .1 as in the authors' code."""
    mu_warmup_steps: int = Field(default=0, ge=0)
    """Optimizer steps over which the share rises linearly to ``mu``. Ours."""
    mu_decay_steps: int = Field(default=0, ge=0)
    """Optimizer steps over which it then falls, as a cosine, to ``mu_valley``. 0: at once. Ours."""


class ChordGrpoSettings(ChordSettings, ClipBounds, advantages.GrpoAdvantage):
    pass


def mu_at(settings: ChordSettings, step: int) -> ChordSettings:
    """``mu`` as of a step, counted from 0: mu/w, 2mu/w, ..., mu, then along half a cosine down to
    the valley."""
    warmup, decay = settings.mu_warmup_steps, settings.mu_decay_steps
    if step < warmup:
        return settings.model_copy(update={"mu": settings.mu * (step + 1) / warmup})
    done = min((step - warmup) / decay, 1.0) if decay else 1.0
    share = (1 + math.cos(math.pi * done)) / 2
    mu = settings.mu_valley + (settings.mu - settings.mu_valley) * share
    return settings.model_copy(update={"mu": mu})


def chord(view: View, settings: ChordSettings) -> list[Term]:
    """(1 - mu) mean_own[-log p(y)] + mu mean_expert[phi (-log p(y))], phi = sg[p(y) (1 - p(y))].

    On-Policy SFT in the place of CHORD's GRPO: ours."""
    return _mixture(view, settings.mu, lambda own: -own.logprobs_N)


def chord_grpo(view: View, settings: ChordGrpoSettings) -> list[Term]:
    """(1 - mu) mean_own[clipped surrogate] + mu mean_expert[phi (-log p(y))]."""

    def policy(own: View) -> Tensor:
        assert own.advantages_N is not None
        return clipped(own, own.advantages_N, settings)

    return _mixture(view, settings.mu, policy)


def _mixture(view: View, mu: float, losses: Callable[[View], Tensor]) -> list[Term]:
    assert view.is_expert_N is not None
    own, expert = view.only(~view.is_expert_N), view.only(view.is_expert_N)
    logprobs_N = expert.logprobs_N
    p_N = logprobs_N.detach().exp()
    weighted_N = p_N * (1 - p_N) * -logprobs_N
    return [
        Term(name="own", tokens=own, losses_N=losses(own), coefficient=1 - mu, over="own"),
        Term(name="expert", tokens=expert, losses_N=weighted_N, coefficient=mu, over="expert"),
    ]


CHORD = Objective(
    terms=chord, settings=ChordSettings, needs=frozenset({"expert_batch"}), at_step=mu_at
)
CHORD_GRPO = Objective(
    terms=chord_grpo,
    settings=ChordGrpoSettings,
    needs=frozenset({"expert_batch", "advantages", "old_logprobs"}),
    on_policy=False,
    advantages=advantages.grpo,
    at_step=mu_at,
)
