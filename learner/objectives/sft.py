"""Cross-entropy. What the tokens are, own verified answers or somebody's data, decides whether it
is On-Policy SFT or plain SFT; the function is the same."""

from learner.objectives.base import Objective, Term, View
from learner.objectives.entropy import EntropySettings, with_entropy


class SftSettings(EntropySettings):
    pass


def sft(view: View, settings: SftSettings) -> list[Term]:
    """-log p(y)."""
    return with_entropy(Term(name="sft", tokens=view, losses_N=-view.logprobs_N), settings)


SFT = Objective(terms=sft, settings=SftSettings)
