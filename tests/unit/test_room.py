import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from verifiers.room import Room


def test_who_comes_first_is_let_in_first_even_when_a_smaller_one_would_fit():
    room = Room(10)
    first, large, small = room.ask(8), room.ask(5), room.ask(1)
    assert [turn.done() for turn in (first, large, small)] == [True, False, False]

    room.give_back(8)

    assert [turn.done() for turn in (large, small)] == [True, True]
    assert room.taken == 6


def test_a_demand_larger_than_the_room_is_let_in_when_the_room_is_empty():
    room = Room(4)
    taken, huge = room.ask(1), room.ask(100)
    assert taken.done() and not huge.done()

    room.give_back(1)

    assert huge.done()
    assert not room.ask(1).done()


def test_who_gives_up_waiting_takes_no_room():
    room = Room(4)
    room.ask(4)
    gone, next_one = room.ask(4), room.ask(4)
    gone.cancel()

    room.give_back(4)

    assert next_one.done()
    assert room.taken == 4


def test_closing_tells_everybody_who_waits_and_who_comes_later():
    room = Room(1)
    room.ask(1)
    waiting = room.ask(1)

    room.close(RuntimeError("closed"))

    for turn in (waiting, room.ask(1)):
        with pytest.raises(RuntimeError, match="closed"):
            turn.result(0)


async def test_never_more_than_the_room_from_any_thread_and_nobody_is_forgotten():
    room, inside, most = Room(5), 0, 0

    async def visit(amount: int) -> None:
        nonlocal inside, most
        await asyncio.wrap_future(room.ask(amount))
        inside += amount
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= amount
        with ThreadPoolExecutor(1) as thread:
            thread.submit(room.give_back, amount)

    async with asyncio.timeout(20):
        await asyncio.gather(*(visit(1 + i % 4) for i in range(100)))

    assert most <= 5
    assert room.taken == 0
