"""How many tokens of a response are thinking."""

from bisect import bisect_left
from collections.abc import Callable

OPEN, CLOSE = "<think>", "</think>"


def think_tokens(
    token_ids: tuple[int, ...], is_open: bool, text_of: Callable[[tuple[int, ...]], str]
) -> int:
    """Up to and including the first ``</think>``; all of them while it is not closed; none when
    it never began. ``is_open``: the prompt ended with ``<think>``."""
    text = text_of(token_ids)
    if CLOSE not in text:
        return len(token_ids) if is_open or OPEN in text else 0
    # Once it is closed it stays closed: the place can be bisected.
    return (
        bisect_left(
            range(1, len(token_ids) + 1),
            True,
            key=lambda count: CLOSE in text_of(token_ids[:count]),
        )
        + 1
    )
