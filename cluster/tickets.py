"""Where engines get their tickets: from hand to hand, so that what one asks is decided late."""

import asyncio
from collections import deque

from verifiers.types import Ticket


class Tickets:
    """First come, first served. Unlike with ``asyncio.Queue``, whoever was given one and asks
    again does not take what another one was given, which has not noticed yet: a burst of tickets
    goes to all that wait, and not to one of them."""

    def __init__(self) -> None:
        self._lying: deque[Ticket] = deque()
        self._hands: deque[asyncio.Future[Ticket]] = deque()
        """Of engines that have room for a ticket and none to write."""
        self._asked = asyncio.Event()

    @property
    def num_wanted(self) -> int:
        """How many would be taken at once."""
        return sum(not hand.done() for hand in self._hands)

    async def wanted(self) -> None:
        """Wait until one would be."""
        while not self.num_wanted:
            self._asked.clear()
            await self._asked.wait()

    def put(self, ticket: Ticket) -> None:
        while self._hands:
            hand = self._hands.popleft()
            if not hand.done():  # else its engine is leaving
                hand.set_result(ticket)
                return
        self._lying.append(ticket)

    async def get(self) -> Ticket:
        if self._lying:
            return self._lying.popleft()
        hand: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        self._hands.append(hand)
        self._asked.set()
        try:
            return await hand
        except asyncio.CancelledError:
            if not hand.cancelled():  # it was given one as it left
                self.put(hand.result())
            raise
