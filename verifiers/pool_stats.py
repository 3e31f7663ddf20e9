"""What a judge pool says of itself."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 2000
"""Latest verdicts that the percentiles are taken over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    judged: int
    """Verdicts that a process was asked for, errors and time-outs included."""
    cached: int
    """Verdicts given from memory."""
    killed: int
    """Processes killed because a verdict took too long."""
    errors: int
    """Verdicts with status ``error``."""
    workers: int
    """Judge processes at work now."""
    waiting: int = 0
    """Responses that are being judged or wait for it."""
    ms_p50: float = 0.0
    """Milliseconds of one verdict, as the judge process measures them: the median, …"""
    ms_p90: float = 0.0
    ms_p99: float = 0.0
    unrecorded: int = 0
    """Judged groups that the recorder did not take: the page does not know of them."""


class Latencies:
    """Milliseconds of the latest verdicts. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[float] = deque(maxlen=WINDOW)

    def add(self, ms: float) -> None:
        with self._lock:
            self._latest.append(ms)

    def percentiles(self) -> dict[str, float]:
        with self._lock:
            ordered = sorted(self._latest)
        if not ordered:
            return {}
        return {
            f"ms_p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)]
            for share in (50, 90, 99)
        }


def merged(stats: Sequence[PoolStats]) -> PoolStats:
    """Of several pools: counts add up, of each percentile the slowest pool's is told."""
    return PoolStats(
        judged=sum(s.judged for s in stats),
        cached=sum(s.cached for s in stats),
        killed=sum(s.killed for s in stats),
        errors=sum(s.errors for s in stats),
        workers=sum(s.workers for s in stats),
        waiting=sum(s.waiting for s in stats),
        ms_p50=max(s.ms_p50 for s in stats),
        ms_p90=max(s.ms_p90 for s in stats),
        ms_p99=max(s.ms_p99 for s in stats),
        unrecorded=sum(s.unrecorded for s in stats),
    )
