"""The knobs of what is generated at all: which problems, how often, how many, how long."""

from typing import Literal

from pydantic import Field, model_validator

from configs.section import Section, Setting


class HookConfig(Section):
    """A part by its name, or your own ``module:NAME`` (docs/extending.md)."""

    use: str
    """Its name."""

    settings: dict[str, Setting] = Field(default={})
    """Its numbers."""


class TemplateConfig(Section):
    text: str
    """What a problem's last turn becomes, with ``{problem}`` where it stands, suffix included."""

    level: Literal["short", "moderate", "long"] | None = None
    """The length that it asks for, which the objective ``tldr`` rewards."""

    @model_validator(mode="after")
    def _asks_the_problem(self) -> "TemplateConfig":
        if "{problem}" not in self.text:
            raise ValueError("text lacks {problem}, which stands for the problem's last turn")
        return self


class CurriculumConfig(Section):
    """Which problems are asked and how often. What is known of a problem is what the learner was
    given of it, in ticket order, so that no answer decides anything by being quick. Every problem
    that is passed over is so by a coin of known probability, which stands beside its rollouts as
    ``propensity``."""

    policy: str = "band"
    """What gives a problem its probability: ``band``, or your own ``module:NAME``."""

    policy_settings: dict[str, Setting] = Field(default={})
    """Its numbers, where it is your own."""

    band: tuple[float, float] | None = Field(default=None, strict=False)
    """Shares of accepted rollouts between which a problem is worth its tokens, both included:
    ``[0.01,1]`` passes over problems without an accepted rollout, ``[0,0.9]`` those that the policy
    has learned. None: every problem at every pass."""

    memory: int = Field(default=2, gt=0)
    """Last visits of a problem over which its share is taken."""

    revisit: float = Field(default=0.5, gt=0, le=1)
    """Probability of a visit after one visit outside the band; after k of them in a row it is this
    to the power of k."""

    revisit_floor: float = Field(default=0.05, gt=0, le=1)
    """It never falls below this: the policy changes, and what was hopeless may not be any more."""

    group_sizes: tuple[int, int] | None = Field(default=None, strict=False)
    """Fewest and most rollouts of one problem; a problem gets as many as ``target_accepted`` needs
    at its share. None: ``sampling.group_size`` for all."""

    target_accepted: float = Field(default=2.0, gt=0)
    """Accepted rollouts that a group is made for."""

    @model_validator(mode="after")
    def _ranges(self) -> "CurriculumConfig":
        if self.band is not None and not 0 <= self.band[0] <= self.band[1] <= 1:
            raise ValueError(f"band {list(self.band)} must be two shares, the lower first")
        if self.group_sizes is not None and not 0 < self.group_sizes[0] <= self.group_sizes[1]:
            raise ValueError(f"group_sizes {list(self.group_sizes)} must rise from at least 1")
        return self


class BudgetConfig(Section):
    """How the length budget moves. A ticket takes its budget with it, and every decision is
    recorded with the budget it used."""

    kind: Literal["fixed", "schedule", "adaptive"] = "fixed"
    """``fixed``: ``filter.length_budget`` for all. ``schedule``: from there to ``end``.
    ``adaptive``: each problem its own, never more than ``filter.length_budget``."""

    end: int | None = Field(default=None, gt=0)
    """Budget at the end of a schedule."""

    over_steps: int | None = Field(default=None, gt=0)
    """Optimizer steps that the schedule takes, in equal parts. None: ``steps``."""

    quantile: float = Field(default=0.75, gt=0, le=1)
    """Adaptive: of the lengths of the problem's own correct rollouts."""

    slack: float = Field(default=1.25, ge=1)
    """Adaptive: the quantile is multiplied by this, since longer ones were cut off unseen."""

    floor: int = Field(default=16, gt=0)
    """Adaptive: no budget is below this."""

    min_lengths: int = Field(default=4, gt=0)
    """Adaptive: correct rollouts seen before a problem has a budget of its own."""

    memory: int = Field(default=32, gt=0)
    """Adaptive: correct rollouts of a problem that are remembered, the newest."""

    explore: float = Field(default=0.1, ge=0, le=1)
    """Adaptive: share of the groups that get ``filter.length_budget`` all the same."""

    min_accepted: float = Field(default=0.02, ge=0, lt=1)
    """Share of a step's rollouts that must be accepted. Below it a schedule goes back to the last
    budget that was not too short, stays there, and says so."""

    @model_validator(mode="after")
    def _remembers_enough(self) -> "BudgetConfig":
        if self.min_lengths > self.memory:
            raise ValueError(
                f"min_lengths {self.min_lengths} is above memory {self.memory}, so no problem "
                "would ever have a budget of its own. Raise memory"
            )
        return self

    @model_validator(mode="after")
    def _has_an_end(self) -> "BudgetConfig":
        if (self.kind == "schedule") != (self.end is not None):
            raise ValueError("kind schedule and end belong together: set both, or neither")
        return self


class EconomyConfig(Section):
    """What is stopped while a group is being written. All off by default."""

    probe: int | None = Field(default=None, gt=0)
    """Futility: write this many rollouts of a group first, those with the lowest numbers, and the
    others only if one of them was accepted."""

    probe_continue: float = Field(default=0.1, ge=0, le=1)
    """Probability of writing the others all the same."""

    doomed: str | None = None
    """Who says, at ``doomed_at``, that a rollout cannot be accepted any more: ``thinking`` (it has
    not closed its thinking), ``boxed`` (no answer in a box yet), or your own ``module:NAME``.
    None: nobody asks."""

    doomed_at: float = Field(default=0.75, gt=0, lt=1)
    """Share of the budget after which that is asked."""

    doomed_continue: float = Field(default=0.1, ge=0, le=1)
    """Probability that a rollout which is said to be doomed goes on."""

    reweight: bool = False
    """Divide what a rollout counts in the loss by the probability that it was written: what is
    trained is then, on average, what it would be without any saving. Needs every probability above
    0."""

    stop_after: int | None = Field(default=None, gt=0)
    """Cancel the rest of a group once this many were accepted. Short answers finish first, so it
    prefers them whatever their quality: the length distribution is biased, and reports say so."""


class SyncConfig(Section):
    """How published weights reach the engines."""

    transport: Literal["file", "shm", "gloo"] = "file"
    """``file``: below the run's folder, which all engines must see. ``shm``: in memory, for one
    node. ``gloo``: from process to process over the network."""

    delta: bool = True
    """With ``file`` and ``shm``: send what changed, compressed, where that is smaller."""

    full_every: int = Field(default=16, gt=0)
    """Publications after which all weights are sent again: an engine that joins reads the newest
    of those and what came after it."""

    bucket_mib: int = Field(default=256, gt=0)
    """Weights, in MiB, that are gathered, checked and sent at a time; two of them are held."""

    timeout_s: float = Field(default=300.0, gt=0)
    """Longest wait for one engine to take new weights; then it is replaced."""
