"""Tickets go from hand to hand: to whom, and when they are decided."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from cluster.loop import feed
from cluster.tickets import Tickets
from tests.fakes import make_ticket
from verifiers.types import Room, Ticket


async def waits(tickets: Tickets) -> asyncio.Task:
    task = asyncio.create_task(tickets.get())
    await asyncio.sleep(0)
    return task


async def test_who_came_first_is_served_first_and_what_nobody_wants_lies_there():
    tickets = Tickets()
    waiting = [await waits(tickets) for _ in range(3)]
    assert tickets.num_wanted == 3

    for number in range(5):
        tickets.put(make_ticket(number))

    assert [(await task).number for task in waiting] == [0, 1, 2]
    assert tickets.num_wanted == 0
    assert [(await tickets.get()).number for _ in range(2)] == [3, 4]


async def test_whoever_asks_twice_does_not_take_what_another_one_was_given():
    tickets = Tickets()
    taken = dict[str, list[int]]()

    async def take(name: str) -> None:
        while True:
            taken.setdefault(name, []).append((await tickets.get()).number)

    takers = [asyncio.create_task(take(name)) for name in "ab"]
    await asyncio.sleep(0)
    tickets.put(make_ticket(0))
    tickets.put(make_ticket(1))
    await asyncio.sleep(0.01)

    assert taken == {"a": [0], "b": [1]}
    for taker in takers:
        taker.cancel()


async def test_what_an_engine_is_given_as_it_leaves_goes_to_another_one():
    tickets = Tickets()
    leaving, staying = await waits(tickets), await waits(tickets)
    tickets.put(make_ticket(7))
    leaving.cancel()

    assert (await asyncio.wait_for(staying, 1)).number == 7

    gone = await waits(tickets)
    gone.cancel()
    tickets.put(make_ticket(8))
    assert tickets.num_wanted == 0
    assert (await asyncio.wait_for(tickets.get(), 1)).number == 8


async def test_it_says_when_somebody_waits_and_no_sooner():
    tickets = Tickets()
    tickets.put(make_ticket(0))
    asked = asyncio.create_task(tickets.wanted())
    assert (await tickets.get()).number == 0
    await asyncio.sleep(0)
    assert not asked.done(), "nobody waits for another one"

    waiting = await waits(tickets)
    await asyncio.wait_for(asked, 1)

    tickets.put(make_ticket(1))
    await waiting


class Source:
    def __init__(self, total: int) -> None:
        self.drawn: list[int] = []
        self._total = total

    def draw(self, number: int, version: int) -> Ticket | None:
        if number >= self._total:
            return None
        self.drawn.append(number)
        return make_ticket(number)


class Queue:
    """Has room for the first ``below`` tickets."""

    def __init__(self, below: int) -> None:
        self.below = below
        self.issued: list[list[int]] = []
        self.end: int | None = None

    async def num_issued(self) -> int:
        return sum(map(len, self.issued))

    async def room(self, number: int) -> Room:
        while number >= self.below:
            await asyncio.sleep(0.001)
        return Room(version=0, below=self.below)

    async def issue_all(self, tickets: Sequence[Ticket]) -> list[int | None]:
        self.issued.append([ticket.number for ticket in tickets])
        return [0 for _ in tickets]

    async def end_of_data(self, number: int) -> None:
        self.end = number


async def test_no_ticket_is_decided_before_somebody_waits_and_those_that_wait_share_a_write():
    source, queue, tickets = Source(total=6), Queue(below=4), Tickets()
    parts: Any = SimpleNamespace(source=source, queue=queue, tickets=tickets)
    feeding = asyncio.create_task(feed(parts, reissue=[]))
    await asyncio.sleep(0.01)
    assert source.drawn == []

    first = [asyncio.create_task(tickets.get()) for _ in range(3)]
    assert [(await task).number for task in first] == [0, 1, 2]
    assert (queue.issued, source.drawn) == ([[0, 1, 2]], [0, 1, 2])

    more = [asyncio.create_task(tickets.get()) for _ in range(2)]
    assert (await more[0]).number == 3
    assert source.drawn == [0, 1, 2, 3], "the gate has room for one"

    queue.below = 100
    assert (await more[1]).number == 4
    last = [asyncio.create_task(tickets.get()) for _ in range(3)]
    assert (await last[0]).number == 5
    await asyncio.sleep(0.01)
    assert (queue.issued[2:], queue.end) == ([[4], [5]], 6)
    for task in (feeding, *last[1:]):
        task.cancel()
