"""Where engines get their tickets: from hand to hand, so that what one asks is decided late."""

import asyncio
import heapq
from collections import deque
from itertools import count

from verifiers.types import Ticket

_Hand = tuple[int, int, asyncio.Future[Ticket]]


class Tickets:
    """Each goes to the engine that holds least just now; of equals, to who has waited longest.

    A ticket that waits inside one engine while another one has nothing to write is time lost.
    """

    def __init__(self) -> None:
        self._lying: deque[Ticket] = deque()
        self._hands: list[_Hand] = []
        """Heap of the engines that have room for one and none to write."""
        self._arrivals = count()
        self._asked = asyncio.Event()

    @property
    def num_wanted(self) -> int:
        """How many would be taken at once."""
        return sum(not hand.done() for _, _, hand in self._hands)

    async def wanted(self) -> None:
        """Wait until one would be."""
        while not self.num_wanted:
            self._asked.clear()
            await self._asked.wait()

    def put(self, ticket: Ticket) -> None:
        while self._hands:
            _, _, hand = heapq.heappop(self._hands)
            if not hand.done():  # else its engine is gone
                hand.set_result(ticket)
                return
        self._lying.append(ticket)

    async def get(self, held: int) -> Ticket:
        """``held``: tickets that the engine has not finished."""
        if self._lying:
            return self._lying.popleft()
        hand: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._hands, (held, next(self._arrivals), hand))
        self._asked.set()
        try:
            return await hand
        except asyncio.CancelledError:
            if not hand.cancelled():  # it was given one as it left
                self.put(hand.result())
            raise
