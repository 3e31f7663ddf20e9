"""V2: how long responses are, version by version."""

from typing import Any

import numpy as np

from dashboard.server.errors import Refused
from dashboard.server.filters import Where
from dashboard.server.look import Look
from dashboard.server.views.versions import version_columns

PARTS = {"tokens": "n_tokens", "think": "n_think", "answer": "n_answer"}
CUT = "finish_reason = 'length'"
RESAMPLES = 1000
MAX_GROUPS = 20_000
"""Of a side of a comparison: beyond it the interval comes from a sample of groups."""


def lengths(look: Look) -> dict[str, Any]:
    """A histogram for each version; what was cut off has a bin of its own."""
    part = look.args.choice("part", tuple(PARTS))
    bins = look.args.integer("bins", 48, 4, 200)
    most = look.args.integer("versions", 60, 1, 400)
    where, column = look.where(), PARTS[part]
    measured = where.also(f"{column} IS NOT NULL AND last_version IS NOT NULL")
    total, num, cap = look.db.one(
        f"""SELECT count(*), count({column}) FILTER (last_version IS NOT NULL), max(max_tokens)
            FROM rollouts WHERE {where.sql}""",
        where.values,
    )
    edges = bin_edges(look, measured, column, bins, is_log=look.args.flag("log"))
    spans = version_columns(look, measured, most)
    counts, truncated = _histogram(look, measured, column, edges, spans.sql, len(spans.versions))
    return {
        "population": look.args.text("population", "generated"),
        "part": part,
        "total": num,
        "not_measured": total - num,
        "why": "not_recorded" if total > num else None,
        "edges": edges,
        "versions": spans.versions,
        "counts": counts,
        "truncated": truncated,
        **_by_column(look, measured, column, spans.sql, len(spans.versions)),
        "cap": cap,
    }


def compare(look: Look) -> dict[str, Any]:
    """Two versions over each other, and how far their medians are apart."""
    part = look.args.choice("part", tuple(PARTS))
    column = PARTS[part]
    versions = [look.args.maybe_integer(name) for name in ("a", "b")]
    if None in versions:
        raise Refused("bad_request", "a and b name the two versions to compare", "a")
    where = look.where(without=("version_min", "version_max")).also(f"{column} IS NOT NULL")
    both = where.also("last_version IN (?, ?)", *versions)
    bins = look.args.integer("bins", 48, 4, 200)
    edges = bin_edges(look, both, column, bins, is_log=look.args.flag("log"))
    sides, samples = [], []
    for version in versions:
        of_it = where.also("last_version = ?", version)
        counts, truncated = _histogram(look, of_it, column, edges, "0", 1)
        values = look.db.columns(
            f"""SELECT {column} AS length, dense_rank() OVER (ORDER BY group_id) - 1 AS place
                FROM rollouts WHERE {of_it.sql}""",
            of_it.values,
        )
        samples.append((np.asarray(values["length"]), np.asarray(values["place"])))
        rows = len(samples[-1][0])
        sides.append(
            {
                "version": version,
                "counts": counts[0],
                "truncated": truncated[0],
                "rows": rows,
                "median": float(np.median(samples[-1][0])) if rows else None,
            }
        )
    difference = None
    low = high = None
    if sides[0]["rows"] and sides[1]["rows"]:
        difference = sides[1]["median"] - sides[0]["median"]
        low, high = median_interval(*samples)
    return {
        "edges": edges,
        "a": sides[0],
        "b": sides[1],
        "median_difference": difference,
        "low": low,
        "high": high,
    }


def bin_edges(look: Look, where: Where, column: str, bins: int, *, is_log: bool) -> list[float]:
    """Whole numbers where bins are at least one token wide, so that none counts more numbers."""
    low, high = look.db.one(
        f"SELECT min({column}), max({column}) FROM rollouts WHERE {where.sql}", where.values
    )
    if low is None:
        return [0.0, 1.0]
    if is_log:
        edges = np.geomspace(max(1, low), max(2, high + 1), bins + 1)
        edges[0] = min(edges[0], low)
    else:
        width = max(1, -(-(high + 1) // bins))
        edges = np.arange(0, bins + 1) * width
        edges = edges[: -(-(high + 1) // width) + 1]
    return [float(edge) for edge in np.unique(np.ceil(edges))]


def median_interval(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """95 % bootstrap interval of median(b) - median(a) over groups: rollouts of one are alike."""
    generator = np.random.default_rng(0)
    medians = [_medians(values, groups, generator) for values, groups in (a, b)]
    low, high = np.percentile(medians[1] - medians[0], [2.5, 97.5])
    return float(low), float(high)


def _medians(values: np.ndarray, groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Of resampled groups. A group drawn n times counts n times: a weighted median."""
    order = np.argsort(values, kind="stable")
    values, groups = values[order], groups[order]
    num_groups = int(groups.max()) + 1
    resamples = int(np.clip(20_000_000 // len(values), 100, RESAMPLES))
    found = np.empty(resamples)
    for place in range(resamples):
        times = np.bincount(generator.integers(0, num_groups, num_groups), minlength=num_groups)
        reach = np.cumsum(times[groups])
        found[place] = values[np.searchsorted(reach, (reach[-1] + 1) / 2)]
    return np.resize(found, RESAMPLES)


def _histogram(
    look: Look, where: Where, column: str, edges: list[float], column_sql: str, columns: int
) -> tuple[list[list[int]], list[int]]:
    """Counts by column and bin, and those that were cut off by column."""
    rows = look.db.columns(
        f"""SELECT {column_sql} AS place, {column} AS length, {CUT} AS is_cut, count(*) AS num
            FROM rollouts WHERE {where.sql} GROUP BY ALL""",
        where.values,
    )
    place, num = np.asarray(rows["place"], dtype=int), np.asarray(rows["num"])
    is_cut = np.ma.filled(rows["is_cut"], False).astype(bool)
    bins = np.clip(np.searchsorted(edges, rows["length"], side="right") - 1, 0, len(edges) - 2)
    counts = np.zeros((columns, len(edges) - 1), dtype=int)
    np.add.at(counts, (place[~is_cut], bins[~is_cut]), num[~is_cut])
    truncated = np.zeros(columns, dtype=int)
    np.add.at(truncated, place[is_cut], num[is_cut])
    return counts.tolist(), truncated.tolist()


def _by_column(
    look: Look, where: Where, column: str, column_sql: str, columns: int
) -> dict[str, list[Any]]:
    rows = look.db.rows(
        f"""SELECT {column_sql} AS place, count(*) AS rows,
                quantile_cont({column}, [0.1, 0.5, 0.9]) AS p, avg({column}) AS mean,
                min(budget) AS budget_min, max(budget) AS budget_max
            FROM rollouts WHERE {where.sql} GROUP BY place""",
        where.values,
    )
    by_place = {row["place"]: row for row in rows}
    found: dict[str, list[Any]] = {
        "rows": [by_place.get(at, {}).get("rows", 0) for at in range(columns)]
    }
    for name in ("mean", "budget_min", "budget_max"):
        found[name] = [by_place.get(at, {}).get(name) for at in range(columns)]
    for number, name in enumerate(("p10", "p50", "p90")):
        found[name] = [
            by_place[at]["p"][number] if at in by_place else None for at in range(columns)
        ]
    return found
