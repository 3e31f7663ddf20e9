"""Stand-ins for what a test does not want to start: tiny, but with real behaviour."""

import asyncio
from collections.abc import Callable
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
    """Answers with ``answers`` in turn, one token a letter. While ``hold()`` is in force nothing
    finishes. ``paced``: every token takes one turn of the event loop."""

    def __init__(
        self,
        answers: tuple[str, ...] | Callable[[tuple[int, ...]], str] = ("42",),
        *,
        paced: bool = False,
        text_of_prompt: str = "",
    ) -> None:
        self.version = 0
        self.calls: list[str] = []
        self.asked: list[tuple[tuple[int, ...], Sampling]] = []
        self.scored: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.num_written = 0
        """Tokens."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.preemptions = 0
        self.kv_use = 0.0
        self._answers = answers
        self._plans: list[str] = []
        self._paced = paced
        self._text_of_prompt = text_of_prompt
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
        self,
        prompt_ids: tuple[int, ...],
        sampling: Sampling,
        *,
        begun: Completion | None = None,
        stop: asyncio.Event | None = None,
    ) -> Completion:
        self.calls.append("sample")
        self.asked.append((prompt_ids, sampling))
        plan = self._plan(prompt_ids) if begun is None else begun.start_us
        first_version = begun.first_version if begun is not None else self.version
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._open.wait()
            self._check_alive()
            done = await self._write(plan, begun, sampling, stop)
        finally:
            self.in_flight -= 1
        return replace(done, first_version=first_version, last_version=self.version)

    async def score(
        self, prompt_ids: tuple[int, ...], response_ids: tuple[int, ...]
    ) -> tuple[float, ...]:
        self.scored.append((prompt_ids, response_ids))
        return tuple(-float(token) for token in response_ids)

    def text_of(self, token_ids: tuple[int, ...]) -> str:
        return self._text_of_prompt

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
            kv_use=self.kv_use,
            generated_tokens=self.num_written,
            requests_done=len(self._plans),
            limit=0,
            preemptions=self.preemptions,
            prompt_tokens=0,
            cached_tokens=0,
        )

    async def close(self) -> None:
        self.calls.append("close")

    def _check_alive(self) -> None:
        if self._dead:
            raise EngineDied("the fake engine died")

    def _plan(self, prompt_ids: tuple[int, ...]) -> int:
        """What will be answered is known before its first token, under this number."""
        turn, answers = len(self._plans), self._answers
        self._plans.append(
            answers(prompt_ids) if callable(answers) else answers[turn % len(answers)]
        )
        return turn

    async def _write(
        self, plan: int, begun: Completion | None, sampling: Sampling, stop: asyncio.Event | None
    ) -> Completion:
        text = self._plans[plan]
        start = len(begun.token_ids) if begun is not None else 0
        end = min(len(text) + 1, sampling.max_tokens)
        if self._paced:
            for place in range(start, end):
                if stop is not None and stop.is_set():
                    end = place
                    break
                await asyncio.sleep(0)
        self.num_written += end - start
        token_ids = (*(100 + ord(letter) for letter in text), EOS)[:end]
        is_whole = len(token_ids) == len(text) + 1
        is_cut = len(token_ids) == sampling.max_tokens
        return Completion(
            text=text[:end],
            token_ids=token_ids,
            logprobs=(-0.5,) * len(token_ids) if sampling.logprobs else (),
            finish_reason="stop" if is_whole else "length" if is_cut else "abort",
            first_version=0,
            last_version=0,
            start_us=plan,
            end_us=plan + 1,
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
