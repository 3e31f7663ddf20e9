"""The threads of a judge pool: each keeps one judge process busy and replaces it when it must."""

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from configs.schema import JudgeConfig
from verifiers.judge_process import (
    REAP_TIMEOUT_S,
    JudgeDied,
    JudgeOrphaned,
    JudgeProcess,
    JudgeTimedOut,
)
from verifiers.nursery import Nursery
from verifiers.pool_stats import Latencies
from verifiers.types import Task, Verdict
from verifiers.verdict_cache import VerdictCache

TEXT_DECIDES = ("correct", "wrong", "no_answer")
"""Verdicts worth remembering; a time-out or an error may be the machine's doing."""


class PoolClosed(RuntimeError):
    """A verdict was asked of a pool that is closed, or was closed before it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Responses to one problem that one process judges in a row."""

    path: str
    task: Task
    responses: tuple[str, ...]
    verdicts: "Future[list[Verdict]]" = field(default_factory=Future)


class JudgeKeeper:
    """Takes jobs from the queue until it holds a None or the nursery closes."""

    def __init__(
        self,
        config: JudgeConfig,
        jobs: "queue.SimpleQueue[Job | None]",
        nursery: Nursery,
        cache: VerdictCache,
        latencies: Latencies,
    ) -> None:
        self.started: Future[None] = Future()
        self.num_judged = self.num_killed = self.num_errors = 0
        self._config = config
        self._jobs = jobs
        self._nursery = nursery
        self._cache = cache
        self._latencies = latencies
        self._process: JudgeProcess | None = None
        self._num_since_renewal = 0
        self._thread = threading.Thread(target=self._run, name="judge-keeper", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        process = self._process
        return process is not None and process.alive

    def join(self) -> None:
        self._thread.join(2 * REAP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._ready_process()
        except Exception as error:  # whoever waits for the start must hear of it
            self.started.set_exception(error)
        else:
            self.started.set_result(None)
            while job := self._jobs.get():
                self._serve(job)
                if self._nursery.closed:
                    break
        finally:
            self._drop_process()

    def _serve(self, job: Job) -> None:
        if not job.verdicts.set_running_or_notify_cancel():
            return
        verdicts = []
        try:
            for response in job.responses:
                verdicts.append(self._verdict(job.path, job.task, response))
                if self._nursery.closed:
                    raise PoolClosed("the judge pool was closed")
        except Exception as error:  # a bug of ours too: the waiter must hear of it
            self._drop_process()
            job.verdicts.set_exception(error)
        else:
            job.verdicts.set_result(verdicts)

    def _verdict(self, path: str, task: Task, response: str) -> Verdict:
        known = self._cache.get(path, task, response)
        if known is not None:
            return replace(known, ms=0.0)
        verdict = self._judge(path, task, response)
        self._latencies.add(verdict.ms)
        if verdict.status in TEXT_DECIDES:
            self._cache.put(path, task, response, verdict)
        return verdict

    def _judge(self, path: str, task: Task, response: str) -> Verdict:
        start = time.monotonic()
        self.num_judged += 1
        self._num_since_renewal += 1
        try:
            try:
                reply = self._ask(path, task, response)
            except JudgeOrphaned:  # the response had no part in it: once more
                reply = self._ask(path, task, response)
        except JudgeTimedOut:
            self.num_killed += 1
            self._renew()
            detail = f"no verdict within {self._config.timeout_s:g} s"
            return Verdict(status="timeout", detail=detail, ms=_ms_since(start))
        except JudgeDied as error:
            self.num_errors += 1
            self._renew()
            return Verdict(status="error", detail=str(error), ms=_ms_since(start))
        must_retire = reply.pop("retire")
        verdict = Verdict(**reply)
        self.num_errors += verdict.status == "error"
        if must_retire or self._num_since_renewal >= self._config.recycle_after:
            self._renew()
        return verdict

    def _ask(self, path: str, task: Task, response: str) -> dict[str, Any]:
        process = self._ready_process()
        return process.ask(path, task, response, self._config.timeout_s)

    def _ready_process(self) -> JudgeProcess:
        if self._process is None or not self._process.alive:
            self._drop_process()
            self._process = self._nursery.take()
        self._process.wait_ready()
        return self._process

    def _renew(self) -> None:
        """Replace the process now; if that fails, the next job tries again and reports why."""
        self._drop_process()
        try:
            self._process = self._nursery.take()
        except JudgeDied:
            self._process = None

    def _drop_process(self) -> None:
        if self._process:
            self._process.kill()
        self._process = None
        self._num_since_renewal = 0


def _ms_since(start: float) -> float:
    return 1000 * (time.monotonic() - start)
