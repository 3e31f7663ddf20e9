"""Writes the groups that tickets ask for. Pure logic: no vLLM, no torch, no Ray.

    ticket -> engine: size completions -> judge: verdicts, decisions, the queue -> done

Where the data brings responses, one takes the place of the engine's or joins them.

How many tickets are under way at the same time is for the loop to say; the engine batches them.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from actors.engine import Engine, EngineStats, LoadReport
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


class Judges(Protocol):
    async def judge(self, group: Group) -> None:
        """Judge, record and settle the group."""
        ...

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]: ...


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
        self._engine: Engine | None = None

    async def start(self) -> None:
        # In a thread: making the engine imports what takes seconds to import.
        self._engine = await asyncio.to_thread(self._make_engine)
        await self._engine.start()

    async def generate(self, ticket: Ticket) -> None:
        """Write the ticket's group; returns when it is settled."""
        sampling = self._fitted(ticket.problem, training_sampling(self._config))
        completions = await self._responses(ticket, sampling)
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
        completions = await self._sample(problem, count, self._fitted(problem, sampling))
        verdicts = await self._within(
            self._judge.verdicts(problem, [completion.text for completion in completions]),
            f"the verdicts on problem {problem.id!r}",
        )
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
            )
            for number, (completion, verdict) in enumerate(zip(completions, verdicts, strict=True))
        )

    async def load_weights(self, weights: PublishedWeights) -> LoadReport:
        return await self._running().load_weights(weights)

    async def stats(self) -> EngineStats:
        return await self._running().stats()

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    async def _responses(self, ticket: Ticket, sampling: Sampling) -> tuple[Completion, ...]:
        responses = self._config.data.responses
        if responses == "instead":
            return (self._given(ticket.problem),)
        written = await self._sample(ticket.problem, ticket.size, sampling)
        return (*written, self._given(ticket.problem)) if responses == "beside" else written

    def _given(self, problem: Problem) -> Completion:
        """As if it had been written just now: it is never older than the policy."""
        assert problem.given_ids, "a row without a response is refused before the run"
        version, now_us = self._running().version, time.time_ns() // 1000
        return Completion(
            text=problem.given_text,
            token_ids=problem.given_ids,
            finish_reason="stop",
            first_version=version,
            last_version=version,
            start_us=now_us,
            end_us=now_us,
            is_expert=True,
        )

    async def _sample(
        self, problem: Problem, count: int, sampling: Sampling
    ) -> tuple[Completion, ...]:
        return await self._within(
            self._running().sample(problem.prompt_ids, count, sampling),
            f"{self._id} to write {count} responses to problem {problem.id!r}",
        )

    async def _within(self, awaitable: Awaitable[T], what: str) -> T:
        seconds = self._config.cluster.wait_timeout_s
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await awaitable
        except TimeoutError:
            if not deadline.expired():
                raise  # a deadline below this one, with its own words
            raise TimeoutError(f"waited {seconds:.0f} s for {what}") from None

    def _running(self) -> Engine:
        if self._engine is None:
            raise RuntimeError(f"{self._id} has not been started")
        return self._engine

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


def training_sampling(config: RunConfig) -> Sampling:
    return Sampling(
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        top_k=config.sampling.top_k,
        min_p=config.sampling.min_p,
        repetition_penalty=config.sampling.repetition_penalty,
        max_tokens=config.max_response_tokens,
        logprobs=True,
    )
