"""Wait until a cluster has what a plan needs. Nothing here knows Ray."""

import time
from collections.abc import Callable
from typing import TypeVar

from cluster.nodes import PlanError, Resources

T = TypeVar("T")

SAY_S = 30.0
LOOK_S = 1.0


def wait_for_room(
    look: Callable[[], Resources],
    fit: Callable[[Resources], T],
    say: Callable[[str], None],
    timeout_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What ``fit`` returns as soon as it does; its ``PlanError`` when that takes too long.

    ``say`` is told at once, and every 30 s, what is registered and what is missing.
    """
    began, said = clock(), float("-inf")
    while True:
        resources = look()
        try:
            return fit(resources)
        except PlanError as error:
            now = clock()
            if now - began >= timeout_s:
                waited = f", after cluster.resources_timeout_s={timeout_s:g}" if timeout_s else ""
                raise PlanError(f"{error}{waited}") from None
            if now - said >= SAY_S:
                said = now
                say(
                    f"waiting for nodes, {now - began:.0f} of {timeout_s:.0f} s: "
                    f"{resources} registered; {error}"
                )
        sleep(LOOK_S)
