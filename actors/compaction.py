"""A run's many small parts become few large ones: a reader pays for files more than for rows.

Parts of one kind and one boot are merged, in order, and their rows keep it. The new part is listed
in the manifest as what ``replaces`` the old ones, which stay a while for readers that have them
open.
"""

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.line_file import LineFile, encode
from actors.part_file import write_part
from configs.failpoints import failpoint
from configs.run_files import FOLDERS, MANIFEST, SCHEMAS, Kind, read_jsonl

KINDS: tuple[Kind, ...] = ("meta", "fate")
"""Those that are read as a whole. A text is read from the one part that its row names."""

PARTS = 32
"""So many small ones are merged."""

LARGE = 50_000
"""Rows of a part that stays as it is."""

READERS_S = 600.0
"""How long a part that was replaced stays."""

Entry = dict[str, Any]


class NotMerged(Exception):
    """Which parts stay small, and why; no row is lost."""


@dataclass(slots=True, kw_only=True)
class Compaction:
    run_dir: Path
    manifest: LineFile
    small: dict[tuple[Kind, int], list[Entry]] = field(default_factory=dict)
    """By kind and boot, in order, the parts at the end of the manifest that are not large."""
    replaced: deque[tuple[float, list[str]]] = field(init=False)
    """Files that no new reader opens, the oldest first, and when those that had them open are done:
    of ``time.monotonic``."""

    def __post_init__(self) -> None:
        self.replaced = _replaced_before(self.run_dir)

    def sealed(self, entry: Entry) -> None:
        if entry["kind"] in KINDS:
            self.small.setdefault((entry["kind"], entry["boot"]), []).append(entry)

    def run(self) -> None:
        """Blocks on the disk: call it from a thread. Parts that cannot be merged are not tried
        again: what is damaged stays so. The others are merged with the next call."""
        for key, entries in self.small.items():
            if len(entries) >= PARTS or sum(entry["rows"] for entry in entries) >= LARGE:
                self.small[key] = []
                merged = self._merged(entries)
                self.small[key] = [merged] if merged["rows"] < LARGE else []
                self.replaced.append((time.monotonic() + READERS_S, merged["replaces"]))
        while self.replaced and self.replaced[0][0] < time.monotonic():
            _, files = self.replaced.popleft()
            for file in files:
                (self.run_dir / file).unlink(missing_ok=True)

    def _merged(self, entries: list[Entry]) -> Entry:
        try:
            return self._merge(entries)
        except (OSError, pa.ArrowException) as error:
            first, last, why = entries[0]["file"], entries[-1]["file"], " ".join(str(error).split())
            raise NotMerged(f"{len(entries)} parts, {first} to {last}: {why}") from error

    def _merge(self, entries: list[Entry]) -> Entry:
        first, last = entries[0], entries[-1]
        kind: Kind = first["kind"]
        file = f"{FOLDERS[kind]}/merged-{first['boot']}-{first['seq']}-{last['seq']}.parquet"
        tables = [_read(self.run_dir / entry["file"]) for entry in entries]
        write_part(pa.concat_tables(tables).cast(SCHEMAS[kind]), self.run_dir / file)
        merged = first | {
            "file": file,
            "rows": sum(entry["rows"] for entry in entries),
            "versions": _span(entry["versions"] for entry in entries),
            "times": _span(entry["times"] for entry in entries),
            "replaces": [entry["file"] for entry in entries],
        }
        failpoint("recorder.compacted")
        self.manifest.append(encode(merged), durable=True)
        return merged


def remove_leftovers(run_dir: Path) -> None:
    """What a merge left behind that died before the manifest listed its part."""
    listed = {entry["file"] for entry in read_jsonl(run_dir / MANIFEST)}
    for kind in KINDS:
        for path in (run_dir / FOLDERS[kind]).glob("merged-*.parquet"):
            if f"{FOLDERS[kind]}/{path.name}" not in listed:
                path.unlink()


def _replaced_before(run_dir: Path) -> deque[tuple[float, list[str]]]:
    """What earlier processes replaced, and perhaps did not remove."""
    now, found = time.monotonic(), []
    for entry in read_jsonl(run_dir / MANIFEST):
        with suppress(FileNotFoundError):  # it was replaced in its turn, later than these files
            if entry["replaces"]:
                rest_s = READERS_S - _age_s(run_dir / entry["file"])
                found.append((now + min(rest_s, READERS_S), entry["replaces"]))
    return deque(sorted(found))


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as part:
        return part.read()


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _span(spans: Any) -> list[int] | None:
    known = [bound for span in spans if span is not None for bound in span]
    return [min(known), max(known)] if known else None
