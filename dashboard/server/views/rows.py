"""Rollouts as the page lists them."""

from collections.abc import Sequence
from typing import Any

from dashboard.server.columns import SHORT, STAGES
from dashboard.server.look import Look

LISTED = (
    *("rollout_id", "attempt", "problem_id", "group_id", "sample", "source", "template_id"),
    *("generator_id", "first_version", "last_version", "n_tokens", "n_think", "n_answer"),
    *("n_prompt", "budget", "max_tokens", "finish_reason", "verdict", "answer", "accepted"),
    *("reason", "fate", "stage", "step", "lag", "start_us", "end_us", "gen_ms", "verify_ms"),
    *("queue_ms", "logp_mean", "entropy_mean", "repetition", "reward", "is_expert", "origin"),
    *("dup_of",),
)

PLACES = ("part", "text_seq", "text_level", "row")
"""Where the rest of a rollout is."""


def select(look: Look, condition: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """``condition``: all that follows FROM ``rollouts r``; it chooses rows and their order. With
    the problem's text and its reference answer, and what people wrote about it."""
    names = ", ".join(f"r.{name}" for name in (*LISTED, *PLACES))
    rows = look.db.rows(f"SELECT {names} FROM rollouts r {condition}", values)
    problems = problems_of(look, [row["problem_id"] for row in rows])
    for row in rows:
        problem = problems.get(row["problem_id"], {})
        row["stage"] = STAGES[row["stage"]]
        row["gold"], row["problem"] = problem.get("gold"), problem.get("text")
        row["preview"] = None
        row["tags"] = look.run.annotations.tags.get(row["rollout_id"], [])
    return rows


def listed(row: dict[str, Any]) -> dict[str, Any]:
    """Without what only the server needs to know."""
    return {name: value for name, value in row.items() if name not in PLACES}


def problems_of(look: Look, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    wanted = sorted({name for name in ids if name is not None})
    if not wanted:
        return {}
    found = look.db.rows(
        f"""SELECT * EXCLUDE (part) FROM problems
            WHERE problem_id IN ({", ".join("?" for _ in wanted)})""",
        wanted,
    )
    return {row["problem_id"]: row for row in found}


def previews(look: Look, rows: list[dict[str, Any]]) -> None:
    """The first characters of each response, where there is one."""
    ids = {row["rollout_id"]: row for row in rows}
    files = sorted({file for row in rows if (file := text_file(look, row))})
    if not files:
        return
    marks = ", ".join("?" for _ in ids)
    found = look.db.tuples(
        f"""SELECT rollout_id, text[:{SHORT}] FROM read_parquet(?, union_by_name = true,
            hive_partitioning = false) WHERE rollout_id IN ({marks})""",
        [files, *ids],
    )
    for name, text in found:
        ids[name]["preview"] = text


def text_file(look: Look, row: dict[str, Any]) -> str | None:
    if row["text_seq"] is None:
        return None
    return look.run.store.text_part(row["part"], row["text_seq"])
