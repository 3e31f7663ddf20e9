"""One Parquet part, whole or not there."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from verifiers.durable import sync


def write_part(table: pa.Table, path: Path, row_group: int | None = None) -> None:
    """The part is whole and durable under its name, or there is nothing of that name."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd", row_group_size=row_group)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)
