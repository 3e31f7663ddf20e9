"""``laconic validate``: configuration, model, data, and every reference answer by its own judge."""

import asyncio
import sys
from collections.abc import Callable

from cluster.live import open_live
from cluster.prepare import prepare
from configs.errors import UserError
from configs.schema import RunConfig
from verifiers.pool import usable_cores
from verifiers.references import Reference, useless

MAX_NAMED = 10
"""Useless references that are named one by one."""


def validate(config: RunConfig, say: Callable[[str], None]) -> str:
    """A summary of what is there; ``UserError`` when a run could not start or could learn nothing.

    References that their judge cannot use are named once. Their rollouts would be rejected as
    ``verifier_error``, never counted as wrong.
    """
    with open_live(sys.stderr) as display:
        prepared = prepare(config, lambda line: display.progress("preparing", line))
        for warning in prepared.warnings:
            say(f"warning: {warning}")
        references = prepared.source.references()
        bad = asyncio.run(
            _check(references, config, lambda line: display.progress("judging references", line))
        )
    for reference, cause in bad[:MAX_NAMED]:
        say(f"warning: {reference.where}: judge {reference.verifier!r}: {cause}")
    if len(bad) > MAX_NAMED:
        say(f"warning: and {len(bad) - MAX_NAMED} more useless reference answers")
    if len(bad) == len(references):
        raise UserError(f"no reference answer can be judged; the first: {bad[0][1]}")
    return prepared.summary + (f", {len(bad)} useless reference answers" if bad else "")


async def _check(
    references: list[Reference], config: RunConfig, report: Callable[[str], None]
) -> list[tuple[Reference, str]]:
    judge = config.judge.model_copy(update={"workers": max(config.judge.workers, usable_cores())})
    bad: list[tuple[Reference, str]] = []
    num_done = 0
    async for reference, error in useless(references, judge):
        num_done += 1
        report(f"{num_done} of {len(references)}")
        if error is not None:
            bad.append((reference, error.detail))
    return bad
