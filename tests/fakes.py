"""Stand-ins for what a test does not want to start: tiny, but with real behaviour."""

import asyncio
from dataclasses import replace

from actors.engine import EngineDied, EngineStats, LoadReport
from verifiers.types import (
    Completion,
    Group,
    Message,
    Problem,
    PublishedWeights,
    Sampling,
    Ticket,
    Verdict,
)
from verifiers.weights_file import WeightsRefused

EOS = 2


class FakeEngine:
    """Answers with ``answers`` in turn. While ``hold()`` is in force nothing finishes."""

    def __init__(self, answers: tuple[str, ...] = ("42",)) -> None:
        self.version = 0
        self.calls: list[str] = []
        self.asked: list[tuple[tuple[int, ...], int, Sampling]] = []
        self.in_flight = 0
        self._answers = answers
        self._written = 0
        self._open = asyncio.Event()
        self._open.set()
        self._fingerprint = ""
        self._dead = False

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def die(self) -> None:
        """Everything in flight fails, and so does every later call."""
        self._dead = True
        self._open.set()

    async def start(self) -> None:
        self.calls.append("start")

    async def sample(
        self, prompt_ids: tuple[int, ...], count: int, sampling: Sampling
    ) -> tuple[Completion, ...]:
        self.calls.append("sample")
        self.asked.append((prompt_ids, count, sampling))
        first_version = self.version
        self.in_flight += count
        try:
            await self._open.wait()
        finally:
            self.in_flight -= count
        self._check_alive()
        completions = tuple(self._next(sampling) for _ in range(count))
        return tuple(
            replace(completion, first_version=first_version, last_version=self.version)
            for completion in completions
        )

    async def load_weights(self, weights: PublishedWeights) -> LoadReport:
        self.calls.append(f"load {weights.version}")
        self._check_alive()
        repeated = (weights.version, weights.fingerprint) == (self.version, self._fingerprint)
        if weights.version <= self.version and not repeated:
            raise WeightsRefused(f"weights version {weights.version} refused: {self.version}")
        self.version, self._fingerprint = weights.version, weights.fingerprint
        return LoadReport(
            version=weights.version,
            fingerprint=weights.fingerprint,
            num_tensors=weights.num_tensors,
            seconds=0.0,
            prepare_s=0.0,
            stall_s=0.0,
            in_flight=self.in_flight,
        )

    async def stats(self) -> EngineStats:
        self._check_alive()
        return EngineStats(
            version=self.version,
            running=self.in_flight,
            waiting=0,
            kv_use=0.0,
            generated_tokens=0,
            requests_done=self._written,
        )

    async def close(self) -> None:
        self.calls.append("close")

    def _check_alive(self) -> None:
        if self._dead:
            raise EngineDied("the fake engine died")

    def _next(self, sampling: Sampling) -> Completion:
        max_tokens = sampling.max_tokens
        text = self._answers[self._written % len(self._answers)]
        self._written += 1
        token_ids = (*(100 + ord(letter) for letter in text), EOS)[:max_tokens]
        return Completion(
            text=text[:max_tokens],
            token_ids=token_ids,
            logprobs=(-0.5,) * len(token_ids) if sampling.logprobs else (),
            finish_reason="stop" if token_ids[-1] == EOS else "length",
            first_version=0,
            last_version=0,
            start_us=1,
            end_us=2,
        )


class FakeJudge:
    """Right is what contains the problem's answer; keeps every group it was given."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.asked: list[tuple[Problem, list[str]]] = []
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def judge(self, group: Group) -> None:
        await self._open.wait()
        self.groups.append(group)

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]:
        self.asked.append((problem, texts))
        await self._open.wait()
        return [
            Verdict(status="correct" if problem.answer in text else "wrong", extracted=text.strip())
            for text in texts
        ]


def make_problem(id: str = "p-0", *, answer: str = "42", num_prompt_tokens: int = 5) -> Problem:
    return Problem(
        id=id,
        messages=(Message(role="user", content="What is six times seven?"),),
        answer=answer,
        source="made up",
        verifier="contains",
        prompt_ids=tuple(range(10, 10 + num_prompt_tokens)),
    )


def make_ticket(
    number: int = 0, *, size: int = 4, budget: int = 50, problem: Problem | None = None
) -> Ticket:
    return Ticket(
        number=number, attempt=0, problem=problem or make_problem(), size=size, budget=budget
    )
