"""Which request an engine gets next, and how many it holds at a time. Pure asyncio.

    request ─► waits ─► slot of the engine ─► done, and the slot goes to the next at once
                          ▲
                        limit: max_num_seqs, or fewer while the KV cache is too small for them

An engine whose KV cache is full throws away what it has computed of a request and begins it again.
So the limit falls by a share when that happened or is about to, and rises by a step while there is
room: as networks find out how much they may send.

The next request is the one that is expected to be longest: the long ones end last, and the later
they begin the longer the engine stands half empty. Nobody waits for ever behind them: tickets are
consumed in order, so that only a bounded number of them is out, and when all others are settled
what is left is next.
"""

import asyncio
from bisect import insort
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, get_args

from actors.engine import EngineStats

Kind = Literal["rollout", "evaluation"]

FULL = 0.95
"""Share of the KV cache above which requests that wait in the engine mean that it is too small."""

ROOMY = 0.85
"""Share below which it could hold more."""

SHRINK = 0.75
"""What is left of the limit when it was too high."""

STEPS = 32
"""Rises that it takes from nothing to ``max_slots``, or as many as there are slots."""


@dataclass(slots=True, kw_only=True)
class _Request:
    kind: Kind
    rank: tuple[float, int, int]
    """The greatest goes first."""
    admitted: asyncio.Event = field(default_factory=asyncio.Event)
    has_slot: bool = False


class Admission:
    """The slots of one engine."""

    def __init__(self, max_slots: int, eval_share: float) -> None:
        """``eval_share`` of the slots are the evaluations' own while rollouts wait as well, and the
        others are the rollouts'. When only one of the two waits it may have all."""
        self.limit = max_slots
        self._max_slots = max_slots
        self._eval_share = eval_share
        self._taken: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)
        self._waiting: dict[Kind, list[_Request]] = {kind: [] for kind in get_args(Kind)}
        self._arrivals = count()
        self._preemptions = 0

    @property
    def taken(self) -> int:
        return sum(self._taken.values())

    @property
    def waiting(self) -> int:
        return sum(len(requests) for requests in self._waiting.values())

    @asynccontextmanager
    async def slot(
        self, kind: Kind, expected_tokens: float, number: int, stop: asyncio.Event | None = None
    ) -> AsyncIterator[bool]:
        """A slot until the block ends. False, and no slot, when ``stop`` was set before.

        ``number`` is the ticket's: of equals the lower goes first, then who came first.
        """
        rank = (expected_tokens, -number, -next(self._arrivals))
        request = _Request(kind=kind, rank=rank)
        insort(self._waiting[kind], request, key=lambda waiting: waiting.rank)
        self._admit()
        try:
            await _either(request.admitted, stop)
            yield request.has_slot
        finally:
            self._leave(request)

    def look(self, load: EngineStats) -> None:
        """Set the limit by what the engine says of itself; called now and then."""
        preempted = load.preemptions > self._preemptions
        self._preemptions = load.preemptions
        is_tight = preempted or (load.kv_use > FULL and load.waiting > 0)
        if is_tight and self.taken <= self.limit:  # else the last lowering is not felt yet
            held = min(self.limit, load.running or self.limit)
            self.limit = max(1, int(held * SHRINK))
        elif not is_tight and load.kv_use < ROOMY and self.taken >= self.limit:
            self.limit = min(self._max_slots, self.limit + max(1, self._max_slots // STEPS))
            self._admit()

    def _admit(self) -> None:
        while self.taken < self.limit and (kind := self._next_kind()) is not None:
            request = self._waiting[kind].pop()
            request.has_slot = True
            request.admitted.set()
            self._taken[kind] += 1

    def _next_kind(self) -> Kind | None:
        if not (self._waiting["rollout"] and self._waiting["evaluation"]):
            return next((kind for kind, requests in self._waiting.items() if requests), None)
        share = max(1, int(self.limit * self._eval_share))
        return "evaluation" if self._taken["evaluation"] < share else "rollout"

    def _leave(self, request: _Request) -> None:
        if request.has_slot:
            self._taken[request.kind] -= 1
        else:
            self._waiting[request.kind].remove(request)
        self._admit()


async def _either(admitted: asyncio.Event, stop: asyncio.Event | None) -> None:
    if stop is None:
        await admitted.wait()
        return
    waits = [asyncio.create_task(event.wait()) for event in (admitted, stop)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
