"""Judge processes behind one queue. A hanging or dying judge costs its own verdict, nothing else.

Each process is kept by one thread that may block on it, so the pool works from any event loop and
any thread. One more process is kept warm: a lost one is replaced at once.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from configs.schema import JudgeConfig
from verifiers.judge_keeper import Job, JudgeKeeper, Nursery, PoolClosed
from verifiers.judge_process import REAP_TIMEOUT_S, START_TIMEOUT_S, JudgeDied
from verifiers.registry import path_of
from verifiers.types import Verdict
from verifiers.verdict_cache import VerdictCache

MAX_RESPONSE_CHARS = 1_000_000
"""Of a longer response the end is judged: that is where answers stand."""

MAX_PART = 32
"""Most responses handed to one process at a time: fewer threads to wake, and still fair."""

CACHED_VERDICTS = 50_000


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
    """Judge processes at work now, the warm spare not counted."""


class JudgePool:
    """``start`` before the first ``judge``; ``close`` ends every process."""

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._nursery = Nursery(config.memory_mib)
        self._keepers: list[JudgeKeeper] = []
        self._cache = VerdictCache(CACHED_VERDICTS)
        self._state_lock = threading.Lock()
        self._is_open = False

    async def start(self) -> None:
        """Returns when every process is warm. Raises RuntimeError with the cause when one fails."""
        await asyncio.to_thread(self.open)

    async def close(self) -> None:
        """Ends every process now; verdicts still waited for raise RuntimeError."""
        await asyncio.to_thread(self.shutdown)

    async def judge(self, verifier: str, answer: str, response: str) -> Verdict:
        """Judge one response. Raises ``UnknownVerifier``; everything else is a verdict."""
        return (await self.judge_many(verifier, answer, [response]))[0]

    async def judge_many(
        self, verifier: str, answer: str, responses: Sequence[str]
    ) -> list[Verdict]:
        """One verdict per response, in order."""
        futures = self.submit(verifier, answer, responses)
        parts = await asyncio.gather(*map(asyncio.wrap_future, futures))
        return [verdict for part in parts for verdict in part]

    def open(self) -> None:
        """``start`` for callers without an event loop."""
        self._keepers = [
            JudgeKeeper(self._config, self._jobs, self._nursery, self._cache)
            for _ in range(self._config.workers)
        ]
        try:
            for keeper in self._keepers:
                keeper.started.result(START_TIMEOUT_S + REAP_TIMEOUT_S)
        except (JudgeDied, TimeoutError) as error:
            self.shutdown()
            raise RuntimeError(f"judge processes do not start: {error}") from error
        self._is_open = True

    def shutdown(self) -> None:
        """``close`` for callers without an event loop."""
        with self._state_lock:
            self._is_open = False
        self._nursery.close()
        for _ in self._keepers:
            self._jobs.put(None)
        for keeper in self._keepers:
            keeper.join()
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job and job.verdicts.set_running_or_notify_cancel():
                    job.verdicts.set_exception(PoolClosed("the judge pool was closed"))

    def submit(
        self, verifier: str, answer: str, responses: Sequence[str]
    ) -> list["Future[list[Verdict]]"]:
        """``judge_many`` for callers without an event loop: the verdicts in order, in parts."""
        path = path_of(verifier)
        size = max(1, min(MAX_PART, len(responses) // (4 * self._config.workers)))
        jobs = [
            Job(
                path=path,
                answer=answer,
                responses=tuple(text[-MAX_RESPONSE_CHARS:] for text in responses[i : i + size]),
            )
            for i in range(0, len(responses), size)
        ]
        with self._state_lock:
            if not self._is_open:
                raise PoolClosed("the judge pool is not running")
            for job in jobs:
                self._jobs.put(job)
        return [job.verdicts for job in jobs]

    @property
    def stats(self) -> PoolStats:
        keepers = self._keepers
        return PoolStats(
            judged=sum(keeper.num_judged for keeper in keepers),
            cached=self._cache.num_hits,
            killed=sum(keeper.num_killed for keeper in keepers),
            errors=sum(keeper.num_errors for keeper in keepers),
            workers=sum(keeper.alive for keeper in keepers),
        )
