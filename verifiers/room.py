"""How much may wait at once. Whoever wants more waits its turn, in a thread or on an event loop."""

import threading
from collections import deque
from concurrent.futures import Future


class Room:
    """``ask`` gives a future that is done when there is room; ``give_back`` what was taken.

    First come, first served: a large demand is not starved by small ones. One that is larger than
    the whole room is let in when the room is empty.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        self._closed: Exception | None = None

    @property
    def taken(self) -> int:
        return self._taken

    def ask(self, amount: int) -> "Future[None]":
        turn: Future[None] = Future()
        with self._lock:
            if self._closed:
                turn.set_exception(self._closed)
            else:
                self._waiting.append((amount, turn))
        self._admit()
        return turn

    def give_back(self, amount: int) -> None:
        with self._lock:
            self._taken -= amount
        self._admit()

    def close(self, error: Exception) -> None:
        """Everybody who waits, or will ask, gets the error."""
        with self._lock:
            self._closed = error
            refused, self._waiting = self._waiting, deque()
        for _, turn in refused:
            if turn.set_running_or_notify_cancel():
                turn.set_exception(error)

    def _admit(self) -> None:
        """Futures are completed outside the lock: their callbacks may come back here."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                amount, turn = self._waiting[0]
                if self._taken and self._taken + amount > self._size and not turn.cancelled():
                    return
                self._waiting.popleft()
                if not turn.set_running_or_notify_cancel():
                    continue
                self._taken += amount
            turn.set_result(None)
