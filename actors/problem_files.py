"""Read problems from JSONL, JSON, CSV, Parquet or the hub; refuse what cannot be trained on.

Everything is checked before the run starts: a bad row is named, never skipped.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from actors.hub_data import download
from actors.problem_rows import KNOWN_KEYS, PROMPT_KEYS, DataError, Record, Row, parse_row, shorten

BATCH_ROWS = 1024
"""Rows of Parquet turned into Python objects at a time."""

MADE_MODELS = ("tiny", "smollm2")
"""Models whose problems are made together with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemFile:
    rows: tuple[Row, ...]
    places: tuple[str, ...]
    """Where each row stands, ``train.jsonl row 3``: what an error message about it starts with."""
    num_duplicates: int
    """Rows without an id that repeat an earlier row word for word; they are left out."""


def resolve_data(name: str, which: Literal["train", "heldout"], models_dir: Path) -> str:
    """``resolve_data("tiny", "train", models)`` is ``<models>/tiny/train.jsonl``; others stay."""
    return str(models_dir / name / f"{which}.jsonl") if name in MADE_MODELS else name


def read_rows(path_or_name: str) -> list[Row]:
    """Every problem of a file, or of a hub data set (``name`` or ``name:split``)."""
    return list(read_problem_file(path_or_name).rows)


def read_problem_file(path_or_name: str, *, with_responses: bool = False) -> ProblemFile:
    """``with_responses``: every row must bring one."""
    rows: dict[str, tuple[Row, str]] = {}
    num_duplicates = 0
    for record in _records(path_or_name):
        row, has_given_id = parse_row(record, with_response=with_responses)
        earlier = rows.setdefault(row.id, (row, record.where))
        if earlier[1] == record.where:
            continue
        if has_given_id or earlier[0] != row:
            raise DataError(
                f"{record.where} has the id {shorten(row.id)} of {earlier[1]}; make ids unique, or "
                "leave the key 'id' out to have them made"
            )
        num_duplicates += 1
    if not rows:
        raise DataError(f"{path_or_name} holds no rows; give data.train or data.heldout problems")
    return ProblemFile(
        rows=tuple(row for row, _ in rows.values()),
        places=tuple(place for _, place in rows.values()),
        num_duplicates=num_duplicates,
    )


def _records(path_or_name: str) -> Iterator[Record]:
    path = Path(path_or_name).expanduser()
    if path.exists() and not path.is_file():
        kind = "a directory" if path.is_dir() else "no regular file"
        raise DataError(f"{path_or_name} is {kind}; name a file with problems")
    if path.exists() or path.suffix.lower() in READERS or path.is_absolute():
        parts, source = [path], path.stem
    else:
        parts, source = download(path_or_name), path_or_name.partition(":")[0]
    for part in parts:
        for number, values in _read(part):
            yield Record(where=f"{part} row {number}", source=source, values=values)


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is none of {', '.join(READERS)}; convert it, or rename it")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check data.train and data.heldout") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    for number, values in reader(path, data):
        if not isinstance(values, dict):
            raise DataError(
                f"{path} row {number} must be an object with keys, got {shorten(values)}"
            )
        yield number, values


def _read_jsonl(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    # split at \n alone: str.splitlines also cuts at characters that JSON text may hold
    for number, line in enumerate(_decode(path, data).split("\n"), start=1):
        if line.strip():
            yield number, _parse_json(f"{path} row {number}", line)


def _read_json(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    text = _decode(path, data)
    try:
        values = _parse_json(str(path), text) if text.strip() else []
    except DataError as error:
        if not _is_several_documents(error.__cause__):
            raise
        yield from _read_jsonl(path, data)
        return
    if isinstance(values, dict):
        values = values.get("data")
    if not isinstance(values, list):
        raise DataError(f'{path} must hold a list of rows, or {{"data": [rows]}}')
    yield from enumerate(values, start=1)


def _is_several_documents(error: BaseException | None) -> bool:
    """JSONL is often called .json."""
    return isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"


def _parse_json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{where} is nested too deeply to be a problem; remove it") from None
    except ValueError as error:
        raise DataError(f"{where} is not valid JSON: {error}") from error


def _read_csv(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    reader = csv.reader(io.StringIO(_decode(path, data), newline=""), strict=True)
    number = 0
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise DataError(f"{path} row 0, the header, names a column twice: {shorten(names)}")
        for number, cells in enumerate(reader, start=1):
            if cells and len(cells) != len(names):
                raise DataError(
                    f"{path} row {number} has {len(cells)} cells under {len(names)} column names; "
                    "quote cells that hold commas"
                )
            if cells:
                yield number, dict(zip(names, map(_csv_value, cells), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} row {number + 1} is not valid CSV: {error}") from error


def _csv_value(cell: str) -> str | None:
    """CSV has no types: an empty cell is no value, 12.0 an integer from a float column."""
    if re.fullmatch(r"[+-]?\d+\.0", cell):
        return cell.removesuffix(".0")
    return cell or None


def _read_parquet(path: Path, data: bytes) -> Iterator[tuple[int, Any]]:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = file.schema_arrow.names
        # without a prompt, all of them: the error message shows what there is
        columns = [n for n in names if n in KNOWN_KEYS or not set(names) & set(PROMPT_KEYS)]
        number = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            for values in _parquet_values(path, number, batch):
                number += 1
                yield number, values
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not readable as Parquet: {error}") from error


def _parquet_values(path: Path, before: int, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        for number in range(batch.num_rows):
            try:
                batch.slice(number, 1).to_pylist()
            except UnicodeDecodeError:
                raise DataError(
                    f"{path} row {before + number + 1} is not UTF-8 ({error.reason}); remove it"
                ) from error
        raise


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} line {line} is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from error


READERS: dict[str, Callable[[Path, bytes], Iterator[tuple[int, Any]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
