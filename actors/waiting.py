"""How to wait: with a deadline that says for what, and for several things at once."""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(awaitable: Awaitable[T], seconds: float, what: str) -> T:
    """A deadline from deeper down keeps its own words."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await awaitable
    except TimeoutError:
        if not deadline.expired():
            raise
        raise TimeoutError(f"waited {seconds:.0f} s for {what}") from None


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at the same time; when one fails the others are cancelled before this does."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
