"""Parquet parts into tables: new births, later fates, problems, evaluations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import duckdb
import pyarrow.parquet as pq

from configs.run_files import Kind
from dashboard.server import columns

if TYPE_CHECKING:
    from dashboard.server.store import Part

KINDS = get_args(Kind)

OPTIONS = "union_by_name = true, hive_partitioning = false"

Labels = dict[str, tuple[str, ...]]
"""Of each column of few values those that the run has."""

NO_LABELS: Labels = dict.fromkeys(columns.LABELS, ()) | {"fate": ("waiting", "rejected")}

OTHER_TABLES = """
    CREATE OR REPLACE TABLE checks (row BIGINT, name VARCHAR, pass BOOLEAN, value DOUBLE,
        threshold DOUBLE);
    CREATE OR REPLACE TABLE pending (rollout_id VARCHAR, ord BIGINT, fate VARCHAR, step INTEGER,
        lag INTEGER, fate_version INTEGER, fate_us BIGINT, queue_ms FLOAT, loss_tokens INTEGER,
        weight FLOAT, learner_logp_mean FLOAT);
    CREATE OR REPLACE TABLE with_tokens (rollout_id VARCHAR, part INTEGER);
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
        labels = labels | {"fate": _extended(db, "fate", labels["fate"], "new_fates")}
        _update_fates(db)
        if births:
            source = _Births(db, run_dir, births)
            for name in [name for name in source.labels if name in source.there]:
                labels[name] = _extended(db, name, labels[name], source.sql)
            source.insert(db)
            _drop_superseded(db, source.first_row)
        _keep_pending(db)
    if problems := parts.get("problems"):
        _take_problems(db, run_dir, problems)
    if evals := parts.get("evals"):
        _take_evals(db, run_dir, evals)
    if tokens := parts.get("tokens"):
        db.execute(
            f"""INSERT INTO with_tokens SELECT rollout_id, $2::INTEGER + file_index::INTEGER
                FROM read_parquet($1, {OPTIONS})""",
            [_files(run_dir, tokens), tokens[0].number],
        )
    return labels


class _Births:
    """Parts of kind ``meta`` that are about to become rows."""

    labels = tuple(name for name in columns.LABELS if name in columns.BIRTH)

    def __init__(
        self, db: duckdb.DuckDBPyConnection, run_dir: Path, parts: Sequence["Part"]
    ) -> None:
        files = _files(run_dir, parts)
        self.there = columns_of(db, files)
        self.first_row = _next_row(db)
        self._first_part = parts[0].number
        self._bases = _bases(parts, self.first_row)
        self._has_checks = "filters" in self.there and any(
            _has_checks_of_steps(run_dir / part.file) for part in parts
        )
        names = ", ".join(_text(file) for file in files)
        self.sql = f"read_parquet([{names}], {OPTIONS})"

    def insert(self, db: duckdb.DuckDBPyConnection) -> None:
        births = ", ".join(f"b.{name}" for name in columns.BIRTH)
        resolved = {"fate": "coalesce(f.fate, if(b.accepted, 'waiting', 'rejected'))"}
        fates = ", ".join(f"{resolved.get(name, f'f.{name}')} AS {name}" for name in columns.FATE)
        row = "list_extract($1, file_index::BIGINT + 1) + file_row_number"
        db.execute(
            f"""INSERT INTO rollouts BY NAME
                SELECT *, {columns.STAGE} AS stage FROM (
                    SELECT b.row, b.part, {births}, {fates}
                    FROM (SELECT {row} AS row, $2::INTEGER + file_index::INTEGER AS part,
                            {columns.births(self.there)}
                        FROM {self.sql} m WHERE m.rollout_id IS NOT NULL) b
                    LEFT JOIN new_fates f ON b.rollout_id = f.rollout_id)""",
            [self._bases, self._first_part],
        )
        if self._has_checks:
            own = ", ".join(f"'{name}'" for name in columns.OWN_CHECKS)
            db.execute(
                f"""INSERT INTO checks SELECT row, c.name, c.pass, c.value, c.threshold
                    FROM (SELECT {row} AS row, unnest(filters) AS c
                        FROM {self.sql} WHERE rollout_id IS NOT NULL)
                    WHERE c.name NOT IN ({own})""",
                [self._bases],
            )


def _has_checks_of_steps(path: Path) -> bool:
    """Every decision has three checks of its own; unpacking millions of them to find out that there
    are no others would be most of the work. The footer says how many there are."""
    metadata = pq.read_metadata(path)
    paths = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
    place = next((at for at, name in enumerate(paths) if name.startswith("filters.")), None)
    if place is None:
        return False
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        column = group.column(place)
        if column.statistics is None or not column.statistics.has_null_count:
            return True
        none = column.statistics.null_count  # rollouts without any check
        if column.num_values - none > len(columns.OWN_CHECKS) * (group.num_rows - none):
            return True
    return False


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


def _extended(
    db: duckdb.DuckDBPyConnection, name: str, known: tuple[str, ...], source: str
) -> tuple[str, ...]:
    """A column that gets a value which it did not have before is made wider."""
    found = db.execute(f"SELECT DISTINCT {name} FROM {source} WHERE {name} IS NOT NULL").fetchall()
    new = sorted({str(value) for (value,) in found} - set(known))
    if new:
        known = (*known, *new)
        db.execute(f"ALTER TABLE rollouts ALTER {name} SET DATA TYPE {_enumeration(known)}")
    return known


def _enumeration(values: Sequence[str]) -> str:
    return f"ENUM ({', '.join(map(_text, values))})" if values else "VARCHAR"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


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


def _drop_superseded(db: duckdb.DuckDBPyConnection, first_row: int) -> None:
    """A group that was handed out again replaces what its older attempts wrote, and a rollout that
    was recorded again its older row: ``configs.run_files.latest_rollouts``."""
    ticket = "split_part(group_id, '.', 1)"
    if db.execute("SELECT max(attempt) > 0 FROM rollouts").fetchone() == (True,):
        db.execute(
            f"""DELETE FROM rollouts USING
                (SELECT {ticket} AS ticket, max(attempt) AS newest FROM rollouts
                 WHERE {ticket} IN (SELECT {ticket} FROM rollouts WHERE row >= $1) GROUP BY ALL) n
                WHERE {ticket} = n.ticket AND rollouts.attempt < n.newest""",
            [first_row],
        )
    # Groups are fewer than rollouts: first those that have a sample twice, if there are any.
    doubtful = """SELECT group_id FROM rollouts
        WHERE group_id IN (SELECT group_id FROM rollouts WHERE row >= $1) GROUP BY group_id
        HAVING count(*) <> bit_count(bit_or(1::BIGINT << (sample % 62)))"""
    db.execute(
        f"""DELETE FROM rollouts USING
            (SELECT rollout_id, max(row) AS newest FROM rollouts WHERE group_id IN ({doubtful})
             GROUP BY rollout_id HAVING count(*) > 1) n
            WHERE rollouts.rollout_id = n.rollout_id AND rollouts.row < n.newest""",
        [first_row],
    )


def _keep_pending(db: duckdb.DuckDBPyConnection) -> None:
    """Fates of rollouts whose birth is not there (yet)."""
    db.execute(
        """INSERT INTO pending SELECT * REPLACE (-1 AS ord) FROM new_fates f
            WHERE NOT EXISTS (SELECT 1 FROM rollouts r WHERE r.rollout_id = f.rollout_id)"""
    )
    db.execute("DROP TABLE new_fates")


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
    """An evaluation that was made again replaces itself, sample by sample."""
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
