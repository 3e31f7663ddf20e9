"""Give every completion of a group its verdict and its decision, and settle the group.

group ─► verdicts (killable pool) ─► decisions, rewards, token weights ─► recorder, not waited for
                                                                     └──► queue.settle, waited for
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any, Protocol

from actors.audit import audit_row, audited_samples, prompt_text
from actors.settlement import settlement_of
from configs.failpoints import failpoint
from configs.schema import RunConfig
from verifiers.filters import NOT_JUDGED
from verifiers.hooks import bind_hooks, judged_group
from verifiers.pool import JudgePool
from verifiers.pool_stats import PoolStats
from verifiers.types import (
    Group,
    JudgedGroup,
    Problem,
    Settlement,
    Verdict,
)

logger = logging.getLogger(__name__)

MAX_UNRECORDED = 256
"""Groups on their way to the recorder; beyond that it is too slow, and they are not kept for it."""

FLUSH_TIMEOUT_S = 10.0


class Settles(Protocol):
    async def settle(self, settlement: Settlement) -> bool:
        """False when the attempt is fenced: another one has the ticket now."""
        ...


class Records(Protocol):
    async def problems(self, problems: list[Problem]) -> None: ...

    async def rollouts(self, judged: JudgedGroup) -> None: ...

    async def verdicts(self, rows: list[dict[str, Any]]) -> None: ...


class Judge:
    """``start`` first. What the recorder does or fails to do never delays a group."""

    def __init__(
        self, config: RunConfig, queue: Settles, recorder: Records, keep_rejected: bool = False
    ) -> None:
        """``keep_rejected``: the objective learns from whole groups."""
        self._config = config
        self._keep_rejected = keep_rejected
        self._queue = queue
        self._recorder = recorder
        self._hooks = bind_hooks(config.filter)
        self._measured = [step.name for step in self._hooks.steps if step.quantile is not None]
        self._pool = JudgePool(config.judge)
        self._recording: set[asyncio.Task[None]] = set()
        self.num_unrecorded = 0

    async def start(self) -> None:
        await self._pool.start()

    async def judge(self, group: Group) -> None:
        """Returns when the queue has the group, or has refused it because it is fenced."""
        judged = await self._judged(group)
        self._record(judged)
        settlement = settlement_of(
            judged,
            keep_rejected=self._keep_rejected,
            reweight=self._config.economy.reweight,
            measured=self._measured,
        )
        failpoint("judge.judged")
        try:
            async with asyncio.timeout(self._config.cluster.wait_timeout_s):
                await self._queue.settle(settlement)
        except TimeoutError as error:
            raise TimeoutError(
                f"the queue did not settle ticket {group.ticket.number} within "
                f"{self._config.cluster.wait_timeout_s:g} s"
            ) from error

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]:
        """One verdict per text, in order; nothing is recorded or settled."""
        return await self._pool.judge_many(
            problem.verifier, problem.answer, texts, prompt_text(problem)
        )

    async def stats(self) -> PoolStats:
        return replace(self._pool.stats, unrecorded=self.num_unrecorded)

    async def close(self) -> None:
        """Gives the recorder a moment to take what is on its way, then ends the judge processes."""
        if self._recording:
            await asyncio.wait(self._recording, timeout=FLUSH_TIMEOUT_S)
        await self._pool.close()

    async def _judged(self, group: Group) -> JudgedGroup:
        verdicts = await self._verdicts_of(group)
        # In a thread: some parts take long, and this process must answer others meanwhile.
        return await asyncio.to_thread(judged_group, group, verdicts, self._hooks)

    async def _verdicts_of(self, group: Group) -> tuple[Verdict, ...]:
        """Truncated responses are judged too, so that what the cap cost can be seen."""
        finished = [c.text for c in group.completions if c.finish_reason != "abort"]
        verdicts = iter(await self.verdicts(group.ticket.problem, finished))
        return tuple(
            NOT_JUDGED if c.finish_reason == "abort" else next(verdicts) for c in group.completions
        )

    def _record(self, judged: JudgedGroup) -> None:
        if len(self._recording) >= MAX_UNRECORDED:
            self._count_unrecorded("it is too slow")
            return
        task = asyncio.create_task(self._hand_over(judged))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)

    async def _hand_over(self, judged: JudgedGroup) -> None:
        try:
            async with asyncio.timeout(self._config.cluster.wait_timeout_s):
                await self._recorder.problems([judged.group.ticket.problem])
                await self._recorder.rollouts(judged)
                await self._audit(judged)
        except Exception as error:  # a dead recorder costs the record, never the run
            self._count_unrecorded(f"{type(error).__name__}: {error}")

    async def _audit(self, judged: JudgedGroup) -> None:
        """A second opinion costs a verdict, and decides nothing."""
        config, problem = self._config.judge, judged.group.ticket.problem
        samples = audited_samples(judged, config.audit_share)
        if not samples:
            return
        seconds: list[tuple[str, Verdict] | None] = [None] * len(samples)
        if config.audit_verifier is not None:
            verdicts = await self._pool.judge_many(
                config.audit_verifier,
                problem.answer,
                [judged.group.completions[sample].text for sample in samples],
                prompt_text(problem),
            )
            seconds = [(config.audit_verifier, verdict) for verdict in verdicts]
        rows = [audit_row(judged, s, second) for s, second in zip(samples, seconds, strict=True)]
        await self._recorder.verdicts(rows)

    def _count_unrecorded(self, cause: str) -> None:
        self.num_unrecorded += 1
        if self.num_unrecorded == 1:
            logger.warning("the recorder did not take a judged group, training goes on: %s", cause)
