"""Ask held-out problems of the engines that hold one version of the weights."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from configs.schema import RunConfig
from evaluation.summary import Summary, summarize
from verifiers.types import EvalSample, Problem, Sampling


class Evaluates(Protocol):
    async def evaluate(
        self, problem: Problem, count: int, sampling: Sampling
    ) -> tuple[EvalSample, ...]: ...


async def evaluate(
    engines: Sequence[Evaluates], problems: Sequence[Problem], config: RunConfig
) -> tuple[list[EvalSample], Summary]:
    """All problems at once, dealt over the engines; the engines queue what does not fit."""
    sampling = eval_sampling(config)
    answers = await asyncio.gather(
        *(
            engines[index % len(engines)].evaluate(problem, config.eval.samples, sampling)
            for index, problem in enumerate(problems)
        )
    )
    samples = [sample for group in answers for sample in group]
    return samples, summarize(
        samples, max_tokens=sampling.max_tokens, temperature=sampling.temperature
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One response that is not there yet."""

    label: str
    problem: Problem
    sample: int


async def collect(
    engines: Sequence[Evaluates],
    wanted: Sequence[Wanted],
    sampling: Sampling,
    keep: Callable[[str, EvalSample], Awaitable[None]],
    *,
    in_flight: int,
) -> None:
    """Ask for each response by itself and hand it to ``keep`` as soon as it is judged, so that
    what was paid for is never lost. ``in_flight``: of each engine at a time."""
    left = iter(wanted)
    try:
        async with asyncio.TaskGroup() as workers:
            for engine in engines:
                for _ in range(min(in_flight, len(wanted))):
                    workers.create_task(_ask(engine, left, sampling, keep))
    except ExceptionGroup as several:
        raise several.exceptions[0] from several


async def _ask(
    engine: Evaluates,
    left: Iterator[Wanted],
    sampling: Sampling,
    keep: Callable[[str, EvalSample], Awaitable[None]],
) -> None:
    for one in left:
        (sample,) = await engine.evaluate(one.problem, 1, sampling)
        await keep(one.label, replace(sample, sample=one.sample))


def eval_sampling(config: RunConfig) -> Sampling:
    room = config.engine.max_model_len - config.data.max_prompt_tokens
    return Sampling(
        temperature=config.eval.temperature,
        top_p=config.eval.top_p,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=config.eval.max_tokens or room,
        logprobs=False,
    )
