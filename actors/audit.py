"""A share of the verdicts, kept with their texts for a person to read, and judged a second time."""

import hashlib
from dataclasses import asdict
from typing import Any

from verifiers.types import JudgedGroup, Problem, Verdict, rollout_id

MAX_TEXT_CHARS = 50_000
"""Of a longer response the end is kept: that is where answers stand."""


def is_audited(rollout: str, share: float) -> bool:
    """The same rollouts after a restart and on every machine: chosen by their names."""
    digest = hashlib.blake2b(rollout.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def audited_samples(judged: JudgedGroup, share: float) -> list[int]:
    """The samples of a group that are audited; an aborted one has no verdict to look at."""
    ticket = judged.group.ticket
    return [
        sample
        for sample, completion in enumerate(judged.group.completions)
        if completion.finish_reason != "abort"
        and is_audited(rollout_id(ticket.number, ticket.attempt, sample), share)
    ]


def audit_row(
    judged: JudgedGroup, sample: int, second: tuple[str, Verdict] | None
) -> dict[str, Any]:
    """One line of ``verdicts.jsonl``. ``second``: another judge's name and verdict."""
    ticket = judged.group.ticket
    row = {
        "rollout_id": rollout_id(ticket.number, ticket.attempt, sample),
        "problem_id": ticket.problem.id,
        "verifier": ticket.problem.verifier,
        "prompt": prompt_text(ticket.problem)[-MAX_TEXT_CHARS:],
        "gold": ticket.problem.answer[:MAX_TEXT_CHARS],
        "response": judged.group.completions[sample].text[-MAX_TEXT_CHARS:],
        **asdict(judged.verdicts[sample]),
    }
    if second is not None:
        name, verdict = second
        row["second"] = {"verifier": name, **asdict(verdict)}
        row["agree"] = verdict.status == judged.verdicts[sample].status
    return row


def prompt_text(problem: Problem) -> str:
    return "\n\n".join(message.content for message in problem.messages)
