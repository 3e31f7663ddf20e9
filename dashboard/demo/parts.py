"""Writes Parquet parts and the manifest that lists them, as the recorder does."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.run_files import FOLDERS, MANIFEST, Kind, part_name

ROW_GROUP: dict[Kind, int] = {"text": 128, "tokens": 128}
"""Rows that a reader unpacks to see one text."""

_SPANS: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "meta": (("first_version", "last_version"), ("start_us", "end_us")),
    "fate": (("version",), ("at_us",)),
    "evals": (("version",), ("at_us",)),
}


class Parts:
    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._entries: list[dict[str, Any]] = []
        for folder in FOLDERS.values():
            (run_dir / folder).mkdir(parents=True, exist_ok=True)

    def write(self, kind: Kind, table: pa.Table, boot: int, seq: int) -> None:
        """A table without a row is no part."""
        if not table.num_rows:
            return
        file = f"{FOLDERS[kind]}/{part_name(boot, seq)}"
        group = ROW_GROUP.get(kind, 65536)
        path = self._run_dir / file
        pq.write_table(table, path, compression="zstd", compression_level=1, row_group_size=group)
        versions, times = _SPANS.get(kind, ((), ()))
        self._entries.append(
            {
                "kind": kind,
                "file": file,
                "rows": table.num_rows,
                "versions": _span(table, versions),
                "times": _span(table, times),
                "replaces": [],
                "boot": boot,
                "seq": seq,
            }
        )

    def write_manifest(self) -> None:
        lines = [json.dumps(entry) + "\n" for entry in self._entries]
        (self._run_dir / MANIFEST).write_text("".join(lines))


def _span(table: pa.Table, columns: tuple[str, ...]) -> list[int] | None:
    if not columns:
        return None
    found = [pc.min_max(table[column]).as_py() for column in columns]  # pyright: ignore[reportAttributeAccessIssue]
    return [min(each["min"] for each in found), max(each["max"] for each in found)]
