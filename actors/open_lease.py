"""What one optimizer step takes of the groups that are settled, and what it leaves out. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from verifiers.types import GroupOutcome, Lease, Rollout, Settlement

LeftOut = Literal["stale", "equal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which rollouts of a group a step leaves out."""

    max_lag: int
    whole_groups: bool
    """Advantages are relative to the group: all of it is trained, or none."""
    drop_equal: bool

    def judge(self, group: tuple[Rollout, ...], step: int) -> list[LeftOut | None]:
        """A lag below zero is a group of steps that a restart took back: as far off, as stale."""
        stale = [abs(step - rollout.first_version) > self.max_lag for rollout in group]
        if self.whole_groups:
            stale = [any(stale)] * len(group)
        if self.drop_equal and not any(stale) and _has_equal_rewards(group):
            return ["equal"] * len(group)
        return ["stale" if is_stale else None for is_stale in stale]


def _has_equal_rewards(group: tuple[Rollout, ...]) -> bool:
    return len({rollout.reward for rollout in group if not rollout.is_expert}) <= 1


@dataclass(slots=True)
class OpenLease:
    """What has been gathered for the next optimizer step so far."""

    first: int
    fresh: list[Rollout] = field(default_factory=list)
    left_out: list[tuple[Rollout, LeftOut]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    num_written: int = 0
    written_tokens: int = 0

    @property
    def accepted(self) -> list[Rollout]:
        return [rollout for rollout in self.fresh if rollout.is_accepted]

    def add(self, settlement: Settlement, step: int, rules: Rules) -> None:
        self.num_written += len(settlement.outcomes)
        self.written_tokens += sum(o.num_tokens for o in settlement.outcomes)
        self.reasons.update(o.reason for o in settlement.outcomes if o.reason is not None)
        reasons = rules.judge(settlement.rollouts, step)
        for rollout, reason in zip(settlement.rollouts, reasons, strict=True):
            if reason is None:
                self.fresh.append(rollout)
            else:
                self.left_out.append((rollout, reason))

    def names_left_out(self, *, skipped: bool) -> dict[str, list[str]]:
        """Rollouts that the step does not train, by reason: all of them when it was skipped."""
        names: dict[str, list[str]] = {}
        for rollout, reason in self.left_out:
            names.setdefault(reason, []).append(rollout.id)
        if skipped and self.fresh:
            names["skipped"] = [rollout.id for rollout in self.fresh]
        return names

    def describe(
        self, step: int, epoch: int, end: int, *, is_ready: bool, groups: tuple[GroupOutcome, ...]
    ) -> Lease:
        left_out = Counter(reason for _, reason in self.left_out)
        return Lease(
            step=step,
            epoch=epoch,
            is_ready=is_ready,
            first_ticket=self.first,
            end_ticket=end,
            num_rollouts=len(self.fresh),
            num_tokens=sum(len(rollout.response_ids) for rollout in self.fresh),
            num_stale=left_out["stale"],
            num_equal=left_out["equal"],
            num_accepted=len(self.accepted),
            accepted_tokens=sum(len(rollout.response_ids) for rollout in self.accepted),
            max_lag=max((step - rollout.first_version for rollout in self.fresh), default=0),
            num_written=self.num_written,
            written_tokens=self.written_tokens,
            reasons=dict(self.reasons),
            groups=groups,
        )
