"""Keeps every rollout, with its decision, its text and its fate, on disk while the run goes on."""

import asyncio
import logging
import shutil
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from actors.compaction import NotMerged
from actors.journal import Backlog, Record, Sealer, Segment, prepare
from actors.line_file import LineFile, encode, replace_file
from actors.recorder_rows import (
    eval_row,
    fate_row,
    finite,
    meta_rows,
    problem_row,
    text_rows,
    token_rows,
)
from actors.token_reader import TokenReader, open_reader
from configs.run_files import EVENTS, HISTORY, METRICS, STATE, VERDICTS, Fate, newest_rollouts
from configs.schema import RecorderConfig
from verifiers.types import EvalSample, JudgedGroup, Problem

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 2**20
"""A segment is sealed at this size, however few rows it has: sealing holds it in memory."""

BACKLOG_CHARACTERS = 32 * 2**20

HISTORY_S = (1.0, 30.0)
HISTORY_LINES = 1000
"""Seconds between two lines of ``history.jsonl``: at least, at most, and between those this part of
the time since this process began."""

TEXT_ROOM = (0.05, 2 * 2**30)
ROLLOUT_ROOM = (0.01, 256 * 2**20)
"""Below this share of the disk and this many bytes free, texts, then rollouts are not kept: the
last room belongs to the queue and the checkpoints."""


class Recorder:
    """The only writer of a run's observations.

    Received rows survive the death of this process (a write-ahead file) and, once sealed, that of
    the machine. A full or failing disk never raises here: what cannot be kept is counted in
    ``state.json`` as ``dropped``, and the log says so once.
    """

    def __init__(
        self,
        run_dir: str,
        config: RecorderConfig,
        model_dir: str | None = None,
        think_end: str = "</think>",
    ) -> None:
        """``model_dir``: whose tokenizer wrote. None: what single tokens are is not recorded."""
        self._run_dir = Path(run_dir)
        self._config = config
        self._think_end = think_end
        self._model_dir = model_dir
        self._reader: TokenReader | None = None
        self._metrics = LineFile(self._run_dir / METRICS)
        self._events = LineFile(self._run_dir / EVENTS)
        self._verdicts = LineFile(self._run_dir / VERDICTS)
        self._history = LineFile(self._run_dir / HISTORY)
        self._began_s = time.monotonic()
        self._next_history_s = self._began_s
        self._backlog = Backlog(max_rows=4 * config.seal_rows, max_characters=BACKLOG_CHARACTERS)
        self._known_problems: set[str] = set()
        self._segment = Segment(0, 0)
        self._wal = LineFile(self._segment.path(self._run_dir))
        self._rows = 0
        self._free = (1, 1)
        self._unsealed: deque[Segment] = deque()
        self._sealing = asyncio.Lock()
        self._full = asyncio.Event()
        self._sealer: Sealer | None = None
        self._background: asyncio.Task[None] | None = None
        self._warned = False

    async def start(self) -> int:
        """Recover what earlier boots left unsealed; the number of this boot, larger than theirs."""
        assert self._sealer is None, "a recorder starts once"
        boot, leftovers = await asyncio.to_thread(prepare, self._run_dir)
        self._reader = await asyncio.to_thread(open_reader, self._model_dir, self._think_end)
        self._sealer = Sealer(self._run_dir, leftovers)
        self._unsealed.extend(leftovers)
        self._open(Segment(boot, 0))
        await self._seal()
        self._background = asyncio.create_task(self._seal_forever())
        if boot > 1:
            await self.event("recorder_restarted", boot=boot, recovered_segments=len(leftovers))
        return boot

    async def problems(self, problems: list[Problem]) -> None:
        """A problem that this boot has recorded already is left out."""
        new = {p.id: p for p in problems if p.id not in self._known_problems}
        self._known_problems |= new.keys()
        self._receive({"problems": [problem_row(problem) for problem in new.values()]})

    async def rollouts(self, judged: JudgedGroup) -> None:
        """Every completion of the group, rejected ones included."""
        level = "disk" if self._short_of(TEXT_ROOM) else self._config.text
        record: Record = {"meta": meta_rows(judged, level, self._reader)}
        if level == "all":
            record["text"] = text_rows(judged, self._think_end)
            record["tokens"] = token_rows(judged, self._config.tokens_share, self._reader)
        elif level == "disk":
            self._backlog.dropped["text"] += len(record["meta"])
        if self._short_of(ROLLOUT_ROOM):
            self._backlog.dropped["meta"] += len(record["meta"])
            return
        self._receive(record)

    async def fates(self, rows: list[Fate]) -> None:
        now_us = _now_us()
        self._receive({"fate": [fate_row(fate, now_us) for fate in rows]})

    async def evals(
        self,
        label: str,
        version: int,
        samples: list[EvalSample],
        benchmark: str | None = None,
    ) -> None:
        """``benchmark``: the set that the problems are of; None: the run's held-out ones."""
        now_us = _now_us()
        rows = [eval_row(label, version, sample, now_us, benchmark) for sample in samples]
        self._receive({"evals": rows})

    async def step(self, row: dict[str, float | int | str | bool | None]) -> None:
        """One line of ``metrics.jsonl``; NaN and infinity become null and are named in ``nan``.

        Told twice, because an answer was lost with the process before, it is written once.
        """
        with suppress(OSError):  # which the next line counts
            if encode(finite(row)) == self._metrics.last_line():
                return
        self._append(self._metrics, "metrics", row)

    async def event(self, kind: str, **fields: Any) -> None:
        """One line of ``events.jsonl``."""
        self._append(self._events, "events", {"at_us": _now_us(), "kind": kind, **fields})

    async def verdicts(self, rows: list[dict[str, Any]]) -> None:
        """A line of ``verdicts.jsonl`` for each: the sample of verdicts that people look at."""
        if self._short_of(ROLLOUT_ROOM):
            self._backlog.dropped["verdicts"] += len(rows)
            return
        for row in rows:
            self._append(self._verdicts, "verdicts", row)

    async def state(self, values: dict[str, Any]) -> None:
        """Replace ``state.json`` by these values, the time, the boot, the disk, the dropped rows;
        now and then it becomes a line of ``history.jsonl`` too."""
        dropped = self._backlog.dropped
        free, total = self._free
        own = {
            "heartbeat_us": _now_us(),
            "boot": self._segment.boot,
            "dropped": dropped.total(),
            "dropped_by_kind": dict(dropped),
            "disk_free_bytes": free if total > 1 else None,
            "disk_bytes": total if total > 1 else None,
        }
        line = encode(finite(values | own))
        try:
            replace_file(self._run_dir / STATE, line)
        except OSError as error:
            self._warn(error)
        self._remember(line)

    async def newest(self, count: int) -> list[dict[str, Any]]:
        """Some of the rollouts that were sealed last, with their texts; none where they cannot be
        read."""
        try:
            return await asyncio.to_thread(newest_rollouts, self._run_dir, count)
        except (OSError, ValueError) as error:
            logger.warning("the newest rollouts cannot be read back: %s", error)
            return []

    async def flush(self) -> None:
        """Everything received so far is sealed and durable, unless the disk refuses."""
        await self._seal()
        try:
            for file in self._line_files:
                await asyncio.to_thread(file.sync)
        except OSError as error:
            self._warn(error)

    async def close(self) -> None:
        """Flush, and stop writing. Safe to call twice."""
        if self._background is None:
            return
        self._background.cancel()
        await asyncio.gather(self._background, return_exceptions=True)
        self._background = None
        await self.flush()
        if self._segment.seq > 0 and self._wal.size == 0:  # the first stays: it numbers the boots
            self._wal.path.unlink(missing_ok=True)
        for file in (*self._line_files, self._wal, self._sealer):
            if file is not None:
                file.close()

    @property
    def _line_files(self) -> tuple[LineFile, ...]:
        return self._metrics, self._events, self._verdicts, self._history

    def _receive(self, record: Record) -> None:
        """In the write-ahead file when this returns, or waiting for the disk, or counted."""
        self._backlog.push(record)
        self._write_backlog()
        if self._rows >= self._config.seal_rows or self._wal.size >= SEGMENT_BYTES:
            self._full.set()

    def _write_backlog(self) -> None:
        while record := self._backlog.oldest():
            try:
                self._wal.append(encode(record))
            except OSError as error:
                self._warn(error)
                self._backlog.shrink()
                return
            self._backlog.pop()
            self._rows += sum(map(len, record.values()))

    def _remember(self, line: bytes) -> None:
        """Often at first and more and more seldom, so that a long run's history stays small."""
        now = time.monotonic()
        if now < self._next_history_s or self._short_of(ROLLOUT_ROOM):
            return
        pause_s = min(HISTORY_S[1], max(HISTORY_S[0], (now - self._began_s) / HISTORY_LINES))
        self._next_history_s = now + pause_s
        try:
            self._history.append(line)
        except OSError as error:
            self._backlog.dropped["history"] += 1
            self._warn(error)

    def _append(self, file: LineFile, kind: str, row: dict[str, Any]) -> None:
        try:
            file.append(encode(finite(row)))
        except OSError as error:
            self._backlog.dropped[kind] += 1
            self._warn(error)

    async def _seal_forever(self) -> None:
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.seal_s):
                        await self._full.wait()
                self._full.clear()
                await self._seal()
        except Exception as error:  # nobody waits for this task: whoever reads is to know
            why, kept = f"{type(error).__name__}: {error}", self._segment.path(self._run_dir)
            logger.exception("nothing is sealed any more, %s keeps every row: %s", kept, why)
            await self.event("recorder_failed", why=why)
            raise

    async def _seal(self) -> None:
        """Make parts of all segments, oldest first; those that the disk refuses stay for later."""
        async with self._sealing:
            assert self._sealer is not None, "start() comes first"
            self._write_backlog()
            if self._rows:
                self._unsealed.append(self._segment)
                self._open(Segment(self._segment.boot, self._segment.seq + 1))
            try:
                usage = await asyncio.to_thread(shutil.disk_usage, self._run_dir)
                self._free = (usage.free, usage.total)
                while self._unsealed:
                    await asyncio.to_thread(self._sealer.seal, self._unsealed[0])
                    self._unsealed.popleft()
            except OSError as error:
                self._warn(error)
                return
            await self._compact(self._sealer)

    async def _compact(self, sealer: Sealer) -> None:
        """What cannot be merged costs its readers some time, and nobody a row."""
        try:
            await asyncio.to_thread(sealer.compact)
        except NotMerged as error:
            logger.warning("small parts stay as they are: %s", error)
            await self.event("not_merged", why=str(error))
        except OSError as error:
            self._warn(error)

    def _open(self, segment: Segment) -> None:
        self._wal.close()
        self._segment, self._rows = segment, 0
        self._wal = LineFile(segment.path(self._run_dir))
        try:
            self._wal.open()
        except OSError as error:  # tried again with the first row
            self._warn(error)

    def _short_of(self, room: tuple[float, int]) -> bool:
        share, num_bytes = room
        free, total = self._free
        return free < min(share * total, num_bytes)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            logger.warning(
                "the run directory cannot be written (%s); training goes on, and %s counts the "
                "observations that are lost as `dropped`",
                error,
                STATE,
            )
            self._warned = True


def _now_us() -> int:
    return time.time_ns() // 1000
