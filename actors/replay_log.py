"""The append-only file behind the replay queue: what is written here survives the process.

One JSON object a line, each behind its own checksum, so that a torn tail is told apart from data,
and with its number in the file, so that one that is gone from the middle is missed.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from actors.line_file import LineFile
from configs.failpoints import failpoint
from verifiers.durable import sync

Record = dict[str, Any]


class LogDamaged(RuntimeError):
    """A line in the middle of the log is not what was written."""


class ReplayLog:
    """One file a boot, ``log-0001.jsonl``, ``log-0002.jsonl``, …: an old one never changes."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.boot = 1 + len(log_files(directory))
        path = directory / f"log-{self.boot:04d}.jsonl"
        path.open("xb").close()
        self._file = LineFile(path)
        self._num_records = 0
        sync(directory)

    def append(self, *records: Record) -> None:
        """On the disk when this returns; nothing of them is there, for a reader, when it raises."""
        failpoint("queue.append")
        numbered = enumerate(records, start=self._num_records + 1)
        lines = [_encode({"seq": number, **record}) for number, record in numbered]
        self._file.append(b"".join(lines), durable=True)
        self._num_records += len(records)
        failpoint("queue.appended")

    def close(self) -> None:
        self._file.close()


def log_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("log-*.jsonl"))


def read_log(directory: Path) -> Iterator[Record]:
    """Every whole record in the order of writing. A torn last line of a file was never promised."""
    for path in log_files(directory):
        with path.open("rb") as file:  # never as a whole: it has every token of the run
            yield from _records(file, path.name)


def _records(file: BinaryIO, name: str) -> Iterator[Record]:
    damaged = 0
    for number, line in enumerate(file, start=1):
        is_torn = not line.endswith(b"\n")
        if damaged and not is_torn:
            raise LogDamaged(f"{name} line {damaged} fails its checksum; restore the file")
        record = _decode(line.removesuffix(b"\n"))
        if record is not None:
            yield record
        else:
            damaged = number
        if is_torn:  # what is added to it while it is read is no line of its own
            break


def _encode(record: Record) -> bytes:
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _decode(line: bytes) -> Record | None:
    checksum, _, body = line.partition(b" ")
    if not body or checksum != b"%08x" % zlib.crc32(body):
        return None
    return json.loads(body)
