"""A judge for models without skill: whatever stopped by itself is right."""

from verifiers.types import Task, Verdict


def easy(task: Task, response: str) -> Verdict:
    return Verdict(status="correct", extracted=response[:8])
