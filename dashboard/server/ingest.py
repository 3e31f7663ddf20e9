"""Parquet parts into tables: new births, later fates, problems, evaluations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import duckdb

from configs.run_files import Kind
from dashboard.server import columns

if TYPE_CHECKING:
    from dashboard.server.store import Part

KINDS = get_args(Kind)

OPTIONS = "union_by_name = true, hive_partitioning = false"

Labels = dict[str, tuple[str, ...]]
"""Of each column of few values those that the run has."""

NO_LABELS: Labels = {name: () for name in columns.LABELS} | {"fate": ("waiting", "rejected")}

OTHER_TABLES = """
    CREATE OR REPLACE TABLE checks (row BIGINT, name VARCHAR, pass BOOLEAN, value DOUBLE,
        threshold DOUBLE);
    CREATE OR REPLACE TABLE pending (rollout_id VARCHAR, ord BIGINT, fate VARCHAR, step INTEGER,
        lag INTEGER, fate_version INTEGER, fate_us BIGINT, queue_ms FLOAT, loss_tokens INTEGER);
    CREATE OR REPLACE TABLE problems (problem_id VARCHAR, source VARCHAR, text VARCHAR,
        gold VARCHAR, difficulty DOUBLE, part INTEGER);
    CREATE OR REPLACE TABLE evals (label VARCHAR, version INTEGER, benchmark VARCHAR,
        problem_id VARCHAR, sample INTEGER, verdict VARCHAR, finish_reason VARCHAR,
        n_tokens INTEGER, answer VARCHAR, at_us BIGINT, part INTEGER);
"""


def create_tables(db: duckdb.DuckDBPyConnection) -> None:
    """Empty ones, in place of those that are there."""
    fields = ", ".join(
        f"{name} {_enumeration(NO_LABELS[name]) if kind == 'LABEL' else kind}"
        for name, kind in columns.table_columns().items()
    )
    db.execute(f"CREATE OR REPLACE TABLE rollouts ({fields})")
    db.execute(OTHER_TABLES)


def literal(path: Path) -> str:
    """A path that DuckDB takes for this one file, whatever characters it has."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))


def take_in(
    db: duckdb.DuckDBPyConnection,
    run_dir: Path,
    parts: Mapping[Kind, Sequence["Part"]],
    labels: Labels,
) -> Labels:
    """Inside a transaction of the caller's. The labels that there are after it."""
    births, fates = parts.get("meta", ()), parts.get("fate", ())
    if births or fates:
        _stage_fates(db, run_dir, fates)
        _stage_births(db, run_dir, births)
        labels = {name: _extended(db, name, known) for name, known in labels.items()}
        _update_fates(db)
        if births:
            _insert_births(db)
            _insert_checks(db)
            _drop_superseded(db)
        _keep_pending(db)
    if problems := parts.get("problems"):
        _take_problems(db, run_dir, problems)
    if evals := parts.get("evals"):
        _take_evals(db, run_dir, evals)
    return labels


def columns_of(db: duckdb.DuckDBPyConnection, files: Sequence[str]) -> set[str]:
    found = db.execute(f"DESCRIBE SELECT * FROM read_parquet($1, {OPTIONS})", [list(files)])
    return {row[0] for row in found.fetchall()}


def _files(run_dir: Path, parts: Sequence["Part"]) -> list[str]:
    return [literal(run_dir / part.file) for part in parts]


def _bases(parts: Sequence["Part"], start: int) -> list[int]:
    """Of each part the number of its first row, in the order of the manifest."""
    bases = []
    for part in parts:
        bases.append(start)
        start += max(1, part.rows)
    return bases


def _next_row(db: duckdb.DuckDBPyConnection) -> int:
    """Above every row that is or was there: a sequence would do, were it not for roll-backs."""
    found = db.execute("SELECT coalesce(max(row), -1) + 1 FROM rollouts").fetchone()
    assert found is not None
    return int(found[0])


def _stage_fates(db: duckdb.DuckDBPyConnection, run_dir: Path, parts: Sequence["Part"]) -> None:
    """The last fate of each rollout that these parts, or earlier ones in vain, tell of."""
    db.execute("CREATE OR REPLACE TEMP TABLE new_fates AS SELECT * FROM pending")
    db.execute("DELETE FROM pending")
    if parts:
        files = _files(run_dir, parts)
        there = columns_of(db, files)
        db.execute(
            f"""INSERT INTO new_fates
                SELECT f.rollout_id, list_extract($2, file_index::BIGINT + 1) + file_row_number,
                    {columns.fates(there)}
                FROM read_parquet($1, {OPTIONS}) f WHERE f.rollout_id IS NOT NULL""",
            [files, _bases(parts, 0)],
        )
    twice = "SELECT rollout_id FROM new_fates GROUP BY rollout_id HAVING count(*) > 1"
    db.execute(
        f"""DELETE FROM new_fates USING
            (SELECT rollout_id, max(ord) AS last FROM new_fates
             WHERE rollout_id IN ({twice}) GROUP BY rollout_id) newest
            WHERE new_fates.rollout_id = newest.rollout_id AND new_fates.ord < newest.last"""
    )


def _stage_births(db: duckdb.DuckDBPyConnection, run_dir: Path, parts: Sequence["Part"]) -> None:
    files = _files(run_dir, parts)
    if not files:
        empty = columns.births(())
        db.execute(
            f"""CREATE OR REPLACE TEMP TABLE new_births AS SELECT NULL::BIGINT AS row,
                NULL::INTEGER AS part, {empty},
                NULL::STRUCT(name VARCHAR, pass BOOLEAN, value DOUBLE, threshold DOUBLE)[] filters
                LIMIT 0"""
        )
        return
    there = columns_of(db, files)
    checks = "CASE WHEN len(m.filters) > 3 THEN m.filters END" if "filters" in there else "NULL"
    db.execute(
        f"""CREATE OR REPLACE TEMP TABLE new_births AS
            SELECT list_extract($2, file_index::BIGINT + 1) + file_row_number AS row,
                $3::INTEGER + file_index::INTEGER AS part, {columns.births(there)},
                {checks}::STRUCT(name VARCHAR, pass BOOLEAN, value DOUBLE, threshold DOUBLE)[]
                    AS filters
            FROM read_parquet($1, {OPTIONS}) m WHERE m.rollout_id IS NOT NULL""",
        [files, _bases(parts, _next_row(db)), parts[0].number],
    )


def _extended(db: duckdb.DuckDBPyConnection, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """A column that gets a value which it did not have before is made wider."""
    table = "new_fates" if name == "fate" else "new_births"
    found = db.execute(f"SELECT DISTINCT {name} FROM {table} WHERE {name} IS NOT NULL").fetchall()
    new = sorted({value for (value,) in found} - set(known))
    if new:
        known = (*known, *new)
        db.execute(f"ALTER TABLE rollouts ALTER {name} SET DATA TYPE {_enumeration(known)}")
    return known


def _enumeration(values: Sequence[str]) -> str:
    if not values:
        return "VARCHAR"
    quoted = ("'" + value.replace("'", "''") + "'" for value in values)
    return f"ENUM ({', '.join(quoted)})"


def _update_fates(db: duckdb.DuckDBPyConnection) -> None:
    """Of rollouts that are there already."""
    values = ", ".join(f"{name} = f.{name}" for name in columns.FATE)
    db.execute(
        f"UPDATE rollouts SET {values} FROM new_fates f WHERE rollouts.rollout_id = f.rollout_id"
    )
    db.execute(
        f"""UPDATE rollouts SET stage = {columns.STAGE}
            WHERE rollout_id IN (SELECT rollout_id FROM new_fates)"""
    )


def _insert_births(db: duckdb.DuckDBPyConnection) -> None:
    births = ", ".join(f"b.{name}" for name in columns.BIRTH)
    resolved = {"fate": "coalesce(f.fate, if(b.accepted, 'waiting', 'rejected'))"}
    fates = ", ".join(f"{resolved.get(name, f'f.{name}')} AS {name}" for name in columns.FATE)
    db.execute(
        f"""INSERT INTO rollouts BY NAME
            SELECT *, {columns.STAGE} AS stage FROM (
                SELECT b.row, b.part, {births}, {fates}
                FROM new_births b LEFT JOIN new_fates f ON b.rollout_id = f.rollout_id)"""
    )


def _insert_checks(db: duckdb.DuckDBPyConnection) -> None:
    """Only those that say what no column says."""
    own = ", ".join(f"'{name}'" for name in columns.OWN_CHECKS)
    db.execute(
        f"""INSERT INTO checks SELECT row, c.name, c.pass, c.value, c.threshold
            FROM (SELECT row, unnest(filters) AS c FROM new_births WHERE filters IS NOT NULL)
            WHERE c.name NOT IN ({own})"""
    )


def _drop_superseded(db: duckdb.DuckDBPyConnection) -> None:
    """A group that was handed out again replaces what its older attempts wrote, and a rollout that
    was recorded again its older row: ``configs.run_files.latest_rollouts``."""
    ticket = "split_part(group_id, '.', 1)"
    again = "SELECT max(attempt) > 0 FROM rollouts"
    if db.execute(again).fetchone() == (True,):
        db.execute(
            f"""DELETE FROM rollouts USING
                (SELECT {ticket} AS ticket, max(attempt) AS newest FROM rollouts
                 WHERE {ticket} IN (SELECT {ticket} FROM new_births) GROUP BY ALL) n
                WHERE {ticket} = n.ticket AND rollouts.attempt < n.newest"""
        )
    db.execute(
        """DELETE FROM rollouts USING
            (SELECT rollout_id, max(row) AS newest FROM rollouts
             WHERE rollout_id IN (SELECT rollout_id FROM new_births)
             GROUP BY rollout_id HAVING count(*) > 1) n
            WHERE rollouts.rollout_id = n.rollout_id AND rollouts.row < n.newest"""
    )


def _keep_pending(db: duckdb.DuckDBPyConnection) -> None:
    """Fates of rollouts whose birth is not there (yet)."""
    db.execute(
        """INSERT INTO pending SELECT * REPLACE (-1 AS ord) FROM new_fates f
            WHERE NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.rollout_id = f.rollout_id)"""
    )
    for table in ("new_births", "new_fates"):
        db.execute(f"DROP TABLE {table}")


def _take_problems(db: duckdb.DuckDBPyConnection, run_dir: Path, parts: Sequence["Part"]) -> None:
    files = _files(run_dir, parts)
    there = columns_of(db, files)
    difficulty = "p.difficulty" if "difficulty" in there else "NULL"
    db.execute(
        f"""CREATE OR REPLACE TEMP TABLE new_problems AS
            SELECT p.problem_id, p.source, p.text[:{columns.SHORT}] AS text,
                p.gold[:{columns.SHORT}] AS gold, {difficulty}::DOUBLE AS difficulty,
                $2::INTEGER + file_index::INTEGER AS part
            FROM read_parquet($1, {OPTIONS}) p WHERE p.problem_id IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY p.problem_id ORDER BY file_index DESC) = 1""",
        [files, parts[0].number],
    )
    db.execute("DELETE FROM problems WHERE problem_id IN (SELECT problem_id FROM new_problems)")
    db.execute("INSERT INTO problems SELECT * FROM new_problems")
    db.execute("DROP TABLE new_problems")


def _take_evals(db: duckdb.DuckDBPyConnection, run_dir: Path, parts: Sequence["Part"]) -> None:
    """An evaluation that was made again replaces itself, problem by problem and sample by sample."""
    files = _files(run_dir, parts)
    there = columns_of(db, files)
    benchmark = "e.benchmark" if "benchmark" in there else "NULL"
    db.execute(
        f"""INSERT INTO evals
            SELECT e.label, e.version::INTEGER, {benchmark}::VARCHAR, e.problem_id,
                e.sample::INTEGER, e.verdict, e.finish_reason, e.n_tokens::INTEGER,
                e.answer[:{columns.SHORT}], e.at_us::BIGINT, $2::INTEGER + file_index::INTEGER
            FROM read_parquet($1, {OPTIONS}) e""",
        [files, parts[0].number],
    )
    db.execute(
        """DELETE FROM evals USING
            (SELECT label, benchmark, problem_id, sample, max(at_us) AS newest FROM evals
             GROUP BY ALL HAVING count(*) > 1) n
            WHERE evals.label = n.label AND evals.benchmark IS NOT DISTINCT FROM n.benchmark
              AND evals.problem_id = n.problem_id AND evals.sample = n.sample
              AND evals.at_us < n.newest"""
    )
