"""Which completions a ticket gets: its rollouts, what is saved of them, and those of others.

    probe ─► none accepted? a coin ─► the others        the group ends early
    rollout ─► doomed at a share of the budget? a coin  the rollout ends early
    k accepted ─► cancel the rest                       (biased: short answers finish first)

Every coin is made from the seed and the place of what it decides, never from when something
finished, and its probability stands beside the completion as ``propensity``.
"""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from actors.admission import Admission
from actors.doomed import THINK_OPENS, Rule
from actors.engine import Engine
from actors.waiting import together, within
from configs.schema import RunConfig
from verifiers.filters import NOT_JUDGED, decide
from verifiers.types import Completion, Problem, Sampling, Ticket, Verdict, rollout_id

T = TypeVar("T")

PROMPT_END = 16
"""Tokens at the end of a prompt in which a ``<think>`` would stand."""

UNKNOWN = frozenset({"verifier_error", "verifier_timeout"})
"""Reasons that say nothing about a response."""


class GivesVerdicts(Protocol):
    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]: ...


class GroupWriter:
    """Writes the completions of one ticket after the other, or of many at a time."""

    def __init__(
        self,
        generator_id: str,
        engine: Engine,
        admission: Admission,
        judge: GivesVerdicts,
        config: RunConfig,
        rule: Rule | None,
    ) -> None:
        """``rule``: what ``economy.doomed`` names."""
        self._id = generator_id
        self._engine = engine
        self._admission = admission
        self._judge = judge
        self._config = config
        self._economy = config.economy
        self._rule = rule
        self._is_scored = any(step.use == "grape" for step in config.filter.steps)

    async def write(self, ticket: Ticket, sampling: Sampling) -> tuple[Completion, ...]:
        responses = self._config.data.responses
        if responses == "instead":
            return await self._scored(ticket, [self._given(ticket.problem)])
        completions = await self._rollouts(ticket, sampling)
        if responses == "beside":
            completions += await self._paraphrased(ticket, completions, sampling)
            completions.append(self._given(ticket.problem))
        return await self._scored(ticket, completions)

    async def _rollouts(self, ticket: Ticket, sampling: Sampling) -> list[Completion]:
        """The policy's own."""
        race = _Race(self._economy.stop_after)
        probe = min(self._economy.probe or ticket.size, ticket.size)
        numbers = range(ticket.size)
        first = await self._written(ticket, numbers[:probe], sampling, race)
        if probe == ticket.size:
            return first
        propensity = 1.0
        reasons = await self._reasons(ticket, first)
        if None not in reasons and UNKNOWN.isdisjoint(reasons):
            propensity = self._economy.probe_continue
            if not self._coin(propensity, f"{ticket.number}-{ticket.attempt}-probe"):
                return first
        others = await self._written(ticket, numbers[probe:], sampling, race)
        return first + [replace(c, propensity=c.propensity * propensity) for c in others]

    async def _written(
        self, ticket: Ticket, numbers: Iterable[int], sampling: Sampling, race: "_Race"
    ) -> list[Completion]:
        return await together(self._raced(ticket, number, sampling, race) for number in numbers)

    async def _raced(
        self, ticket: Ticket, number: int, sampling: Sampling, race: "_Race"
    ) -> Completion:
        completion = await self._in_time(
            self._rollout(ticket, number, sampling, race.stop),
            f"{self._id} to write a response to problem {ticket.problem.id!r}",
        )
        if race.stop is not None and await self._reasons(ticket, [completion]) == [None]:
            race.count_accepted()
        return completion

    async def _rollout(
        self, ticket: Ticket, number: int, sampling: Sampling, stop: asyncio.Event | None
    ) -> Completion:
        async with self._admission.slot("rollout", _expected(ticket), ticket.number, stop) as has:
            if not has or (stop is not None and stop.is_set()):
                return self._not_begun()
            completion = await self._drawn(ticket, number, sampling, stop)
        if stop is None or completion.finish_reason != "abort" or completion.aborted_by:
            return completion
        return replace(completion, aborted_by="cancelled")

    async def _drawn(
        self, ticket: Ticket, number: int, sampling: Sampling, stop: asyncio.Event | None
    ) -> Completion:
        problem, sample = ticket.problem, self._engine.sample
        cut = math.ceil(self._economy.doomed_at * ticket.budget)
        if self._rule is None or cut >= sampling.max_tokens:
            return await sample(problem.prompt_ids, sampling, stop=stop)
        begun = await sample(problem.prompt_ids, replace(sampling, max_tokens=cut), stop=stop)
        if begun.finish_reason != "length":
            return begun
        propensity = 1.0
        if self._rule(self._opening(problem) + begun.text, problem):
            propensity = self._economy.doomed_continue
            if not self._coin(propensity, rollout_id(ticket.number, ticket.attempt, number)):
                return replace(
                    begun, finish_reason="abort", aborted_by="doomed", propensity=propensity
                )
        whole = await sample(problem.prompt_ids, sampling, begun=begun, stop=stop)
        return replace(whole, propensity=propensity)

    async def _paraphrased(
        self, ticket: Ticket, own: Sequence[Completion], sampling: Sampling
    ) -> list[Completion]:
        """S3FT: the given response in the policy's own words, where it had no right ones."""
        prompt_ids = ticket.problem.paraphrase_ids
        room = self._config.engine.max_model_len - len(prompt_ids)
        if not prompt_ids or room < 1 or None in await self._reasons(ticket, own):
            return []
        asked = replace(sampling, max_tokens=min(sampling.max_tokens, room), logprobs=False)

        async def written() -> Completion:
            async with self._admission.slot("rollout", _expected(ticket), ticket.number):
                return await self._engine.sample(prompt_ids, asked)

        completion = await self._in_time(
            written(), f"{self._id} to paraphrase {ticket.problem.id!r}"
        )
        return [replace(completion, origin="paraphrase", is_expert=True)]

    async def _reasons(self, ticket: Ticket, completions: Sequence[Completion]) -> list[str | None]:
        """Why each is not accepted; None: it is. The judge remembers its verdicts."""
        finished = [i for i, c in enumerate(completions) if c.finish_reason != "abort"]
        texts = [completions[i].text for i in finished]
        verdicts: list[Verdict] = []
        if texts:
            verdicts = await self._in_time(
                self._judge.verdicts(ticket.problem, texts),
                f"the verdicts on problem {ticket.problem.id!r}",
            )
        known = dict(zip(finished, verdicts, strict=True))
        return [
            decide(completion, known.get(i, NOT_JUDGED), ticket.budget).reason
            for i, completion in enumerate(completions)
        ]

    async def _scored(
        self, ticket: Ticket, completions: Sequence[Completion]
    ) -> tuple[Completion, ...]:
        if not self._is_scored:
            return tuple(completions)
        scores = await together(self._score(ticket, completion) for completion in completions)
        pairs = zip(completions, scores, strict=True)
        return tuple(replace(completion, score=score) for completion, score in pairs)

    async def _score(self, ticket: Ticket, completion: Completion) -> float | None:
        """None of what was never begun, and of what fills the context to its last token."""
        prompt_ids, token_ids = ticket.problem.prompt_ids, completion.token_ids
        if not token_ids or len(prompt_ids + token_ids) >= self._config.engine.max_model_len:
            return None
        logprobs = completion.logprobs
        # With a policy of its own for the temperature, those are not the plain model's.
        if not logprobs or self._config.sampling.policy is not None:
            logprobs = await self._in_time(
                self._asked_score(ticket, token_ids),
                f"{self._id} to score a response to problem {ticket.problem.id!r}",
            )
        return math.fsum(logprobs) / len(logprobs)

    async def _asked_score(self, ticket: Ticket, token_ids: tuple[int, ...]) -> tuple[float, ...]:
        # Before all others: it is over at once, and a whole group waits for it.
        async with self._admission.slot("rollout", math.inf, ticket.number):
            return await self._engine.score(ticket.problem.prompt_ids, token_ids)

    def _opening(self, problem: Problem) -> str:
        """Some chat templates begin the thinking themselves."""
        end = self._engine.text_of(problem.prompt_ids[-PROMPT_END:])
        return THINK_OPENS if end.rstrip().endswith(THINK_OPENS) else ""

    def _coin(self, probability: float, what: str) -> bool:
        return random.Random(f"{self._config.seed}-{what}").random() < probability

    def _given(self, problem: Problem) -> Completion:
        """As if it had been written just now: it is never older than the policy."""
        assert problem.given_ids, "a row without a response is refused before the run"
        return replace(
            self._not_begun(),
            text=problem.given_text,
            token_ids=problem.given_ids,
            finish_reason="stop",
            aborted_by=None,
            is_expert=True,
            origin="gold",
        )

    def _not_begun(self) -> Completion:
        version, now_us = self._engine.version, time.time_ns() // 1000
        return Completion(
            text="",
            token_ids=(),
            finish_reason="abort",
            first_version=version,
            last_version=version,
            start_us=now_us,
            end_us=now_us,
            aborted_by="cancelled",
        )

    async def _in_time(self, awaitable: Awaitable[T], what: str) -> T:
        seconds = self._config.cluster.wait_timeout_s
        return await within(awaitable, seconds, what)


class _Race:
    """Ends a group when enough of it was accepted: ``economy.stop_after``.

    Biased by design: whoever finishes first decides, and short responses finish first.
    """

    def __init__(self, enough: int | None) -> None:
        self.stop = asyncio.Event() if enough is not None else None
        """Set when it is over; None: nobody is ever stopped."""
        self._missing = enough or 0

    def count_accepted(self) -> None:
        self._missing -= 1
        if self.stop is not None and self._missing <= 0:
            self.stop.set()


def _expected(ticket: Ticket) -> float:
    return ticket.budget if ticket.expected_tokens is None else ticket.expected_tokens
