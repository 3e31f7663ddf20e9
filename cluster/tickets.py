"""Where engines get their tickets: from hand to hand, so that what one asks is decided late."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from verifiers.types import Ticket


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Hand:
    """An engine that has room for a ticket and none to write."""

    held: Callable[[], int]
    given: asyncio.Future[Ticket]


class Tickets:
    """Each goes to the engine that holds least just then; of equals, to who has waited longest.

    A ticket that waits inside one engine while another one has nothing to write is time lost.
    """

    def __init__(self) -> None:
        self._lying: deque[Ticket] = deque()
        self._hands: list[_Hand] = []
        """In the order of their coming."""
        self._asked = asyncio.Event()

    @property
    def num_wanted(self) -> int:
        """How many would be taken at once."""
        return sum(not hand.given.done() for hand in self._hands)

    async def wanted(self) -> None:
        """Wait until one would be."""
        while not self.num_wanted:
            self._asked.clear()
            await self._asked.wait()

    def put(self, *tickets: Ticket) -> None:
        """The first to the emptiest hand, the next to the next."""
        waiting = [hand for hand in self._hands if not hand.given.done()]  # else it is leaving
        emptiest = sorted(waiting, key=lambda hand: hand.held())
        for hand, ticket in zip(emptiest, tickets, strict=False):
            hand.given.set_result(ticket)
        self._hands = [hand for hand in waiting if not hand.given.done()]
        self._lying.extend(tickets[len(emptiest) :])

    async def get(self, held: Callable[[], int]) -> Ticket:
        """``held``: tickets that the engine has not finished; it is asked when there is one."""
        if self._lying:
            return self._lying.popleft()
        hand = _Hand(held=held, given=asyncio.get_running_loop().create_future())
        self._hands.append(hand)
        self._asked.set()
        try:
            return await hand.given
        except asyncio.CancelledError:
            if not hand.given.cancelled():  # it was given one as it left
                self.put(hand.given.result())
            raise
