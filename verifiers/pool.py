"""Judge processes behind one bounded queue. A hanging or dying judge costs its own verdict, nothing
else.

Each process is kept by one thread that may block on it, so the pool works from any event loop and
any thread. A lost process is replaced in milliseconds, by a fork of one that has all libraries.
"""

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from configs.schema import JudgeConfig
from verifiers.judge_keeper import Job, JudgeKeeper, PoolClosed
from verifiers.judge_process import REAP_TIMEOUT_S, JudgeDied
from verifiers.nursery import START_TIMEOUT_S, Nursery
from verifiers.pool_stats import Latencies, PoolStats
from verifiers.registry import path_of
from verifiers.room import Room
from verifiers.types import Rules, Task, Verdict
from verifiers.verdict_cache import VerdictCache

MAX_RESPONSE_CHARS = 1_000_000
"""Of a longer response the end is judged: that is where answers stand."""

MAX_PART = 32
"""Most responses handed to one process at a time: fewer threads to wake, and still fair."""

CACHED_VERDICTS = 50_000


class JudgePool:
    """``start`` before the first ``judge``; ``close`` ends every process."""

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config
        self._rules = rules_of(config)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._room = Room(config.queue_size)
        self._nursery = Nursery(config.memory_mib, self._rules)
        self._keepers: list[JudgeKeeper] = []
        self._cache = VerdictCache(CACHED_VERDICTS)
        self._latencies = Latencies()
        self._state_lock = threading.Lock()
        self._is_open = False

    async def start(self) -> None:
        """Returns when every process is warm. Raises RuntimeError with the cause when one fails."""
        await asyncio.to_thread(self.open)

    async def close(self) -> None:
        """Ends every process now; verdicts still waited for raise RuntimeError."""
        await asyncio.to_thread(self.shutdown)

    async def judge(self, verifier: str, answer: str, response: str, prompt: str = "") -> Verdict:
        """Judge one response. Raises ``UnknownVerifier``; everything else is a verdict."""
        return (await self.judge_many(verifier, answer, [response], prompt))[0]

    async def judge_many(
        self, verifier: str, answer: str, responses: Sequence[str], prompt: str = ""
    ) -> list[Verdict]:
        """One verdict per response, in order. Waits for room in the queue first."""
        jobs = self._jobs_for(verifier, answer, responses, prompt)
        turn = self._room.ask(len(responses))
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and not turn.exception():
                self._room.give_back(len(responses))  # room came in the moment it was given up
            raise
        self._enqueue(jobs)
        parts = await asyncio.gather(*(asyncio.wrap_future(job.verdicts) for job in jobs))
        return [verdict for part in parts for verdict in part]

    def open(self) -> None:
        """``start`` for callers without an event loop."""
        self._keepers = [
            JudgeKeeper(self._config, self._jobs, self._nursery, self._cache, self._latencies)
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
        self._room.close(PoolClosed("the judge pool was closed"))
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
        self, verifier: str, answer: str, responses: Sequence[str], prompt: str = ""
    ) -> list["Future[list[Verdict]]"]:
        """``judge_many`` for callers without an event loop: the verdicts in order, in parts.
        Blocks while the queue is full."""
        jobs = self._jobs_for(verifier, answer, responses, prompt)
        self._room.ask(len(responses)).result()
        self._enqueue(jobs)
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
            waiting=self._room.taken,
            unrecorded=0,  # which the judge counts
            **self._latencies.percentiles(),
        )

    def _jobs_for(
        self, verifier: str, answer: str, responses: Sequence[str], prompt: str
    ) -> list[Job]:
        path = path_of(verifier)
        task = Task(answer=answer, prompt=prompt, rules=self._rules)
        size = max(1, min(MAX_PART, len(responses) // (4 * self._config.workers)))
        return [
            Job(
                path=path,
                task=task,
                responses=tuple(text[-MAX_RESPONSE_CHARS:] for text in responses[i : i + size]),
            )
            for i in range(0, len(responses), size)
        ]

    def _enqueue(self, jobs: list[Job]) -> None:
        """Room was taken for them; each gives its own back when it has its verdicts, or none."""
        for job in jobs:
            job.verdicts.add_done_callback(lambda _, job=job: self._leave(job))
        with self._state_lock:
            is_open = self._is_open
            if is_open:
                for job in jobs:
                    self._jobs.put(job)
        if not is_open:
            for job in jobs:
                job.verdicts.set_exception(PoolClosed("the judge pool is not running"))

    def _leave(self, job: Job) -> None:
        self._room.give_back(len(job.responses))


def usable_cores() -> int:
    """Cores that this process may use; a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rules_of(config: JudgeConfig) -> Rules:
    return Rules(
        part=config.part,
        strictness=config.strictness,
        guards=config.guards,
        code_cpu_s=config.code_cpu_s,
        code_memory_mib=config.code_memory_mib,
    )
