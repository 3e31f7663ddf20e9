"""V6: rollouts as a table, with counts of what else one could choose; one of them in full."""

from typing import Any

from dashboard.server.columns import STAGES, table_columns
from dashboard.server.errors import Refused
from dashboard.server.ingest import OPTIONS
from dashboard.server.look import Look
from dashboard.server.store import MAX_ROWS
from dashboard.server.views import problems
from dashboard.server.views import rows as rollout_rows
from dashboard.server.views.missing import why_of_rollout

FACETS = (
    *("verdict", "reason", "fate", "finish_reason", "source", "generator_id", "template_id"),
    *("origin", "stage", "version", "failed", "tag"),
)
LABELLED = FACETS[:8]
"""Columns of few values."""

MAX_CHOICES = 200
MAX_TEXT = 1_000_000
"""Characters of a text in one answer."""


def rollouts(look: Look) -> dict[str, Any]:
    limit = look.args.integer("limit", 100, 1, MAX_ROWS)
    offset = look.args.integer("offset", 0, 0, 10**9)
    where = look.where()
    total = look.db.one(f"SELECT count(*) FROM rollouts WHERE {where.sql}", where.values)[0]
    found = rollout_rows.select(
        look,
        f"WHERE {where.sql} ORDER BY {order(look)} LIMIT {limit} OFFSET {offset}",
        where.values,
    )
    if look.args.flag("preview"):
        rollout_rows.previews(look, found)
    return {
        "total": total,
        "offset": offset,
        "rows": [rollout_rows.listed(row) for row in found],
        "without_text": _without_text(look),
        "incomplete": not look.is_searched,
    }


def facets(look: Look) -> dict[str, Any]:
    """Counts under the filters; a facet ignores its own."""
    names = look.args.several("facet") or list(FACETS[:7])
    for name in names:
        if name not in FACETS:
            raise Refused(
                "bad_request", f"facet={name[:60]!r} is none of {', '.join(FACETS)}", "facet"
            )
    where = look.where()
    total = look.db.one(f"SELECT count(*) FROM rollouts WHERE {where.sql}", where.values)[0]
    given = look.given()
    together = [name for name in names if name in LABELLED and name not in given]
    found = _facets_at_once(look, together)
    return {
        "total": total,
        "facets": {name: found[name] if name in found else _facet(look, name) for name in names},
    }


def _facets_at_once(look: Look, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Facets that nothing was chosen of see the same rows: one pass over them counts all."""
    if not names:
        return {}
    where = look.where()
    rows = look.db.tuples(
        f"""SELECT {", ".join(f"{name}::VARCHAR" for name in names)}, num FROM
            (SELECT {", ".join(names)}, count(*) AS num FROM rollouts WHERE {where.sql}
             GROUP BY ALL)""",
        where.values,
    )
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for *values, num in rows:
        for name, value in zip(names, values, strict=True):
            value = "accepted" if value is None and name == "reason" else value
            if value is not None:
                counts[name][value] = counts[name].get(value, 0) + num
    return {
        name: [
            {"value": value, "count": num}
            for value, num in sorted(of_it.items(), key=lambda pair: (-pair[1], pair[0]))
        ][:MAX_CHOICES]
        for name, of_it in counts.items()
    }


def _facet(look: Look, name: str) -> list[dict[str, Any]]:
    own = {"version": ("version_min", "version_max"), "stage": ("stage", "lost_at")}
    where = look.where(without=own.get(name, (name,)))
    if name == "tag":
        return _tags(look)
    if name == "failed":
        return _failed(look)
    column = {"version": "last_version", "reason": "coalesce(reason::VARCHAR, 'accepted')"}
    value = column.get(name, name)
    found = look.db.tuples(
        f"""SELECT {value} AS value, count(*) AS num FROM rollouts
            WHERE {where.sql} AND {"last_version" if name == "version" else value} IS NOT NULL
            GROUP BY value ORDER BY num DESC, value LIMIT {MAX_CHOICES}""",
        where.values,
    )
    named = [(STAGES[value] if name == "stage" else str(value), num) for value, num in found]
    return [{"value": value, "count": num} for value, num in named]


def _tags(look: Look) -> list[dict[str, Any]]:
    """Tagged rollouts are few: they are counted one by one."""
    where = look.where(without=("tag",))
    tags = look.run.annotations.tags
    tagged = [name for name, given in tags.items() if given]
    if not tagged:
        return []
    marks = ", ".join("?" for _ in tagged)
    there = look.db.tuples(
        f"SELECT rollout_id FROM rollouts WHERE {where.sql} AND rollout_id IN ({marks})",
        [*where.values, *tagged],
    )
    counts: dict[str, int] = {}
    for (name,) in there:
        for tag in tags[name]:
            counts[tag] = counts.get(tag, 0) + 1
    return [{"value": tag, "count": num} for tag, num in sorted(counts.items())]


def _failed(look: Look) -> list[dict[str, Any]]:
    where = look.where(without=("failed",))
    own = look.db.one(
        f"""SELECT count(*) FILTER (finish_reason IS DISTINCT FROM 'stop'),
                count(*) FILTER (verdict IS DISTINCT FROM 'correct'),
                count(*) FILTER (n_tokens > budget)
            FROM rollouts WHERE {where.sql}""",
        where.values,
    )
    others = look.db.tuples(
        f"""SELECT name, count(*) FROM checks
            WHERE NOT pass AND row IN (SELECT row FROM rollouts WHERE {where.sql}) GROUP BY name""",
        where.values,
    )
    pairs = [*zip(("finished", "correct", "length"), own, strict=True), *others]
    return [{"value": name, "count": num} for name, num in pairs if num]


def choices(look: Look) -> dict[str, Any]:
    """What filters can be set to, for the run as a whole."""
    bounds = look.db.one(
        """SELECT min(last_version), max(last_version), min(step), max(step), min(n_tokens),
                max(n_tokens) FROM rollouts"""
    )
    spans = {"version": bounds[0:2], "step": bounds[2:4], "tokens": bounds[4:6]}
    plain = Look(run=look.run, db=look.db, args=type(look.args)(values={}))
    names = [name for name in FACETS if name not in ("version", "stage")]
    found = _facets_at_once(plain, [name for name in names if name in LABELLED])
    return {
        **{name: found[name] if name in found else _facet(plain, name) for name in names},
        **{name: None if span[0] is None else span for name, span in spans.items()},
        "missing": missing_columns(look),
    }


def missing_columns(look: Look) -> dict[str, str]:
    """Columns that no rollout of the run has a value in. Counted once for the same rows."""
    kept = look.run.missing
    if kept is None or kept[0] != look.db.offset:
        kept = look.run.missing = (look.db.offset, _missing_columns(look))
    return kept[1]


def _missing_columns(look: Look) -> dict[str, str]:
    names = [name for name in rollout_rows.LISTED if name not in ("fate", "stage", "accepted")]
    counts = look.db.one(f"SELECT {', '.join(f'count({name})' for name in names)} FROM rollouts")
    later = ("step", "lag", "queue_ms")
    return {
        name: "not_yet" if name in later else "not_recorded"
        for name, count in zip(names, counts, strict=True)
        if not count
    }


def order(look: Look) -> str:
    """``-n_tokens`` is longest first."""
    wanted = look.args.text("sort", "-end_us")
    name = wanted.removeprefix("-")
    if name not in rollout_rows.LISTED:
        raise Refused("bad_request", f"sort={wanted[:60]!r} is no column of the table", "sort")
    direction = "DESC" if wanted.startswith("-") else "ASC"
    labels = {column for column, kind in table_columns().items() if kind == "LABEL"}
    value = f"{name}::VARCHAR" if name in labels else name
    return f"{value} {direction} NULLS LAST, row {direction}"


def _without_text(look: Look) -> int:
    if look.matching is None:
        return 0
    where = look.where(without=("q",)).also("text_seq IS NULL")
    return look.db.one(f"SELECT count(*) FROM rollouts WHERE {where.sql}", where.values)[0]


def find(look: Look) -> dict[str, Any]:
    """The rollout that the request names."""
    name = look.args.required("id")
    found = rollout_rows.select(look, "WHERE r.rollout_id = ?", [name])
    if not found:
        raise Refused("no_such_rollout", f"no rollout {name[:80]!r} is recorded", "id")
    return found[0]


def rollout(look: Look) -> dict[str, Any]:
    row = find(look)
    born = _born(look, row)
    fate = _fate(look, row)
    text = text_info(look, row)
    siblings = rollout_rows.select(
        look, "WHERE r.group_id = ? ORDER BY r.sample", [row["group_id"]]
    )
    previous, following = _neighbours(look, row)
    annotations = look.run.annotations
    has_tokens = _token_part(look, row) is not None
    more = {
        "weight": fate["weight"],
        "loss_tokens": fate["loss_tokens"],
        "learner_logp_mean": fate["learner_logp_mean"],
        "trained_version": fate["fate_version"],
        "fate_us": fate["fate_us"],
        **{
            name: born.get(name)
            for name in ("temperature", "top_p", "propensity", "level", "size", "weight_mean")
        },
    }
    return {
        "rollout": rollout_rows.listed(row),
        **more,
        "filters": born.get("filters") or [],
        "text": text,
        "problem": problems.full(look, row["problem_id"]),
        "siblings": [rollout_rows.listed(other) for other in siblings],
        "life": _life(row, fate),
        "has_tokens": has_tokens,
        "tokens_why": None if has_tokens else "not_recorded",
        "missing": why_of_rollout(row | more, missing_columns(look)),
        "notes": annotations.notes.get(row["rollout_id"], []),
        "tags": row["tags"],
        "previous": previous,
        "next": following,
        "json_url": "api/rollout",
    }


def text_info(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    """Whether there is a text, how long it is, and where its answer begins."""
    why = {
        "none": "recorder.text=none: this run keeps no texts",
        "dropped": "the recorder could not keep up and let this text go",
        "disk": "the disk was nearly full, and texts go first",
    }
    file = rollout_rows.text_file(look, row)
    found = (
        look.db.tuples(
            f"""SELECT length(text), answer_start FROM read_parquet(?, {OPTIONS})
            WHERE rollout_id = ?""",
            [file, row["rollout_id"]],
        )
        if file
        else []
    )
    if not found:
        reason = why.get(row["text_level"] or "", "its text was not recorded")
        return {"recorded": False, "why_not": reason, "characters": 0, "answer_start": None}
    characters, answer_start = found[-1]
    return {
        "recorded": True,
        "why_not": None,
        "characters": characters,
        "answer_start": answer_start,
    }


def text(look: Look) -> dict[str, Any]:
    row = find(look)
    start = look.args.integer("from", 0, 0, 10**9)
    most = look.args.integer("characters", 200_000, 1, MAX_TEXT)
    file = rollout_rows.text_file(look, row)
    found = (
        look.db.tuples(
            f"""SELECT text, answer_start FROM read_parquet(?, {OPTIONS}) WHERE rollout_id = ?""",
            [file, row["rollout_id"]],
        )
        if file
        else []
    )
    if not found:
        raise Refused("no_such_rollout", text_info(look, row)["why_not"] or "no text", "id")
    whole, answer_start = found[-1]
    return {
        "from": start,
        "text": whole[start : start + most],
        "characters": len(whole),
        "answer_start": answer_start,
        "more": len(whole) > start + most,
    }


def tokens(look: Look) -> dict[str, Any]:
    row = find(look)
    file = _token_part(look, row)
    found = (
        look.db.rows(
            f"""SELECT ends, logp, entropy, weight, mask FROM read_parquet(?, {OPTIONS})
                WHERE rollout_id = ?""",
            [file, row["rollout_id"]],
        )
        if file
        else []
    )
    if not found:
        raise Refused("no_such_rollout", "the tokens of this rollout were not recorded", "id")
    return found[-1]


def _token_part(look: Look, row: dict[str, Any]) -> str | None:
    """The file with its tokens. None: they were not recorded."""
    found = look.db.tuples("SELECT part FROM with_tokens WHERE rollout_id = ?", [row["rollout_id"]])
    return look.run.store.path("tokens", found[-1][0]) if found else None


def _born(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    """Its row of ``meta``, all columns."""
    found = look.db.rows(
        f"SELECT * FROM read_parquet(?, {OPTIONS}) WHERE rollout_id = ?",
        [look.run.store.path("meta", row["part"]), row["rollout_id"]],
    )
    return found[-1] if found else {}


FATE = ("weight", "loss_tokens", "learner_logp_mean", "fate_version", "fate_us")


def _fate(look: Look, row: dict[str, Any]) -> dict[str, Any]:
    names = ", ".join(FATE)
    return look.db.rows(f"SELECT {names} FROM rollouts WHERE row = ?", [row["row"]])[0]


def _life(row: dict[str, Any], fate: dict[str, Any]) -> list[dict[str, Any]]:
    """What happened when, as far as it was recorded."""
    spans = []
    if row["start_us"] is not None:
        spans.append({"what": "written", "start_us": row["start_us"], "end_us": row["end_us"]})
    judged_us = row["end_us"]
    if row["end_us"] is not None and row["verify_ms"] is not None:
        judged_us = row["end_us"] + int(row["verify_ms"] * 1000)
        spans.append({"what": "judged", "start_us": row["end_us"], "end_us": judged_us})
    ended_us = fate["fate_us"]
    if row["accepted"]:
        spans.append({"what": "queued", "start_us": judged_us, "end_us": ended_us})
    if ended_us is not None:
        spans.append({"what": row["fate"], "start_us": ended_us, "end_us": ended_us})
    return [span for span in spans if span["start_us"] is not None]


def _neighbours(look: Look, row: dict[str, Any]) -> tuple[str | None, str | None]:
    """Before and after it in the list of the request. Without filters and sort it has none."""
    wanted = look.args.text("sort")
    if not wanted and not look.given():
        return None, None
    order(look)  # a column that is none is refused
    key, is_descending = (wanted or "-end_us").removeprefix("-"), wanted[:1] in ("", "-")
    value = f"{key}::VARCHAR" if table_columns()[key] == "LABEL" else key
    sides = [_beside(look, row, value, is_descending, after) for after in (False, True)]
    return sides[0], sides[1]


def _beside(
    look: Look, row: dict[str, Any], value: str, is_descending: bool, after: bool
) -> str | None:
    """The nearest one in the list's order, in which rows without a value come last."""
    here = look.db.one(f"SELECT {value} FROM rollouts WHERE row = ?", [row["row"]])[0]
    grows = after != is_descending
    beyond, direction = (">", "ASC") if grows else ("<", "DESC")
    this = f"(SELECT {value} FROM rollouts WHERE row = {row['row']})"
    if here is None:
        condition = f"{value} IS NULL AND row {beyond} {row['row']}"
        condition = condition if after else f"({value} IS NOT NULL OR ({condition}))"
    else:
        condition = f"{value} {beyond} {this} OR ({value} = {this} AND row {beyond} {row['row']})"
        condition = f"({condition} OR {value} IS NULL)" if after else f"({condition})"
    where = look.where()
    found = look.db.tuples(
        f"""SELECT rollout_id FROM rollouts WHERE {where.sql} AND {condition}
            ORDER BY {value} {direction} NULLS {"LAST" if after else "FIRST"}, row {direction}
            LIMIT 1""",
        where.values,
    )
    return found[0][0] if found else None


def annotations_of(look: Look, name: str) -> dict[str, Any]:
    given = look.run.annotations
    return {"tags": given.tags.get(name, []), "notes": given.notes.get(name, [])}
