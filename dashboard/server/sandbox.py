"""One SELECT over a run's files, by somebody who is not trusted with anything else.

Every question gets a database of its own, which may read exactly the Parquet files that the
manifest lists: it can open no other file, write none, load nothing and change no setting.
"""

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from configs.run_files import SCHEMAS, Kind, read_manifest
from dashboard.server import ingest
from dashboard.server.errors import Refused

SECONDS, ROWS = 10.0, 10_000
MAX_QUESTION = 20_000
MAX_CELL = 100_000
"""Characters of one value."""

MAX_ANSWER = 32 * 2**20
BATCH = 256

SAFE_INTEGER = 2**53

TABLES: dict[Kind, str] = {
    "meta": "every rollout at its birth, each attempt; rollouts is what counts",
    "fate": "what became of rollouts: a row for each time",
    "text": "what was written",
    "tokens": "of some rollouts, token by token",
    "problems": "what was asked",
    "evals": "evaluations, problem by problem",
}

LAST = """
    SELECT * EXCLUDE (place, last) FROM (SELECT *, row_number() OVER () AS place FROM {table})
    LEFT JOIN (SELECT rollout_id, max(place) AS last
        FROM (SELECT rollout_id, row_number() OVER () AS place FROM {table})
        GROUP BY rollout_id HAVING count(*) > 1) USING (rollout_id)
    WHERE last IS NULL OR place = last"""
"""Of rollouts that a table has twice the last row."""

NEWEST = """
    SELECT m.* FROM meta m LEFT JOIN
        (SELECT split_part(group_id, '.', 1) AS ticket, max(attempt) AS newest
         FROM meta WHERE attempt > 0 GROUP BY ticket) n
        ON split_part(m.group_id, '.', 1) = n.ticket
    WHERE m.attempt >= coalesce(n.newest, 0)"""
"""Of groups that were handed out again the newest attempt."""

SHAPE = """
    SELECT (SELECT coalesce(max(attempt), 0) > 0 FROM meta),
        EXISTS (SELECT 1 FROM meta GROUP BY group_id
            HAVING count(*) <> bit_count(bit_or(1::BIGINT << (sample % 62)))),
        (SELECT count(*) <> count(DISTINCT rollout_id) FROM fate)"""
"""Whether there are second attempts, rollouts recorded twice, rollouts with two fates. Most runs
have none, and then the table of rollouts is a plain join, which is ten times as quick."""


def _rollouts(has_attempts: bool, has_twice: bool, has_fates: bool) -> str:
    """``configs.run_files.latest_rollouts``, as a question."""
    newest = NEWEST if has_attempts else "SELECT * FROM meta"
    births = LAST.format(table="newest") if has_twice else "SELECT * FROM newest"
    fates = LAST.format(table="fate") if has_fates else "SELECT * FROM fate"
    return f"""CREATE VIEW rollouts AS
        WITH newest AS ({newest}), births AS ({births}), fates AS ({fates})
        SELECT * FROM births LEFT JOIN fates USING (rollout_id)"""


EXAMPLES = (
    (
        "Why rollouts were rejected",
        "SELECT reason, count(*) AS rollouts, sum(n_tokens) AS tokens\n"
        "FROM rollouts WHERE NOT accepted GROUP BY reason ORDER BY rollouts DESC",
    ),
    (
        "Length of right answers by version",
        "SELECT last_version, count(*) AS rollouts, round(avg(n_tokens), 1) AS mean,\n"
        "  quantile_cont(n_tokens, [0.1, 0.5, 0.9]) AS p10_50_90\n"
        "FROM rollouts WHERE verdict = 'correct' GROUP BY last_version ORDER BY last_version",
    ),
    (
        "Problems that were never accepted",
        "SELECT problem_id, count(*) AS rollouts, any_value(p.text) AS problem\n"
        "FROM rollouts JOIN problems p USING (problem_id)\n"
        "GROUP BY problem_id HAVING NOT bool_or(accepted) ORDER BY rollouts DESC LIMIT 100",
    ),
    (
        "Longest right answers, to be opened",
        "SELECT rollout_id, n_tokens, problem_id, answer FROM rollouts\n"
        "WHERE verdict = 'correct' ORDER BY n_tokens DESC LIMIT 50",
    ),
    (
        "Responses that say Wait",
        "SELECT r.rollout_id, r.verdict, t.text[:200] AS beginning\n"
        "FROM text t JOIN rollouts r USING (rollout_id)\n"
        "WHERE regexp_matches(t.text, '\\bWait\\b') LIMIT 50",
    ),
    (
        "Evaluations",
        "SELECT label, version, avg((verdict = 'correct')::INT) AS accuracy,\n"
        "  avg(n_tokens) AS tokens FROM evals GROUP BY ALL ORDER BY version",
    ),
)


_AT_ONCE = threading.BoundedSemaphore(2)
"""Each question may take a gibibyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    columns: list[tuple[str, str]]
    """Names and types."""
    rows: list[tuple[Any, ...]]
    truncated: bool
    """There is more than is given."""
    seconds: float


def ask(
    run_dir: Path,
    question: str,
    *,
    on_start: Callable[[Callable[[], None]], None] = lambda interrupt: None,
) -> Answer:
    """Raises Refused, with DuckDB's words, for what is not one SELECT. ``on_start`` is given a
    function that stops it."""
    if len(question) > MAX_QUESTION:
        raise Refused("sql", f"a question may have {MAX_QUESTION} characters")
    with _AT_ONCE:
        return _ask(run_dir, question, on_start)


def _ask(run_dir: Path, question: str, on_start: Callable[[Callable[[], None]], None]) -> Answer:
    connection = open_sandbox(run_dir, question)
    timer = threading.Timer(SECONDS, connection.interrupt)
    try:
        on_start(connection.interrupt)
        timer.start()
        began = time.monotonic()
        _require_one_select(connection, question)
        found = connection.execute(question)
        rows, truncated = _fetch(found)
        return Answer(
            columns=[(column[0], str(column[1])) for column in found.description or ()],
            rows=rows,
            truncated=truncated,
            seconds=time.monotonic() - began,
        )
    except duckdb.InterruptException:
        raise Refused("timeout", f"stopped after {SECONDS:g} s; narrow the question") from None
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise Refused("sql", _without_paths(str(error), run_dir)) from None
    finally:
        timer.cancel()
        connection.close()


def open_sandbox(run_dir: Path, question: str) -> duckdb.DuckDBPyConnection:
    """A database with the tables that the question names, behind a lock that it cannot open."""
    connection = _empty()
    allowed: list[str] = []
    parts = read_parts(run_dir)
    for kind in _named(question):
        files = [run_dir / file for file in parts.get(kind, ())]
        allowed += [str(file) for file in files]
        connection.execute(_view(connection, kind, files))
    if re.search(r"\brollouts\b", question, re.IGNORECASE):
        shape = connection.execute(SHAPE).fetchone() or (True, True, True)
        connection.execute(_rollouts(*shape))
    connection.execute("SET allowed_paths = $1", [allowed])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _empty() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for setting in (
        "threads = 2",
        "memory_limit = '1GiB'",
        "temp_directory = ''",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "python_scan_all_frames = false",
        "python_enable_replacements = false",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _named(question: str) -> list[Kind]:
    """Opening the files of a table that nobody asks for would be most of the time."""
    words = set(re.findall(r"\w+", question.lower()))
    if "rollouts" in words:
        words |= {"meta", "fate"}
    return [kind for kind in SCHEMAS if kind in words]


def read_parts(run_dir: Path) -> dict[str, list[str]]:
    """Files of each kind that the manifest lists and that are there."""
    found: dict[str, list[str]] = {}
    try:
        entries = read_manifest(run_dir)
    except (ValueError, KeyError) as error:
        raise Refused("unreadable", f"the manifest is damaged: {error}") from error
    for entry in entries:
        file = Path(str(entry.get("file")))
        if not file.is_absolute() and ".." not in file.parts and (run_dir / file).is_file():
            found.setdefault(str(entry.get("kind")), []).append(str(file))
    return found


def tables() -> list[dict[str, Any]]:
    """What can be asked for, with its columns: the same for every run."""
    connection = _empty()
    try:
        for kind in SCHEMAS:
            connection.execute(_view(connection, kind, ()))
        connection.execute(_rollouts(False, False, False))
        names = {"rollouts": "every rollout that counts, with its last fate", **TABLES}
        return [
            {
                "name": name,
                "description": description,
                "columns": [
                    {"name": row[0], "type": row[1], "description": None}
                    for row in connection.execute(f"DESCRIBE {name}").fetchall()
                ],
            }
            for name, description in names.items()
        ]
    finally:
        connection.close()


def plain(value: Any) -> Any:
    """As JSON can say it without loss."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int):
        return value if abs(value) <= SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, str):
        return value if len(value) <= MAX_CELL else value[:MAX_CELL] + "…"
    if isinstance(value, list | tuple):
        return [plain(item) for item in value[:ROWS]]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return str(value)


def _view(connection: duckdb.DuckDBPyConnection, kind: Kind, files: Sequence[Path]) -> str:
    """With every column of the schema, whatever columns the files have."""
    names = ", ".join("'" + ingest.literal(file).replace("'", "''") + "'" for file in files)
    source = f"read_parquet([{names}], {ingest.OPTIONS})"
    there = ingest.columns_of(connection, [ingest.literal(f) for f in files]) if files else set()
    schema = SCHEMAS[kind].empty_table()
    connection.register(f"empty_{kind}", schema)
    types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE empty_{kind}").fetchall()}
    connection.unregister(f"empty_{kind}")
    fields = ", ".join(
        f'"{name}"::{type} AS "{name}"' if name in there else f'NULL::{type} AS "{name}"'
        for name, type in types.items()
    )
    if not files:
        return f"CREATE VIEW {kind} AS SELECT {fields} LIMIT 0"
    return f"CREATE VIEW {kind} AS SELECT {fields} FROM {source}"


def _fetch(found: duckdb.DuckDBPyConnection) -> tuple[list[tuple[Any, ...]], bool]:
    """At most ``ROWS`` rows and about ``MAX_ANSWER`` characters; whether there are more."""
    rows: list[tuple[Any, ...]] = []
    room = MAX_ANSWER
    while some := found.fetchmany(BATCH):
        for row in some:
            room -= sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(rows) == ROWS or room < 0:
                return rows, True
            rows.append(row)
    return rows, False


def _require_one_select(connection: duckdb.DuckDBPyConnection, question: str) -> None:
    statements = connection.extract_statements(question)
    if len(statements) != 1:
        raise Refused("sql", f"one SELECT is answered, not {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        name = str(statements[0].type).rpartition(".")[2]
        raise Refused("sql", f"only SELECT is answered here, not {name}")


def _without_paths(message: str, run_dir: Path) -> str:
    """DuckDB's words, with no word of where this machine keeps its files."""
    message = message.replace(str(run_dir), "RUN")
    with suppress(IndexError):
        message = message.split("\n\nCandidate", 1)[0]
    return re.sub(r"\n{2,}", "\n", message).strip()[:2000]
