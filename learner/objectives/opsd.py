"""On-policy self-distillation: on the student's own answers, towards the same model that sees more
(a solution, or the wish to be concise), arXiv 2601.18734, 2605.06188 and 2603.05433."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from configs.schema import Section
from learner.objectives.base import Objective, Term, View
from learner.objectives.distribution import jsd, kl, kl_entries, log_probs


class OpsdSettings(Section):
    divergence: Literal["reverse_kl", "forward_kl", "clipped_forward_kl", "jsd", "sampled"] = (
        "reverse_kl"
    )
    """What is made small. Forward KL collapsed with a teacher that is refreshed; clipped, with a
    frozen teacher, it was the best of OPSD's own."""
    clip: float = Field(default=0.05, gt=0)
    """tau of ``clipped_forward_kl``: the most that one word may add. OPSD's v3 has .05."""
    beta: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher in the mixture of ``jsd``. 0 means forward and 1 reverse KL, as in the
    authors' code, though the formula's limit is 0."""


def opsd(view: View, settings: OpsdSettings) -> list[Term]:
    """With p_T of the teacher, which gets no gradient, and p_S of the student, at each token

    reverse_kl:         sum_v p_S log(p_S / p_T)
    forward_kl:         sum_v p_T log(p_T / p_S)
    clipped_forward_kl: sum_v min(p_T log(p_T / p_S), tau), which may be negative
    jsd:                beta KL(p_T || m) + (1 - beta) KL(p_S || m), m = beta p_T + (1 - beta) p_S
    sampled:            -A log p_S(y), A = sg[log p_T(y) - log p_S(y)]; its gradient is that of
                        reverse_kl in the mean over y ~ p_S
    """
    assert view.teacher_logits_NV is not None
    student_NV = log_probs(view.logits_NV)
    teacher_NV = log_probs(view.teacher_logits_NV.detach())
    if settings.divergence == "sampled":
        losses_N = _sampled(student_NV, teacher_NV, view.targets_N)
    else:
        losses_N = _full(student_NV, teacher_NV, settings)
    return [Term(name="opsd", tokens=view, losses_N=losses_N)]


def _full(student_NV: Tensor, teacher_NV: Tensor, settings: OpsdSettings) -> Tensor:
    kind, beta = settings.divergence, settings.beta
    if kind == "clipped_forward_kl":
        return kl_entries(teacher_NV, student_NV).clamp(max=settings.clip).sum(-1)
    if kind == "forward_kl" or (kind == "jsd" and beta == 0):
        return kl(teacher_NV, student_NV)
    if kind == "reverse_kl" or beta == 1:
        return kl(student_NV, teacher_NV)
    return jsd(teacher_NV, student_NV, beta)


def _sampled(student_NV: Tensor, teacher_NV: Tensor, targets_N: Tensor) -> Tensor:
    student_N = student_NV.gather(-1, targets_N[:, None])[:, 0]
    teacher_N = teacher_NV.gather(-1, targets_N[:, None])[:, 0]
    return -(teacher_N - student_N).detach() * student_N


OPSD = Objective(terms=opsd, settings=OpsdSettings, needs=frozenset({"teacher_logits"}))
