"""Judge a file of responses: what ``laconic verify FILE.jsonl`` does."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.schema import JudgeConfig
from verifiers.pool import JudgePool
from verifiers.registry import UnknownVerifier, is_ours, path_of
from verifiers.types import Verdict

AHEAD_PER_WORKER = 16
"""Rows handed to the pool before the first of them is reported."""


class BadRow(UserError):
    """The message is one line: file, line number, what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    id: str | int
    answer: str
    response: str
    verifier: str


def verify_file(
    path: Path, default_verifier: str, config: JudgeConfig
) -> AsyncGenerator[dict[str, Any], None]:
    """``{id, status, extracted, detail, ms}`` for every row ``{id, answer, response, verifier?}``,
    in the file's order, while the later ones are still being judged.

    Every row is checked before this returns: it raises BadRow or UnknownVerifier, one clear line.
    """
    path_of(default_verifier)
    for _ in _rows(path, default_verifier):
        pass
    return _judged(path, default_verifier, config)


async def _judged(
    path: Path, default_verifier: str, config: JudgeConfig
) -> AsyncGenerator[dict[str, Any], None]:
    pool = JudgePool(config)
    waiting: deque[tuple[_Row, asyncio.Task[Verdict]]] = deque()
    await pool.start()
    try:
        for row in _rows(path, default_verifier):
            verdict = asyncio.create_task(pool.judge(row.verifier, row.answer, row.response))
            waiting.append((row, verdict))
            if len(waiting) > AHEAD_PER_WORKER * config.workers:
                yield await _report(*waiting.popleft())
        while waiting:
            yield await _report(*waiting.popleft())
    finally:
        for _, verdict in waiting:
            verdict.cancel()
        await pool.close()


async def _report(row: _Row, waiting: "asyncio.Task[Verdict]") -> dict[str, Any]:
    verdict = await waiting
    return {
        "id": row.id,
        "status": verdict.status,
        "extracted": verdict.extracted,
        "detail": verdict.detail,
        "ms": round(verdict.ms, 3),
    }


def _rows(path: Path, default_verifier: str) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row(line, f"{path}:{number}", default_verifier)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRow(f"{path} cannot be read: {error}") from error


def _row(line: str, where: str, default_verifier: str) -> _Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise BadRow(f"{where}: a row is an object with id, answer and response")
    missing = [key for key in ("id", "answer", "response") if row.get(key) is None]
    missing += ["answer"] if not str(row.get("answer", "-")).strip() else []
    if missing:
        raise BadRow(f"{where}: {' and '.join(missing)} missing")
    _require(row, "id", (str, int), where)
    _require(row, "answer", (str, int, float), where)
    _require(row, "response", (str,), where)
    verifier = _verifier(row.get("verifier", default_verifier), where, default_verifier)
    return _Row(
        id=row["id"], answer=str(row["answer"]), response=row["response"], verifier=verifier
    )


def _verifier(name: object, where: str, default_verifier: str) -> str:
    """A row chooses among our judges; code to run is named on the command line, not in data."""
    if not isinstance(name, str):
        raise BadRow(f"{where}: verifier must be str, got {type(name).__name__}")
    if name != default_verifier and not is_ours(name):
        if ":" in name:
            raise BadRow(f"{where}: verifier {name!r} names code, which a data file may not")
        try:
            path_of(name)
        except UnknownVerifier as error:
            raise BadRow(f"{where}: {error}") from error
    return name


def _require(row: dict[str, Any], key: str, kinds: tuple[type, ...], where: str) -> None:
    value = row[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise BadRow(f"{where}: {key} must be {names}, got {type(value).__name__}")
