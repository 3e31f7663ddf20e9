"""V12: what is wrong, since when, and what to do. The rules are in ``dashboard.server.health``."""

import time
from typing import Any

from dashboard.server.look import Look


def health(look: Look) -> dict[str, Any]:
    return {"alarms": look.run.alarms(), "rules": [], "checked_us": time.time_ns() // 1000}
