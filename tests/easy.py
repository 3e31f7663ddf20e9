"""A judge for models without skill: whatever stopped by itself is right."""

from verifiers.types import Verdict


def easy(answer: str, response: str) -> Verdict:
    return Verdict(status="correct", extracted=response[:8])
