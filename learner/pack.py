"""Accepted rollouts -> packs of few, constant lengths, dealt to the ranks.

    one pack   │ prompt A │ response │ response │ prompt B │ response │ tail │
    sees         itself     prompt A   prompt A    itself    prompt B    –

Rollouts stand one behind the other instead of one above the other, so nothing is padded but the
tail of a pack. A prompt that several rollouts share is computed once. Every rank computes the whole
plan from the same payload, so nothing has to be sent. Suffixes name the axes of a tensor: T
positions of a pack, N supervised tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from learner.objectives.base import Supervised, joined
from verifiers.types import Rollout

PADDING_ID = 0
"""Any valid token: nothing that is supervised ever sees the tail of a pack."""

STEPS_PER_OCTAVE = 4
SHORTEST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Rollouts with the same prompt, which is there once."""

    members: tuple[int, ...]
    """Positions in the payload."""
    num_positions: int
    work: float
    """What it costs to compute, in positions without attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One micro-batch of the plan."""

    families: tuple[Family, ...]
    num_positions: int

    @property
    def members(self) -> list[int]:
        return [member for family in self.families for member in family.members]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive positions that see each other, causally, and maybe all of an earlier segment."""

    num_positions: int
    prefix: int | None = None
    """Index of that earlier segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    ids_T: Tensor
    positions_T: Tensor
    """Of each token in its own sequence."""
    segments: tuple[Segment, ...]
    where_N: Tensor
    """Position in the pack whose output predicts each supervised token; the last of a prompt does
    so for every response to it."""
    tokens: Supervised
    """The supervised tokens, those of weight 0 left out."""

    def to(self, device: torch.device) -> "Pack":
        return Pack(
            ids_T=self.ids_T.to(device),
            positions_T=self.positions_T.to(device),
            segments=self.segments,
            where_N=self.where_N.to(device),
            tokens=self.tokens.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How packs are made."""

    pack_tokens: int
    share_prompts: bool
    one_by_one: bool = False
    """A pack holds one rollout: for models whose attention cannot be told who sees whom."""
    free_context: float = float("inf")
    """Context at which attention costs as much as everything else of a position."""


def plan(rollouts: Sequence[Rollout], world_size: int, packing: Packing) -> list[list[Slot]]:
    """Packs of each rank; every rollout is in exactly one, every rank has equally many.

    The most expensive family goes to the rank that has least to do, and so on: all ranks finish
    together. A rollout that is longer than a pack gets one of its own.
    """
    costly_first = sorted(_families(rollouts, packing), key=lambda f: (-f.work, f.members))
    hands: list[list[Family]] = [[] for _ in range(world_size)]
    loads = [0.0] * world_size
    for family in costly_first:
        rank = loads.index(min(loads))
        hands[rank].append(family)
        loads[rank] += family.work
    ranks = [_slots(hand, packing) for hand in hands]
    most = max(len(slots) for slots in ranks)
    empty = Slot(families=(), num_positions=min(SHORTEST, packing.pack_tokens))
    return [slots + [empty] * (most - len(slots)) for slots in ranks]


def _families(rollouts: Sequence[Rollout], packing: Packing) -> Iterator[Family]:
    shares = packing.share_prompts and not packing.one_by_one
    by_prompt: dict[Any, list[int]] = {}
    for index, rollout in enumerate(rollouts):
        key = (rollout.prompt_ids, rollout.teacher_prompt_ids) if shares else index
        by_prompt.setdefault(key, []).append(index)
    for members in by_prompt.values():
        prompt = len(rollouts[members[0]].prompt_ids)
        together: list[int] = []
        num_positions = prompt
        for member in members:
            added = len(rollouts[member].response_ids) - 1
            if together and num_positions + added > packing.pack_tokens:
                yield _family(rollouts, together, packing)
                together, num_positions = [], prompt
            together.append(member)
            num_positions += added
        yield _family(rollouts, together, packing)


def _family(rollouts: Sequence[Rollout], members: list[int], packing: Packing) -> Family:
    prompt = len(rollouts[members[0]].prompt_ids)
    inputs = [len(rollouts[member].response_ids) - 1 for member in members]
    seen = prompt * prompt / 2 + sum(length * (prompt + length / 2) for length in inputs)
    num_positions = prompt + sum(inputs)
    work = num_positions + seen / packing.free_context
    return Family(members=tuple(members), num_positions=num_positions, work=work)


def _slots(hand: list[Family], packing: Packing) -> list[Slot]:
    """Each family, longest first, goes into the first pack that still has room for it."""
    packs: list[list[Family]] = []
    filled: list[int] = []
    for family in sorted(hand, key=lambda f: (-f.num_positions, f.members)):
        room = packing.pack_tokens - family.num_positions
        fits = (i for i, size in enumerate(filled) if size <= room and not packing.one_by_one)
        place = next(fits, None)
        if place is None:
            packs.append([family])
            filled.append(family.num_positions)
        else:
            packs[place].append(family)
            filled[place] += family.num_positions
    return [
        Slot(families=tuple(pack), num_positions=padded_length(size, packing.pack_tokens))
        for pack, size in zip(packs, filled, strict=True)
    ]


def padded_length(length: int, pack_tokens: int) -> int:
    """The next length of a short list (32, 40, 48, 56, 64, 80, …): CPUs are several times slower
    when shapes vary. What fits into one pack is not padded beyond it."""
    octave = SHORTEST
    while 2 * octave <= length:
        octave *= 2
    step = octave // STEPS_PER_OCTAVE
    padded = max(SHORTEST, -(-length // step) * step)
    return min(padded, pack_tokens) if length <= pack_tokens else padded


@dataclass(slots=True)
class _Writer:
    """A pack while it is filled."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    where: list[int] = field(default_factory=list)

    def write(self, tokens: Sequence[int], first: int, prefix: int | None = None) -> None:
        if tokens:
            self.segments.append(Segment(len(tokens), prefix))
            self.ids += tokens
            self.positions += range(first, first + len(tokens))


def build(
    rollouts: Sequence[Rollout], tokens: Sequence[Supervised], slot: Slot, *, teacher: bool = False
) -> Pack:
    """``tokens`` says of each rollout what is known of its response. ``teacher``: the same
    responses behind the prompts that a teacher sees, so that token n of both packs is the same.

    The last token of a response predicts nothing, so it is a target and never an input.
    """
    pack = _Writer()
    for family in slot.families:
        first = rollouts[family.members[0]]
        prompt = (teacher and first.teacher_prompt_ids) or first.prompt_ids
        alone = len(family.members) == 1
        if not alone:
            pack.write(prompt, first=0)
        shared, end_of_prompt = len(pack.segments) - 1, len(pack.ids) - 1
        for member in family.members:
            response = rollouts[member].response_ids
            if alone:
                end_of_prompt = len(pack.ids) + len(prompt) - 1
                pack.write(prompt + response[:-1], first=0)
                start = end_of_prompt + 1
            else:
                start = len(pack.ids)
                pack.write(response[:-1], first=len(prompt), prefix=shared)
            pack.where += [end_of_prompt, *range(start, start + len(response) - 1)]
    tail = max(slot.num_positions, padded_length(len(pack.ids), slot.num_positions)) - len(pack.ids)
    pack.write([PADDING_ID] * tail, first=0)
    where_N = torch.tensor(pack.where, dtype=torch.long)
    supervised = joined([tokens[member] for member in slot.members])
    if supervised.weights_N is not None:
        where_N = where_N[supervised.weights_N > 0]
    return Pack(
        ids_T=torch.tensor(pack.ids),
        positions_T=torch.tensor(pack.positions),
        segments=tuple(pack.segments),
        where_N=where_N,
        tokens=supervised.counted(),
    )
