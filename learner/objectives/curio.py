"""CurioSFT, arXiv 2602.02244: cross-entropy, and a pull towards a copy of the model whose
temperature is raised, token by token, until it is as curious as wanted."""

import torch
from pydantic import Field, model_validator
from torch import Tensor

from configs.schema import Section
from learner.objectives.base import Objective, Term, View
from learner.objectives.distribution import entropy, log_probs


class CurioSettings(Section):
    """The numbers are those of the authors' code."""

    pull: float = Field(default=1.0, ge=0)
    """a, weight of the squared difference of log-probabilities."""
    tau_min: float = Field(default=1.1, gt=0)
    """Lowest temperature of the teacher, and the one where it is sure."""
    tau_max: float = Field(default=1.5, gt=0)
    """Highest temperature of the teacher."""
    sure_below: float = Field(default=0.03, ge=0)
    """Entropy in nats up to which the teacher counts as sure."""
    top_words: int = Field(default=512, gt=1)
    """Likeliest words over which the temperature is searched."""
    iterations: int = Field(default=20, gt=0)
    """Halvings of the interval of temperatures."""

    @model_validator(mode="after")
    def _interval_is_one(self) -> "CurioSettings":
        if self.tau_min > self.tau_max:
            raise ValueError(f"tau_min {self.tau_min} is above tau_max {self.tau_max}")
        return self


def curio(view: View, settings: CurioSettings) -> list[Term]:
    """-log p(y) + a/2 (log p(y) - sg[log p_T,tau(y)])^2, p_T,tau = softmax(z_T / tau)."""
    assert view.teacher_logits_NV is not None
    teacher_N = _teacher_logprobs(view.teacher_logits_NV.detach(), view.targets_N, settings)
    logprobs_N = view.logprobs_N
    losses_N = -logprobs_N + settings.pull / 2 * (logprobs_N - teacher_N) ** 2
    return [Term(name="curio", tokens=view, losses_N=losses_N)]


def wanted_entropy(entropy_N: Tensor) -> Tensor:
    """H* = H + .5 sigmoid(2 (H - 1.2)): the less sure the teacher is, the more is added."""
    return entropy_N + 0.5 * torch.sigmoid(2 * (entropy_N - 1.2))


def temperatures(teacher_NV: Tensor, settings: CurioSettings) -> Tensor:
    """tau in [tau_min, tau_max] whose entropy is nearest to H*, by bisection; entropy rises with
    tau. Both are of the likeliest words alone; whether the teacher is sure is asked of all."""
    top_NK = teacher_NV.topk(min(settings.top_words, teacher_NV.shape[-1]), dim=-1).values
    wanted_N = wanted_entropy(entropy(top_NK))
    low_N = torch.full_like(wanted_N, settings.tau_min)
    high_N = torch.full_like(wanted_N, settings.tau_max)
    for _ in range(settings.iterations):
        middle_N = (low_N + high_N) / 2
        too_sure_N = entropy(top_NK / middle_N[:, None]) < wanted_N
        low_N = torch.where(too_sure_N, middle_N, low_N)
        high_N = torch.where(too_sure_N, high_N, middle_N)
    sure_N = entropy(teacher_NV) <= settings.sure_below
    return torch.where(sure_N, settings.tau_min, (low_N + high_N) / 2)


@torch.no_grad()
def _teacher_logprobs(teacher_NV: Tensor, targets_N: Tensor, settings: CurioSettings) -> Tensor:
    tau_N = temperatures(teacher_NV, settings)
    return log_probs(teacher_NV / tau_N[:, None]).gather(-1, targets_N[:, None])[:, 0]


CURIO = Objective(
    terms=curio, settings=CurioSettings, needs=frozenset({"teacher_logits"}), on_policy=False
)
