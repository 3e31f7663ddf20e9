"""The table of rollouts that the page asks: its columns, and how Parquet parts become rows of it.

Only what views filter, sort and count is kept in memory; texts, tokens and the rest are read from
the parts when somebody opens a rollout.
"""

from collections.abc import Collection

LABELS: dict[str, str] = {
    "source": "source",
    "template_id": "template_id",
    "generator_id": "generator_id",
    "finish_reason": "finish_reason",
    "verdict": "verdict",
    "reason": "reason",
    "origin": "origin",
    "text_level": "text_level",
    "level": "level",
    "fate": "fate",
}
"""Columns with few values: enumerations, which makes them small and quick to count."""

BIRTH: dict[str, str] = {
    "rollout_id": "VARCHAR",
    "attempt": "INTEGER",
    "problem_id": "VARCHAR",
    "group_id": "VARCHAR",
    "sample": "INTEGER",
    "source": "LABEL",
    "template_id": "LABEL",
    "generator_id": "LABEL",
    "first_version": "INTEGER",
    "last_version": "INTEGER",
    "max_tokens": "INTEGER",
    "budget": "INTEGER",
    "start_us": "BIGINT",
    "end_us": "BIGINT",
    "gen_ms": "FLOAT",
    "verify_ms": "FLOAT",
    "n_prompt": "INTEGER",
    "n_think": "INTEGER",
    "n_answer": "INTEGER",
    "n_tokens": "INTEGER",
    "finish_reason": "LABEL",
    "answer": "VARCHAR",
    "verdict": "LABEL",
    "accepted": "BOOLEAN",
    "reason": "LABEL",
    "logp_mean": "FLOAT",
    "entropy_mean": "FLOAT",
    "repetition": "FLOAT",
    "reward": "FLOAT",
    "is_expert": "BOOLEAN",
    "origin": "LABEL",
    "level": "LABEL",
    "dup_of": "VARCHAR",
    "text_seq": "INTEGER",
    "text_level": "LABEL",
}
"""From ``meta``, under the names that it has there."""

FATE: dict[str, tuple[str, str]] = {
    "fate": ("fate", "LABEL"),
    "step": ("step", "INTEGER"),
    "lag": ("lag", "INTEGER"),
    "fate_version": ("version", "INTEGER"),
    "fate_us": ("at_us", "BIGINT"),
    "queue_ms": ("queue_ms", "FLOAT"),
    "loss_tokens": ("loss_tokens", "INTEGER"),
    "weight": ("weight", "FLOAT"),
    "learner_logp_mean": ("learner_logp_mean", "FLOAT"),
}
"""From ``fate``: our name, its name there, type."""

SHORT = 200
"""Characters of an answer or a problem that are kept in memory."""

STAGES = (
    "generated",
    "finished",
    "answered",
    "correct",
    "within_budget",
    "accepted",
    "not_stale",
    "trained",
)
"""A rollout's ``stage`` is the number of the last one that it reached."""

STAGE = """
    CASE
        WHEN accepted AND fate = 'trained' THEN 7
        WHEN accepted AND fate = 'waiting' THEN 6
        WHEN accepted THEN 5
        WHEN finish_reason IS DISTINCT FROM 'stop' THEN 0
        WHEN verdict IS NULL OR verdict IN ('no_answer', 'not_run') THEN 1
        WHEN verdict <> 'correct' THEN 2
        WHEN n_tokens > budget THEN 3
        ELSE 4
    END"""

OWN_CHECKS = ("finished", "correct", "length")
"""Checks that every rollout has and that other columns say as well."""


def table_columns() -> dict[str, str]:
    """Of ``rollouts``, in order."""
    own = {"row": "BIGINT", "part": "INTEGER"}
    fate = {name: kind for name, (_, kind) in FATE.items()}
    return own | BIRTH | fate | {"stage": "UTINYINT"}


def births(there: Collection[str]) -> str:
    """Expressions that read ``meta``; columns that no part has are null. Labels stay text."""
    parts = []
    for name, kind in BIRTH.items():
        plain = "VARCHAR" if kind == "LABEL" else kind
        if name not in there:
            parts.append(f"NULL::{plain} AS {name}")
        elif name == "answer":
            parts.append(f"m.answer[:{SHORT}]::VARCHAR AS answer")
        elif name == "accepted":
            parts.append("coalesce(m.accepted, false) AS accepted")
        else:
            parts.append(f"m.{name}::{plain} AS {name}")
    return ", ".join(parts)


def fates(there: Collection[str]) -> str:
    parts = []
    for name, (source, kind) in FATE.items():
        plain = "VARCHAR" if kind == "LABEL" else kind
        value = f"f.{source}::{plain}" if source in there else f"NULL::{plain}"
        parts.append(f"{value} AS {name}")
    return ", ".join(parts)
