"""A ticket as one record of the queue's log, and back: everything that was decided, and of the
problem what tells it from any other."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import xxhash

from verifiers.types import Problem, Ticket

Record = dict[str, Any]

DECISIONS = tuple(
    field.name for field in fields(Ticket) if field.name not in ("number", "attempt", "problem")
)


def encode_ticket(ticket: Ticket) -> Record:
    return {
        "kind": "issue",
        "ticket": ticket.number,
        "attempt": ticket.attempt,
        "problem": ticket.problem.id,
        "wording": wording(ticket.problem),
        **{name: getattr(ticket, name) for name in DECISIONS},
    }


def decode_ticket(record: Mapping[str, Any], problem: Problem) -> Ticket:
    """``problem`` as it came: the ticket words it as it was decided."""
    decisions = {name: record[name] for name in DECISIONS}
    decisions["limits"] = tuple((name, value) for name, value in record["limits"])
    return Ticket(
        number=record["ticket"],
        attempt=record["attempt"],
        problem=worded(problem, record["template"]),
        **decisions,
    )


def worded(problem: Problem, template: int | None) -> Problem:
    """As ``data.templates`` number ``template`` words it."""
    return problem if template is None else replace(problem, prompt_ids=problem.templates[template])


def wording(problem: Problem) -> str:
    """Of the messages and not their tokens: some templates write today's date."""
    turns = [[message.role, message.content] for message in problem.messages]
    return xxhash.xxh3_64_hexdigest(json.dumps([turns, problem.answer]).encode())
