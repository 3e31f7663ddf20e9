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
from verifiers.references import structured
from verifiers.registry import UnknownVerifier, is_ours, path_of
from verifiers.types import Verdict

AHEAD_PER_WORKER = 16
"""Rows handed to the pool before the first of them is reported."""


class BadRow(UserError):
    """The message is one line: file, line number, what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRow:
    id: str | int
    answer: str
    response: str
    verifier: str
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    row: AnswerRow
    verdict: Verdict
    second: Verdict | None
    """What the judge to compare with says."""


class AnswerFile:
    """Rows ``{id, answer, response, verifier?, prompt?}``. All of them are checked here: BadRow or
    UnknownVerifier, one clear line, before the first judge starts."""

    def __init__(self, path: Path, default_verifier: str) -> None:
        path_of(default_verifier)
        self._path = path
        self._default_verifier = default_verifier
        self.num_rows = sum(1 for _ in self._rows())

    async def judged(
        self, config: JudgeConfig, compare: str | None = None
    ) -> AsyncGenerator[JudgedRow, None]:
        """Every row in the file's order, while the later ones are still being judged."""
        pool = JudgePool(config)
        waiting: deque[tuple[AnswerRow, list[asyncio.Task[Verdict]]]] = deque()
        await pool.start()
        try:
            for row in self._rows():
                names = [row.verifier] if compare is None else [row.verifier, compare]
                waiting.append((row, [asyncio.create_task(_ask(pool, row, n)) for n in names]))
                if len(waiting) > AHEAD_PER_WORKER * config.workers:
                    yield await _finished(*waiting.popleft())
            while waiting:
                yield await _finished(*waiting.popleft())
        finally:
            for _, tasks in waiting:
                for task in tasks:
                    task.cancel()
            await pool.close()

    def _rows(self) -> Iterator[AnswerRow]:
        return _rows(self._path, self._default_verifier)


async def _ask(pool: JudgePool, row: AnswerRow, verifier: str) -> Verdict:
    return await pool.judge(verifier, row.answer, row.response, row.prompt)


async def _finished(row: AnswerRow, tasks: "list[asyncio.Task[Verdict]]") -> JudgedRow:
    verdicts = [await task for task in tasks]
    return JudgedRow(row=row, verdict=verdicts[0], second=verdicts[1] if verdicts[1:] else None)


def _rows(path: Path, default_verifier: str) -> Iterator[AnswerRow]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row(line, f"{path}:{number}", default_verifier)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRow(f"{path} cannot be read: {error}") from error


def _row(line: str, where: str, default_verifier: str) -> AnswerRow:
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
    _require(row, "answer", (str, int, float, list, dict), where)
    _require(row, "response", (str,), where)
    _require({"prompt": row.get("prompt") or ""}, "prompt", (str,), where)
    return AnswerRow(
        id=row["id"],
        answer=_answer(row["answer"], where),
        response=row["response"],
        verifier=_verifier(row.get("verifier", default_verifier), where, default_verifier),
        prompt=row.get("prompt") or "",
    )


def _answer(value: Any, where: str) -> str:
    try:
        return structured(value) if isinstance(value, list | dict) else str(value)
    except ValueError as error:
        raise BadRow(f"{where}: answer is not JSON ({error})") from error


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
