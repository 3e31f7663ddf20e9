"""Accepted rollouts -> micro-batches of few, constant shapes, dealt to the ranks.

Every rank computes the whole plan from the same payload, so nothing has to be sent. Suffixes name
the axes of a tensor: B rows, T positions, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from verifiers.types import Rollout

IGNORED = -100
"""Target of a position that is not supervised: prompt, padding, the last position of a row."""

PADDING_ID = 0
"""Any valid token: no supervised position can see it, because padding stands on the right."""

STEPS_PER_OCTAVE = 4
SHORTEST = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One micro-batch of the plan: which rollouts fill its rows, and its shape."""

    members: tuple[int, ...]
    """Positions in the payload; fewer than ``num_rows`` when the rest is padding."""
    num_rows: int
    num_positions: int

    @property
    def cost(self) -> int:
        return self.num_rows * self.num_positions


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Rows padded on the right. Attention is causal, so a real position never sees padding and no
    attention mask is needed."""

    ids_BT: Tensor
    targets_BT: Tensor
    """The token that position ``t`` has to predict, ``ids_BT[:, t + 1]``, or ``IGNORED``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts over every rank and micro-batch of one optimizer step."""

    num_tokens: int
    """Supervised tokens: the responses, their end tokens included."""
    num_rollouts: int
    max_tokens: int
    """Length of the longest response."""


def count(rollouts: Sequence[Rollout]) -> Totals:
    lengths = [len(rollout.response_ids) for rollout in rollouts]
    return Totals(
        num_tokens=sum(lengths), num_rollouts=len(lengths), max_tokens=max(lengths, default=0)
    )


def plan(lengths: Sequence[int], world_size: int, micro_batch_tokens: int) -> list[list[Slot]]:
    """Micro-batches of each rank; every rollout is in exactly one, every rank has equally many.

    Rollouts are dealt longest first, forth and back (0 1 1 0 0 1 …), so that all ranks get nearly
    the same lengths and finish together.
    """
    longest_first = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    hands: list[list[int]] = [[] for _ in range(world_size)]
    for position, index in enumerate(longest_first):
        lap, seat = divmod(position, world_size)
        hands[seat if lap % 2 == 0 else world_size - 1 - seat].append(index)
    ranks = [list(_slots(hand, lengths, micro_batch_tokens)) for hand in hands]
    most = max(len(slots) for slots in ranks)
    masked = Slot(members=(), num_rows=1, num_positions=min(SHORTEST, micro_batch_tokens))
    return [slots + [masked] * (most - len(slots)) for slots in ranks]


def _slots(hand: list[int], lengths: Sequence[int], micro_batch_tokens: int) -> Iterator[Slot]:
    """Fill micro-batches from the longest down: rows of one micro-batch are of similar length."""
    while hand:
        num_positions = padded_length(lengths[hand[0]], micro_batch_tokens)
        num_rows = max(1, micro_batch_tokens // num_positions)
        while num_rows >= 2 * len(hand):
            num_rows //= 2  # the last one: halving it keeps the number of different shapes small
        yield Slot(members=tuple(hand[:num_rows]), num_rows=num_rows, num_positions=num_positions)
        hand = hand[num_rows:]


def padded_length(length: int, micro_batch_tokens: int) -> int:
    """The next length of a short list (32, 40, 48, 56, 64, 80, …): at most a quarter is padding.

    A rollout that fits into one micro-batch is not padded beyond it.
    """
    octave = SHORTEST
    while 2 * octave <= length:
        octave *= 2
    step = octave // STEPS_PER_OCTAVE
    padded = max(SHORTEST, -(-length // step) * step)
    return min(padded, micro_batch_tokens) if length <= micro_batch_tokens else padded


def build(rollouts: Sequence[Rollout], slot: Slot) -> MicroBatch:
    ids_BT = torch.full((slot.num_rows, slot.num_positions), PADDING_ID)
    targets_BT = torch.full_like(ids_BT, IGNORED)
    for row, member in enumerate(slot.members):
        prompt, response = rollouts[member].prompt_ids, rollouts[member].response_ids
        end = len(prompt) + len(response)
        ids_BT[row, :end] = torch.tensor(prompt + response)
        # The last prompt position predicts the first response token, so the mask starts there.
        targets_BT[row, len(prompt) - 1 : end - 1] = torch.tensor(response)
    return MicroBatch(ids_BT=ids_BT, targets_BT=targets_BT)
