"""One optimizer step, planned before any model is asked. Every rank makes the same plan from the
same rollouts, and works on its own part of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from configs.schema import RunConfig
from learner.examples import count, supervise
from learner.loss import StepLoss, Totals, denominator
from learner.objectives.base import Supervised, Tokens
from learner.objectives.bind import Bound
from learner.pack import Pack, Packing, Slot, build, plan
from learner.provided import normalizer_of
from verifiers.types import Rollout

KINDS: tuple[Tokens, ...] = get_args(Tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """One forward and backward pass: a pack, and the same responses as a teacher sees them."""

    pack: Pack
    teacher_pack: Pack | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    rollouts: Sequence[Rollout]
    tokens: Sequence[Supervised]
    """Of each rollout."""
    ranks: Sequence[Sequence[Slot]]
    """Packs of each rank, of every rank equally many."""
    totals: Totals
    loss: StepLoss

    @property
    def is_empty(self) -> bool:
        return self.totals.num_tokens == 0

    @property
    def padded_tokens(self) -> int:
        """Positions that are computed, over all ranks."""
        return sum(slot.num_positions for slots in self.ranks for slot in slots)

    def held_by(self, rank: int) -> Totals:
        members = [member for slot in self.ranks[rank] for member in slot.members]
        return count([self.tokens[member] for member in members], "all")

    def micro_batches(self, rank: int, *, with_teacher: bool) -> list[MicroBatch]:
        return [self._micro_batch(slot, with_teacher) for slot in self.ranks[rank]]

    def _micro_batch(self, slot: Slot, with_teacher: bool) -> MicroBatch:
        teacher_pack = None
        if with_teacher:
            teacher_pack = build(self.rollouts, self.tokens, slot, teacher=True)
        return MicroBatch(pack=build(self.rollouts, self.tokens, slot), teacher_pack=teacher_pack)


def plan_work(
    rollouts: Sequence[Rollout], step: int, config: RunConfig, objective: Bound, packing: Packing
) -> Work:
    objective = objective.at(step)
    normalizer = normalizer_of(config, objective)
    tokens = supervise(rollouts, objective, normalizer, draw=f"{config.seed} {step}")
    totals = {kind: count(tokens, kind) for kind in KINDS}
    budget = config.filter.length_budget
    divisors: dict[Tokens, float] = {
        kind: denominator(normalizer, totals[kind], budget) for kind in KINDS
    }
    return Work(
        rollouts=rollouts,
        tokens=tokens,
        ranks=plan(rollouts, config.learner.world_size, packing),
        totals=totals["all"],
        loss=StepLoss(objective=objective, divisors=divisors),
    )
