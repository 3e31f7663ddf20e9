"""How long a part that died waits before it starts again: longer each time, but never for hours."""

import time

LONGEST_S = 60.0

CALM_S = 600.0
"""So long without a loss, and the next one is a first one."""


class BackOff:
    def __init__(self, first_s: float) -> None:
        self._first_s = self._next_s = first_s
        self._lost = time.monotonic()

    def next_s(self) -> float:
        """Of the loss that is now: twice as long as of the one before."""
        now = time.monotonic()
        if now - self._lost > CALM_S:
            self._next_s = self._first_s
        self._lost = now
        wait_s = self._next_s
        self._next_s = min(LONGEST_S, 2 * wait_s)
        return wait_s
