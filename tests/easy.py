"""Judges for models without skill: whatever stopped by itself is right, or nothing is."""

from verifiers.types import Task, Verdict


def easy(task: Task, response: str) -> Verdict:
    return Verdict(status="correct", extracted=response[:8])


def hard(task: Task, response: str) -> Verdict:
    return Verdict(status="wrong", extracted=response[:8])
