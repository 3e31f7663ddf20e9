"""The knobs of what stops a run that loses accuracy."""

from typing import Literal

from pydantic import Field

from configs.section import Section


class GuardrailConfig(Section):
    """While a run trains, its model is compared with the one it began with, on the same held-out
    problems, and a loss of accuracy beyond ``margin`` is acted upon. The problems are the last ones
    of ``data.heldout``, asked as evaluations ask (``eval``), so that with enough of them those that
    decide are not those that are reported."""

    every: int = Field(default=0, ge=0)
    """Optimizer steps between two looks; a checkpoint is made at each. 0: nobody looks."""

    problems: int = Field(default=200, ge=10)
    """Held-out problems asked at each look. With 200 and one sample, a true loss of 0.15 is seen
    at every second look, one of 0.2 at seven of eight."""

    samples: int = Field(default=1, gt=0)
    """Responses per problem."""

    margin: float = Field(default=0.05, ge=0, lt=1)
    """Accuracy that may be lost against the first model: 0.05 is five points."""

    confidence: float = Field(default=0.99, gt=0.5, lt=1)
    """How certain a larger loss must be: that of a one-sided interval of the mean difference,
    problem by problem. A run looks many times, hence no less than this."""

    action: Literal["pause", "rollback", "stop"] = "rollback"
    """``pause``: the length budget goes back to what it was at the last good look, and shrinks no
    further before a look is good again. ``rollback``: so do the weights and the optimizer.
    ``stop``: the run ends with the last good weights."""

    rollbacks: int = Field(default=2, ge=0)
    """Times that a run goes back; the next time it ends, with the last good weights."""
