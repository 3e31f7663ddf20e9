"""How many engines a run is to have as nodes come and go, unless somebody has said."""

import time
from collections.abc import Callable

from cluster.nodes import Resources
from cluster.plan import Plan, engines_that_fit
from configs.schema import RunConfig

LOOK_S = 5.0


class Elastic:
    """Between ``engine.min_engines`` and ``engine.max_engines``, as many as the nodes carry."""

    def __init__(
        self,
        config: RunConfig,
        plan: Plan,
        wished: Callable[[], int | None],
        look: Callable[[], Resources],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``plan`` as the run began; ``wished`` is what ``laconic scale`` asked for since."""
        self._config = config
        self._plan = plan
        self._wished = wished
        self._look = look
        self._clock = clock
        self._looked = clock()
        self._last = len(plan.engines)

    def wanted_engines(self) -> int | None:
        """None: nothing has changed. A wish holds until nodes come or go."""
        wish = self._wished()
        if wish is not None:
            return wish
        if self._config.engine.max_engines is None or self._clock() - self._looked < LOOK_S:
            return None
        self._looked = self._clock()
        least = self._config.engine.min_engines or 1
        now = max(least, engines_that_fit(self._plan, self._config, self._look()))
        if now == self._last:
            return None
        self._last = now
        return now
