"""When each part of a start was done: for the run's record, and for whoever wants it quicker."""

import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Phases:
    def __init__(self) -> None:
        self.done_us: dict[str, int] = {}
        """In the order of time, the first to end first."""

    def done(self, what: str) -> None:
        self.done_us[what] = time.time_ns() // 1000

    async def of(self, what: str, work: Awaitable[T]) -> T:
        found = await work
        self.done(what)
        return found
