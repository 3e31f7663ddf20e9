"""Reference answers as data files hold them, and those of them that no judge can use."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Any

from configs.schema import JudgeConfig
from verifiers.pool import JudgePool
from verifiers.types import Verdict

PROBE = r"\boxed{q + \frac{1}{7}}"
"""Nobody's answer, in a form that makes a judge look at its reference. A judge that cannot use the
reference raises before it looks at any response."""

AHEAD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    where: str
    """``train.jsonl row 3``."""
    verifier: str
    answer: str


def structured(value: list[Any] | dict[str, Any]) -> str:
    """Tests, schemas and alternatives as the text that judges read. ValueError: not JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


async def useless(
    references: Iterable[Reference], config: JudgeConfig
) -> AsyncGenerator[tuple[Reference, Verdict | None], None]:
    """Every reference, in order, with the error that its judge makes of it, or None.

    A pair of judge and reference is looked at once, however many rows repeat it.
    """
    pool = JudgePool(config)
    await pool.start()
    try:
        known: dict[tuple[str, str], asyncio.Task[Verdict]] = {}
        waiting: list[tuple[Reference, asyncio.Task[Verdict]]] = []
        for reference in references:
            pair = (reference.verifier, reference.answer)
            if pair not in known:
                known[pair] = asyncio.create_task(pool.judge(*pair, PROBE))
            waiting.append((reference, known[pair]))
            if len(waiting) >= AHEAD:
                for result in await _finished(waiting):
                    yield result
                waiting = []
        for result in await _finished(waiting):
            yield result
    finally:
        await pool.close()


async def _finished(
    waiting: list[tuple[Reference, "asyncio.Task[Verdict]"]],
) -> list[tuple[Reference, Verdict | None]]:
    verdicts = await asyncio.gather(*(task for _, task in waiting))
    return [
        (reference, verdict if verdict.status in ("error", "timeout") else None)
        for (reference, _), verdict in zip(waiting, verdicts, strict=True)
    ]
