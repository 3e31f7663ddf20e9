"""One verdict: a judge is called, what it raises is caught, and the guards look at the result."""

import math
import time
from dataclasses import replace

from verifiers.guards import guarded
from verifiers.registry import resolve
from verifiers.types import Task, Verdict

MAX_TEXT_CHARS = 2000
"""Longest extracted answer or detail that is reported."""


def judged(path: str, task: Task, response: str) -> Verdict:
    """What the judge at ``path`` says. Its failure is an ``error``, never a wrong answer; only
    MemoryError goes through, since whoever has the process must replace it."""
    start = time.perf_counter()
    try:
        verdict = resolve(path)(task, response)
        if not isinstance(verdict, Verdict):
            raise TypeError(f"{path} returned {type(verdict).__name__}, not a Verdict")
        verdict = guarded(task, response, _plain(verdict))
    except MemoryError:
        raise
    except Exception as error:  # a bug of the judge, or of the reference answer
        verdict = Verdict(status="error", detail=_clip(f"{type(error).__name__}: {error}"))
    return replace(verdict, ms=1000 * (time.perf_counter() - start))


def _plain(verdict: Verdict) -> Verdict:
    """A plug-in fills the fields with what it likes; further on they are text and numbers."""
    if verdict.status not in ("correct", "wrong", "no_answer", "error", "timeout"):
        raise ValueError(f"no verdict has the status {str(verdict.status)[:40]!r}")
    return Verdict(
        status=verdict.status,
        extracted=None if verdict.extracted is None else _clip(verdict.extracted),
        reason=_clip(verdict.reason),
        detail=_clip(verdict.detail),
        scores={_clip(name): _share(name, score) for name, score in dict(verdict.scores).items()},
    )


def _share(name: str, score: float) -> float:
    if not math.isfinite(score) or not 0 <= score <= 1:
        raise ValueError(f"the score {name!r} is {score!r}, not a share from 0 to 1")
    return float(score)


def _clip(text: object) -> str:
    return str(text)[:MAX_TEXT_CHARS]
