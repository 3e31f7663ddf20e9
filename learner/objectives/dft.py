"""Cross-entropy scaled by the probability of the word itself, with and without an anchor.

On the policy's own samples p is high already, and little changes: these are for given data.
"""

from pydantic import Field
from torch import Tensor

from configs.schema import Section
from learner.objectives.base import Objective, Term, View
from learner.objectives.distribution import kl, log_probs


class DftSettings(Section):
    pass


class AsftSettings(Section):
    anchor: float = Field(default=0.05, ge=0)
    """lambda, weight of the KL term. .05 as in the authors' README; their code's default is .1."""


def dft(view: View, settings: DftSettings) -> list[Term]:
    """-sg[p(y)] log p(y), arXiv 2508.05629. The gradient is p(y) times that of cross-entropy."""
    return [Term(name="dft", tokens=view, losses_N=_scaled_nll(view))]


def asft(view: View, settings: AsftSettings) -> list[Term]:
    """-sg[p(y)] log p(y) + lambda sum_v ref_v log(ref_v / p_v), arXiv 2509.23753."""
    assert view.ref_logits_NV is not None
    anchor_N = kl(log_probs(view.ref_logits_NV.detach()), log_probs(view.logits_NV))
    losses_N = _scaled_nll(view) + settings.anchor * anchor_N
    return [Term(name="asft", tokens=view, losses_N=losses_N)]


def _scaled_nll(view: View) -> Tensor:
    logprobs_N = view.logprobs_N
    return -logprobs_N.detach().exp() * logprobs_N


DFT = Objective(terms=dft, settings=DftSettings, on_policy=False)
ASFT = Objective(
    terms=asft, settings=AsftSettings, needs=frozenset({"ref_logits"}), on_policy=False
)
