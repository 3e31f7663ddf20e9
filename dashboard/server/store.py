"""The rows of one run in memory, as its manifest grows; every question is one snapshot of them."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from configs.run_files import MANIFEST, Kind
from dashboard.server import ingest
from dashboard.server.errors import Refused
from dashboard.server.lines import LineTail

logger = logging.getLogger(__name__)

MEMORY_GIB = 1.0

MAX_ROWS = 500
"""Of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A sealed file, as the manifest has it."""

    kind: Kind
    file: str
    rows: int
    boot: int
    seq: int
    number: int = -1
    """Of those of its kind, in the order in which they were taken in."""


class Snapshot:
    """One moment of a store; all its answers agree with each other."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, offset: int) -> None:
        self.offset = offset
        """Bytes of the manifest whose rows are surely in it."""
        self._cursor = cursor
        self._others: list[Callable[[], None]] = []

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        found = self._cursor.execute(sql, list(values))
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def tuples(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._cursor.execute(sql, list(values)).fetchall()

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The first row of a question that always has one."""
        found = self._cursor.execute(sql, list(values)).fetchone()
        assert found is not None, sql
        return found

    def columns(self, sql: str, values: Sequence[Any] = ()) -> dict[str, Any]:
        """NumPy arrays by name; masked where there are nulls."""
        return self._cursor.execute(sql, list(values)).fetchnumpy()

    def interrupt(self) -> None:
        """From any thread: what it is asked just now fails with ``duckdb.InterruptException``."""
        self._cursor.interrupt()
        for stop in self._others:
            stop()

    def also_interrupt(self, stop: Callable[[], None]) -> None:
        """Something else that is under way for the same question."""
        self._others.append(stop)


class RolloutStore:
    """Safe to ask from several threads while one of them refreshes it."""

    def __init__(self, run_dir: Path, memory_gib: float = MEMORY_GIB) -> None:
        self.run_dir = run_dir
        self.parts: dict[Kind, list[Part]] = {}
        """Those that were taken in; of texts and tokens only where they are."""
        self.damaged: dict[str, str] = {}
        """Files that could not be read, and why."""
        self._manifest = LineTail(run_dir / MANIFEST)
        self._refreshing = threading.Lock()
        self._db = _open(memory_gib)
        self._restarts = 0
        self.offset = 0
        """Bytes of the manifest that the rows come from."""
        self.labels = dict(ingest.NO_LABELS)
        """Of the columns with few values those that the run has."""
        ingest.create_tables(self._db)

    def refresh(self) -> int:
        """Take in what the manifest lists by now; how many parts that were."""
        with self._refreshing:
            entries = self._manifest.read()
            if self._manifest.restarts != self._restarts:
                self._restarts = self._manifest.restarts
                self._start_over()
            new = self._to_take_in([part for entry in entries if (part := _part(entry))], entries)
            if new:
                self._take_in(new)
            self.offset = self._manifest.offset
            return len(new)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        cursor, offset = self._db.cursor(), self.offset
        try:
            cursor.execute("BEGIN TRANSACTION")
            cursor.execute("SELECT 1 FROM rollouts LIMIT 0")  # its moment is the first question's
            yield Snapshot(cursor, offset)
        finally:
            cursor.close()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """A change of its own; how many rows it changed."""
        cursor = self._db.cursor()
        try:
            found = cursor.execute(sql, list(values)).fetchone()
        finally:
            cursor.close()
        return int(found[0]) if found and isinstance(found[0], int) else 0

    def paths(self, kind: Kind) -> list[str]:
        """Files of a kind as DuckDB's readers take them, newest last."""
        return [ingest.literal(self.run_dir / part.file) for part in self.parts.get(kind, ())]

    def path(self, kind: Kind, number: int) -> str:
        """The file with this number."""
        return ingest.literal(self.run_dir / self.parts[kind][number].file)

    def text_part(self, meta_part: int, text_seq: int | None) -> str | None:
        """The file with a rollout's text, from what its row says; None when nobody knows."""
        boot = self.parts["meta"][meta_part].boot
        for part in self.parts.get("text", ()):
            if (part.boot, part.seq) == (boot, text_seq):
                return ingest.literal(self.run_dir / part.file)
        return None

    def close(self) -> None:
        self._db.close()

    def _to_take_in(self, listed: list[Part], entries: list[dict[str, Any]]) -> list[Part]:
        """A part that replaces others brings no new row where all of those are in already."""
        known = {part.file for parts in self.parts.values() for part in parts}
        replaced: set[str] = set()
        for entry in entries:
            files = {str(file) for file in entry.get("replaces") or ()}
            replaced |= files
            if files and files <= known:
                known.add(str(entry.get("file")))
                self._moved(entry, files)
        return [part for part in listed if part.file not in known and part.file not in replaced]

    def _moved(self, entry: dict[str, Any], files: set[str]) -> None:
        """Rows stand in another file now; rows in memory keep the number of their old one."""
        part = _part(entry)
        if part is None:
            return
        for place, old in enumerate(self.parts[part.kind]):
            if old.file in files:
                moved = {"kind": old.kind, "rows": old.rows, "boot": old.boot, "seq": old.seq}
                self.parts[part.kind][place] = Part(**moved, file=part.file, number=old.number)

    def _take_in(self, new: list[Part]) -> None:
        """All in one go; where that fails, one by one, so that a bad file costs only itself."""
        try:
            self._commit(new)
        except duckdb.OutOfMemoryException as error:
            raise Refused(
                "too_large",
                f"the rollouts of {self.run_dir.name} do not fit into the memory that the page may "
                "use; start it with a larger --memory-gib",
            ) from error
        except duckdb.Error:
            for part in new:
                try:
                    self._commit([part])
                except duckdb.Error as error:
                    self.damaged[part.file] = " ".join(str(error).split())[:200]
                    logger.warning("%s is left out: %s", part.file, self.damaged[part.file])

    def _commit(self, new: list[Part]) -> None:
        numbered: dict[Kind, list[Part]] = {}
        for part in new:
            before = len(self.parts.get(part.kind, ())) + len(numbered.get(part.kind, ()))
            fields = {"file": part.file, "rows": part.rows, "boot": part.boot, "seq": part.seq}
            numbered.setdefault(part.kind, []).append(Part(kind=part.kind, number=before, **fields))
        cursor = self._db.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION")
            labels = ingest.take_in(cursor, self.run_dir, numbered, self.labels)
            cursor.execute("COMMIT")
        finally:
            cursor.close()
        self.labels = labels
        for kind, parts in numbered.items():
            self.parts.setdefault(kind, []).extend(parts)

    def _start_over(self) -> None:
        """The folder was made anew under our feet."""
        self.parts.clear()
        self.damaged.clear()
        self.labels = dict(ingest.NO_LABELS)
        cursor = self._db.cursor()
        try:
            ingest.create_tables(cursor)
        finally:
            cursor.close()


def _open(memory_gib: float) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for setting in (
        "threads = 2",
        f"memory_limit = '{memory_gib:g}GiB'",
        "temp_directory = ''",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "enable_progress_bar = false",
        # Of a sorted list the other columns are read for its rows only.
        f"late_materialization_max_rows = {MAX_ROWS}",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _part(entry: dict[str, Any]) -> Part | None:
    """None for a line that names no file inside the run: nothing else is ever opened."""
    file, kind = entry.get("file"), entry.get("kind")
    if not isinstance(file, str) or kind is None or kind not in ingest.KINDS:
        return None
    path = Path(file)
    if path.is_absolute() or ".." in path.parts:
        return None
    numbers = [entry.get(name) for name in ("rows", "boot", "seq")]
    rows, boot, seq = (value if isinstance(value, int) else 0 for value in numbers)
    return Part(kind=kind, file=file, rows=rows, boot=boot, seq=seq)
