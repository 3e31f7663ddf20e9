"""How the recorder's rows reach the disk: a write-ahead segment first, Parquet parts after.

A segment is a file of lines, ``wal-{boot}-{seq}.jsonl``. Sealing turns all its rows of one kind
into ``part-{boot}-{seq}.parquet`` and lists that in the manifest; then the segment is deleted. So
after a crash at any point the manifest itself says which kinds of a segment are safe.
"""

import json
import re
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.compaction import Compaction, remove_leftovers
from actors.line_file import LineFile, encode
from actors.part_file import write_part
from configs.failpoints import failpoint
from configs.run_files import FOLDERS, MANIFEST, SCHEMAS, Kind, part_name, read_jsonl
from verifiers.durable import sync

Record = dict[Kind, list[dict[str, Any]]]
"""Rows that were received together, by kind."""

ROW_GROUP: dict[Kind, int] = {"text": 128, "tokens": 128}
"""Rows that a reader has to unpack to see one text. Of other kinds a part is one group: they are
read as columns."""

CHARACTERS_OF_A_TOKEN = 30
"""Of its end and its log-probability, as a line of JSON has them."""

SPANS: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "meta": (("first_version", "last_version"), ("start_us", "end_us")),
    "fate": (("version",), ("at_us",)),
    "evals": (("version",), ("at_us",)),
}
"""The columns from which the manifest takes a part's range of versions and of times."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    boot: int
    seq: int

    def path(self, run_dir: Path) -> Path:
        return run_dir / "rollouts" / f"wal-{self.boot}-{self.seq}.jsonl"


def prepare(run_dir: Path) -> tuple[int, list[Segment]]:
    """Make the folders, remove half-written files; the next boot and the unsealed segments."""
    for folder in FOLDERS.values():
        (run_dir / folder).mkdir(parents=True, exist_ok=True)
        for leftover in (run_dir / folder).glob("*.tmp"):
            leftover.unlink()
    remove_leftovers(run_dir)
    names = [
        re.fullmatch(r"wal-(\d+)-(\d+)\.jsonl", p.name) for p in (run_dir / "rollouts").iterdir()
    ]
    segments = sorted(Segment(int(name[1]), int(name[2])) for name in names if name)
    boots = [entry["boot"] for entry in read_jsonl(run_dir / MANIFEST)]
    return 1 + max([0, *boots, *(segment.boot for segment in segments)]), segments


class Sealer:
    """Turns segments into parts, each row once, however often it is interrupted or fails."""

    def __init__(self, run_dir: Path, leftovers: Iterable[Segment]) -> None:
        """``leftovers``: the segments of earlier boots that will be sealed here."""
        self._run_dir = run_dir
        self._manifest = LineFile(run_dir / MANIFEST)
        self._compaction = Compaction(run_dir=run_dir, manifest=self._manifest)
        self._one_at_a_time = threading.Lock()  # a cancelled caller leaves its thread running
        wanted = {(segment.boot, segment.seq) for segment in leftovers}
        self._sealed = {
            (entry["boot"], entry["seq"], entry["kind"])
            for entry in read_jsonl(run_dir / MANIFEST)
            if (entry["boot"], entry["seq"]) in wanted
        }

    def seal(self, segment: Segment) -> None:
        """Blocks on the disk: call it from a thread. An OSError loses nothing; call it again."""
        with self._one_at_a_time:
            self._seal(segment)

    def compact(self) -> None:
        """Merge small parts where there are many; from a thread too. Raises ``NotMerged``."""
        with self._one_at_a_time:
            self._compaction.run()

    def close(self) -> None:
        self._manifest.close()

    def _seal(self, segment: Segment) -> None:
        path = segment.path(self._run_dir)
        rows = _rows_of(path)
        _link_text(rows, segment.seq)
        entries = [
            self._write(segment, kind, of_kind)
            for kind, of_kind in rows.items()
            if (segment.boot, segment.seq, kind) not in self._sealed
        ]
        if entries:
            failpoint("recorder.sealed")
            self._manifest.append(b"".join(map(encode, entries)), durable=True)
            sync(self._run_dir / "rollouts")
            self._sealed |= {(segment.boot, segment.seq, kind) for kind in rows}
            for entry in entries:
                self._compaction.sealed(entry)
        path.unlink(missing_ok=True)
        self._sealed -= {(segment.boot, segment.seq, kind) for kind in rows}

    def _write(self, segment: Segment, kind: Kind, rows: list[dict[str, Any]]) -> dict[str, Any]:
        table = pa.Table.from_pylist(rows, schema=SCHEMAS[kind])
        file = f"{FOLDERS[kind]}/{part_name(segment.boot, segment.seq)}"
        write_part(table, self._run_dir / file, ROW_GROUP.get(kind))
        versions, times = SPANS.get(kind, ((), ()))
        return {
            "kind": kind,
            "file": file,
            "rows": table.num_rows,
            "versions": _span(rows, versions),
            "times": _span(rows, times),
            "replaces": [],
            "boot": segment.boot,
            "seq": segment.seq,
        }


class Backlog:
    """Records that wait for the disk. Too much for memory: texts and tokens go first, the oldest
    first."""

    def __init__(self, *, max_rows: int, max_characters: int) -> None:
        self.dropped: Counter[str] = Counter()
        self._max_rows = max_rows
        self._max_characters = max_characters
        self._records: deque[Record] = deque()
        self._rows = 0
        self._characters = 0

    def push(self, record: Record) -> None:
        """A record without a row is none: it would look like the end of the backlog."""
        record = {kind: rows for kind, rows in record.items() if rows}
        if record:
            self._records.append(record)
            self._count(record, 1)

    def oldest(self) -> Record | None:
        return self._records[0] if self._records else None

    def pop(self) -> None:
        self._count(self._records.popleft(), -1)

    def shrink(self) -> None:
        for record in self._records:
            if self._fits():
                return
            self._drop_text(record)
        while not self._fits():
            record = self._records[0]
            self.pop()
            self.dropped.update({kind: len(rows) for kind, rows in record.items()})

    def _fits(self) -> bool:
        return self._rows <= self._max_rows and self._characters <= self._max_characters

    def _drop_text(self, record: Record) -> None:
        if "text" not in record:
            return
        self._count(record, -1)
        self.dropped["text"] += len(record.pop("text"))
        if tokens := record.pop("tokens", None):
            self.dropped["tokens"] += len(tokens)
        for row in record.get("meta", ()):
            row["text_level"] = "dropped"
        self._count(record, 1)

    def _count(self, record: Record, sign: int) -> None:
        for rows in record.values():
            self._rows += sign * len(rows)
            self._characters += sign * sum(_characters_of(row) for row in rows)


def _characters_of(row: dict[str, Any]) -> int:
    return len(row.get("text") or "") + CHARACTERS_OF_A_TOKEN * len(row.get("ends") or ())


def _rows_of(path: Path) -> Record:
    """The rows of a segment by kind. A line that a crash or a bad disk spoiled is left out."""
    rows: defaultdict[Kind, list[dict[str, Any]]] = defaultdict(list)
    if not path.exists():
        return rows
    with path.open("rb") as file:
        for line in file:
            with suppress(ValueError):
                for kind, of_kind in json.loads(line).items():
                    rows[kind] += of_kind
    return rows


def _link_text(rows: Record, seq: int) -> None:
    with_text = {row["rollout_id"] for row in rows.get("text", ())}
    for row in rows.get("meta", ()):
        row["text_seq"] = seq if row["rollout_id"] in with_text else None


def _span(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[int] | None:
    known = [row[column] for row in rows for column in columns if row[column] is not None]
    return [min(known), max(known)] if known else None
