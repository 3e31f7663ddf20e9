"""The entropy bonus that any objective may carry, as a term of its own."""

from pydantic import Field

from configs.schema import Section
from learner.objectives.base import Term
from learner.objectives.distribution import entropy


class EntropySettings(Section):
    entropy_bonus: float = Field(default=0.0, ge=0)
    """Coefficient of the mean entropy of the policy, in nats, which is subtracted from the loss."""


def with_entropy(term: Term, settings: EntropySettings) -> list[Term]:
    """The term, and -entropy_bonus * mean_t H(pi(. | s_t)) over the same tokens."""
    if settings.entropy_bonus == 0:
        return [term]
    losses_N = entropy(term.tokens.logits_NV)
    bonus = -settings.entropy_bonus
    return [term, Term(name="entropy", tokens=term.tokens, losses_N=losses_N, coefficient=bonus)]
