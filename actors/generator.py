"""Writes the groups that tickets ask for. Pure logic: no vLLM, no torch, no Ray.

    ticket -> group_writer.py: completions -> judge: verdicts, decisions, the queue -> done

How many tickets are under way at the same time is for the loop to say, how many of their requests
the engine has at a time for ``admission.py``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol, TypeVar

from actors.admission import Admission
from actors.doomed import rule_of
from actors.engine import Engine, EngineDied, EngineStats, LoadReport
from actors.group_writer import GroupWriter
from actors.thinking import OPEN, think_tokens
from actors.waiting import together, within
from configs.failpoints import failpoint
from configs.schema import RunConfig
from verifiers.types import (
    Completion,
    EvalSample,
    Group,
    Problem,
    PublishedWeights,
    Sampling,
    Ticket,
    Verdict,
)

T = TypeVar("T")

LOOK_S = 0.5
"""How often the engine's load is looked at with ``engine.adaptive``."""


class Judges(Protocol):
    async def judge(self, group: Group) -> None:
        """Judge, record and settle the group."""
        ...

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    engine: Engine
    writer: GroupWriter


class Generator:
    """One engine and what it is told to write."""

    def __init__(
        self,
        generator_id: str,
        make_engine: Callable[[], Engine],
        judge: Judges,
        config: RunConfig,
    ) -> None:
        self._id = generator_id
        self._make_engine = make_engine
        self._judge = judge
        self._config = config
        self._admission = Admission(config.engine.max_num_seqs, config.engine.eval_share)
        self._started: _Started | None = None
        self._adapting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        config, doomed = self._config, self._config.economy.doomed
        rule = rule_of(doomed) if doomed is not None else None
        # In a thread: making the engine imports what takes seconds to import.
        engine = await asyncio.to_thread(self._make_engine)
        writer = GroupWriter(self._id, engine, self._admission, self._judge, config, rule)
        self._started = _Started(engine=engine, writer=writer)
        await engine.start()
        if config.engine.adaptive:
            self._adapting = asyncio.create_task(self._adapt(engine))

    async def generate(self, ticket: Ticket) -> None:
        """Write the ticket's group; returns when it is settled."""
        sampling = self._fitted(ticket.problem, training_sampling(self._config, ticket))
        completions = await self._running().writer.write(ticket, sampling)
        group = Group(
            ticket=replace(ticket, size=len(completions)),
            generator_id=self._id,
            completions=completions,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
        )
        await self._within(
            self._judge.judge(group), f"the judge to settle the group of ticket {ticket.number}"
        )

    async def evaluate(
        self, problem: Problem, count: int, sampling: Sampling
    ) -> tuple[EvalSample, ...]:
        """Judged responses that go nowhere else; no longer than the context allows."""
        fitted = self._fitted(problem, sampling)
        completions = await self._within(
            together(self._evaluated(problem, fitted) for _ in range(count)),
            f"{self._id} to write {count} responses to problem {problem.id!r}",
        )
        verdicts = await self._within(
            self._judge.verdicts(problem, [completion.text for completion in completions]),
            f"the verdicts on problem {problem.id!r}",
        )
        text_of = self._running().engine.text_of
        is_open = text_of(problem.prompt_ids).rstrip().endswith(OPEN)
        return tuple(
            EvalSample(
                problem_id=problem.id,
                sample=number,
                version=completion.first_version,
                status=verdict.status,
                finish_reason=completion.finish_reason,
                num_tokens=len(completion.token_ids),
                text=completion.text,
                extracted=verdict.extracted,
                num_think=think_tokens(completion.token_ids, is_open, text_of),
                logprob_mean=fmean(completion.logprobs) if completion.logprobs else None,
            )
            for number, (completion, verdict) in enumerate(zip(completions, verdicts, strict=True))
        )

    async def load_weights(self, weights: PublishedWeights) -> LoadReport:
        failpoint("engine.swap")
        return await self._running().engine.load_weights(weights)

    async def stats(self) -> EngineStats:
        """Of the engine, and of what waits before it."""
        stats = await self._running().engine.stats()
        waiting = stats.waiting + self._admission.waiting
        return replace(stats, waiting=waiting, limit=self._admission.limit)

    async def close(self) -> None:
        if self._adapting is not None:
            self._adapting.cancel()
        if self._started is not None:
            await self._started.engine.close()

    async def _evaluated(self, problem: Problem, sampling: Sampling) -> Completion:
        async with self._admission.slot("evaluation", sampling.max_tokens, 0):
            return await self._running().engine.sample(problem.prompt_ids, sampling)

    async def _adapt(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self._admission.look(await engine.stats())
            except EngineDied:
                return  # whoever asks it for something is told

    async def _within(self, awaitable: Awaitable[T], what: str) -> T:
        return await within(awaitable, self._config.cluster.wait_timeout_s, what)

    def _running(self) -> _Started:
        if self._started is None:
            raise RuntimeError(f"{self._id} has not been started")
        return self._started

    def _fitted(self, problem: Problem, sampling: Sampling) -> Sampling:
        """No more tokens than the context leaves after the prompt."""
        room = self._config.engine.max_model_len - len(problem.prompt_ids)
        if room < 1:
            raise ValueError(
                f"the prompt of problem {problem.id!r} has {len(problem.prompt_ids)} tokens and "
                f"leaves no room in engine.max_model_len {self._config.engine.max_model_len}. "
                "Raise it, or lower data.max_prompt_tokens"
            )
        return replace(sampling, max_tokens=min(sampling.max_tokens, room))


def training_sampling(config: RunConfig, ticket: Ticket) -> Sampling:
    """A response longer than the ticket's budget cannot be accepted, and ends there."""
    return Sampling(
        temperature=ticket.temperature,
        top_p=config.sampling.top_p,
        top_k=config.sampling.top_k,
        min_p=config.sampling.min_p,
        repetition_penalty=config.sampling.repetition_penalty,
        max_tokens=config.sampling.max_tokens or ticket.budget,
        logprobs=True,
    )
