"""V7: problems, and one problem through the versions."""

from collections.abc import Sequence
from typing import Any

from dashboard.server.errors import Refused
from dashboard.server.filters import Where
from dashboard.server.look import Look
from dashboard.server.views import rows as rollout_rows

SUMMARY = """
    problem_id, count(*) AS rollouts, count(*) FILTER (verdict = 'correct') AS correct,
    count(*) FILTER (accepted) AS accepted, count(*) FILTER (fate = 'trained') AS trained,
    count(*) FILTER (verdict = 'correct') / count(*) AS pass_rate, avg(n_tokens) AS mean_tokens,
    min(n_tokens) FILTER (verdict = 'correct' AND finish_reason = 'stop') AS shortest_correct,
    min(last_version) AS first_version, max(last_version) AS last_version"""

SORTS = {
    "rollouts": "rollouts",
    "problem_id": "problem_id",
    "pass_rate": "pass_rate",
    "accepted": "accepted",
    "correct": "correct",
    "trained": "trained",
    "mean_tokens": "mean_tokens",
    "shortest": "shortest_correct",
    "shortest_correct": "shortest_correct",
}

MAX_ROLLOUTS = 2000


def problems(look: Look) -> dict[str, Any]:
    limit = look.args.integer("limit", 100, 1, 500)
    offset = look.args.integer("offset", 0, 0, 10**9)
    where = _searched(look)
    ids = _ordered(look, where)
    shown = ids[offset : offset + limit]
    total, found = len(ids), summaries(look, where, shown)
    return {"total": total, "offset": offset, "rows": found}


def problem(look: Look) -> dict[str, Any]:
    name = look.args.required("id")
    of_it = Where().also("problem_id = ?", name)
    summary = summaries(look, of_it, [name])
    evals = eval_samples(look, name)
    texts = full(look, name)
    if not summary and not evals and texts is None:
        raise Refused("no_such_problem", f"no problem {name[:80]!r} was recorded", "id")
    found = rollout_rows.select(
        look,
        f"""WHERE problem_id = ? ORDER BY last_version, end_us, rollout_id
            LIMIT {MAX_ROLLOUTS + 1}""",
        [name],
    )
    right = [row for row in found if row["verdict"] == "correct" and row["finish_reason"] == "stop"]
    with_text = [row["rollout_id"] for row in right if row["text_seq"] is not None]
    shortest = min(right, key=lambda row: row["n_tokens"], default=None)
    previous, following = _neighbours(look, name)
    return {
        "problem": texts
        or {"problem_id": name, "source": None, "text": "", "gold": None, "difficulty": None},
        "summary": summary[0] if summary else None,
        "rollouts": [rollout_rows.listed(row) for row in found[:MAX_ROLLOUTS]],
        "cut": len(found) > MAX_ROLLOUTS,
        "by_version": _by_version(look, name),
        "first_solved_version": right[0]["last_version"] if right else None,
        "shortest_correct": shortest["rollout_id"] if shortest else None,
        "pair": [with_text[0], with_text[-1]] if len(with_text) > 1 else None,
        "evals": evals,
        "previous": previous,
        "next": following,
    }


def summaries(look: Look, where: Where, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Of these problems, in this order, over rollouts that the condition holds for."""
    if not ids:
        return []
    marks = ", ".join("?" for _ in ids)
    found = look.db.rows(
        f"""SELECT {SUMMARY} FROM rollouts WHERE {where.sql} AND problem_id IN ({marks})
            GROUP BY problem_id""",
        [*where.values, *ids],
    )
    place = {name: at for at, name in enumerate(ids)}
    return _with_texts(look, sorted(found, key=lambda row: place[row["problem_id"]]))


def full(look: Look, name: str) -> dict[str, Any] | None:
    """A problem with all of its text, from its part."""
    found = look.db.tuples("SELECT part FROM problems WHERE problem_id = ?", [name])
    if not found:
        return None
    rows = look.db.rows(
        """SELECT problem_id, source, text, gold, difficulty
            FROM read_parquet(?, union_by_name = true, hive_partitioning = false)
            WHERE problem_id = ?""",
        [look.run.store.path("problems", found[0][0]), name],
    )
    return rows[-1] if rows else None


def eval_samples(look: Look, name: str, labels: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What evaluations asked of a problem and were answered, with whole texts."""
    chosen = f"AND label IN ({', '.join('?' for _ in labels)})" if labels else ""
    parts = look.db.tuples(
        f"SELECT DISTINCT part FROM evals WHERE problem_id = ? {chosen}", [name, *labels]
    )
    if not parts:
        return []
    files = [look.run.store.path("evals", part) for (part,) in parts]
    return look.db.rows(
        f"""SELECT label, version, problem_id, sample, verdict, finish_reason, n_tokens, answer,
                text, at_us
            FROM read_parquet(?, union_by_name = true, hive_partitioning = false)
            WHERE problem_id = ? {chosen}
            QUALIFY row_number() OVER (PARTITION BY label, sample ORDER BY at_us DESC) = 1
            ORDER BY version, label, sample""",
        [files, name, *labels],
    )


def order(look: Look) -> str:
    wanted = look.args.text("sort", "-rollouts")
    key = SORTS.get(wanted.removeprefix("-"))
    if key is None:
        raise Refused("bad_request", f"sort={wanted[:60]!r} is none of {', '.join(SORTS)}", "sort")
    direction = "DESC" if wanted.startswith("-") else "ASC"
    return f"{key} {direction} NULLS LAST, problem_id"


def _searched(look: Look) -> Where:
    where, text = look.where(), look.args.text("search")
    if not text:
        return where
    return where.also(
        "problem_id IN (SELECT problem_id FROM problems WHERE contains(lower(text), lower(?)))"
        " OR contains(lower(problem_id), lower(?))",
        text,
        text,
    )


def _ordered(look: Look, where: Where) -> list[str]:
    """All problems that the condition leaves, in the order of the request; kept for a while, since
    whoever looks at one of them looks at the next."""
    key = (look.db.offset, order(look), where)
    if look.run.problem_lists is None or look.run.problem_lists[0] != key:
        found = look.db.tuples(
            f"""SELECT problem_id FROM (SELECT {SUMMARY} FROM rollouts WHERE {where.sql}
                GROUP BY problem_id) ORDER BY {order(look)}""",
            where.values,
        )
        look.run.problem_lists = (key, [name for (name,) in found])
    return look.run.problem_lists[1]


def _neighbours(look: Look, name: str) -> tuple[str | None, str | None]:
    """Before and after it in the list that filters and sort make."""
    ids = _ordered(look, _searched(look))
    if name not in ids:
        return None, None
    at = ids.index(name)
    return ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None


def _by_version(look: Look, name: str) -> list[dict[str, Any]]:
    return look.db.rows(
        """SELECT last_version AS version, count(*) AS rollouts,
                count(*) FILTER (verdict = 'correct') AS correct,
                count(*) FILTER (accepted) AS accepted, avg(n_tokens) AS mean_tokens,
                min(n_tokens) AS min_tokens, max(n_tokens) AS max_tokens
            FROM rollouts WHERE problem_id = ? AND last_version IS NOT NULL
            GROUP BY last_version ORDER BY last_version""",
        [name],
    )


def _with_texts(look: Look, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    texts = rollout_rows.problems_of(look, [row["problem_id"] for row in found])
    nothing = {"source": None, "text": None, "gold": None, "difficulty": None}
    return [nothing | texts.get(row["problem_id"], {}) | row for row in found]
