"""What a run wrote down for people, held against its queue's log: metrics, births, fates, summary.

Read before the log is, so that of a run that still writes the log knows at least as much. A row
that is missing costs nobody a sample: it is counted. A row that says otherwise is a violation.
"""

import json
import re
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.history import History
from actors.history_types import SKIPPED, Sample, Step, Tally
from configs.run_files import (
    MANIFEST,
    METRICS,
    STATE,
    SUMMARY,
    Kind,
    read_jsonl,
    read_manifest,
)

ALIVE_S = 10.0
"""A run says once a second that it is there."""

Birth = tuple[str | None, int, int, int]
"""Reason, tokens, first and last version."""

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "meta": ("rollout_id", "reason", "n_tokens", "first_version", "last_version"),
    "fate": ("rollout_id", "fate", "step"),
}


@dataclass(slots=True)
class Recorded:
    run_dir: Path
    metrics: list[dict[str, Any]] = field(default_factory=list)
    births: dict[str, set[Birth]] = field(default_factory=dict)
    fates: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """Rows of each rollout, fate and step."""
    summary: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    unrecorded: Counter[str] = field(default_factory=Counter)

    @property
    def is_alive(self) -> bool:
        return is_alive(self.state)

    def read(self) -> None:
        self.summary = self._object(SUMMARY)
        self.state = self._object(STATE)
        try:
            self.metrics = read_jsonl(self.run_dir / METRICS)
            parts = read_manifest(self.run_dir)
        except (ValueError, KeyError) as error:
            self.violations.append(f"{METRICS} or {MANIFEST}: {error}")
            return
        for part in parts:
            rows = self._part(part["kind"], part["file"], part["rows"])
            if part["kind"] == "meta":
                for name, *birth in rows:
                    self.births.setdefault(name, set()).add(tuple(birth))
            elif part["kind"] == "fate":
                self.fates.update(rows)

    def compare(self, history: History, tally: Tally) -> None:
        self.violations += self._wrong_births(history)
        self.violations += self._wrong_fates(history)
        self.violations += self._wrong_metrics(history)
        self.violations += self._wrong_summary([*history.before_restarts, tally])

    def _object(self, name: str) -> dict[str, Any]:
        try:
            return json.loads((self.run_dir / name).read_text())
        except FileNotFoundError:
            return {}
        except ValueError:
            self.violations.append(f"{name} is not JSON")
            return {}

    def _part(self, kind: Kind, file: str, num_rows: int) -> list[tuple[Any, ...]]:
        """The columns that are held against the log; of other kinds only that the file is whole."""
        try:
            with pq.ParquetFile(self.run_dir / file) as part:
                if part.metadata.num_rows != num_rows:
                    self.violations.append(
                        f"{file} has {part.metadata.num_rows} rows, {MANIFEST} says {num_rows}"
                    )
                if kind not in COLUMNS:
                    return []
                table = part.read(columns=list(COLUMNS[kind]))
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:100]
            self.violations.append(f"{file} cannot be read: {reason}")
            return []
        there = {name: table[name].to_pylist() for name in table.column_names}
        columns = (there.get(name, [None] * num_rows) for name in COLUMNS[kind])
        return list(zip(*columns, strict=True))

    def _wrong_births(self, history: History) -> Iterator[str]:
        for name, births in self.births.items():
            place = re.fullmatch(r"(\d+)\.(\d+)\.\d+", name)
            number, attempt = (int(place[1]), int(place[2])) if place else (len(history.tickets), 0)
            there = history.tickets[number] if number < len(history.tickets) else None
            sample = history.samples.get(name)
            if there is None or attempt > there.attempt:
                yield f"rollouts/meta has {name}, and that was never issued"
            elif sample is None:
                if there.samples and attempt == there.attempt:
                    yield f"rollouts/meta has {name}, and its group was settled without it"
            elif (sample.reason, sample.tokens, *sample.versions) not in births:
                found = ", ".join(map(_words, births))
                by_log = _words((sample.reason, sample.tokens, *sample.versions))
                yield f"rollouts/meta has {name} as {found}, the log as {by_log}"
        self.unrecorded["births"] = len(history.samples.keys() - self.births.keys())

    def _wrong_fates(self, history: History) -> Iterator[str]:
        for (name, fate, step), rows in self.fates.items():
            what = f"rollouts/fate has {name} as {fate} at step {step}"
            sample, ends = history.samples.get(name), history.ends.get(name, [])
            times = ends.count((step, _reason_of(fate)))
            if sample is None:
                yield f"{what}, and that was never settled"
            elif not sample.is_kept:
                yield f"{what}, and that was rejected as {sample.reason}"
            elif rows > times and not (not ends and _is_taken(sample, step, history)):
                by_log = ", ".join(f"{end} at step {at}" for at, end in ends) or "waiting"
                yield f"{what}{f' {rows} times' if times else ''}, the log as {by_log}"
        known = {(name, _reason_of(fate), step) for name, fate, step in self.fates}
        self.unrecorded["fates"] = sum(
            (name, ends[-1][1], ends[-1][0]) not in known
            for name, ends in history.ends.items()
            if history.samples[name].ticket < history.frontier
        )

    def _wrong_metrics(self, history: History) -> Iterator[str]:
        """Rows come in the order of the acknowledgements, some of which had no time for one. From
        the end, so that of a step that was taken again the last row is that of the last time."""
        places: dict[int, list[int]] = {}
        for place, step in enumerate(history.acks):
            if not step.is_empty:
                places.setdefault(step.number, []).append(place)
        left, matched = len(history.acks), set[int]()
        for line, row in reversed(list(enumerate(self.metrics, start=1))):
            what = f"{METRICS} line {line}: step {row['step']}"
            of_step = places.get(row["step"] - 1, [])
            found = bisect_left(of_step, left) - 1
            if found < 0:
                yield f"{what} is there more often than in the log, or out of order"
                continue
            left = of_step[found]
            matched.add(left)
            if differing := _difference(row, history.acks[left]):
                yield f"{what} has {differing}"
        recorded = {id(history.acks[place]) for place in matched}
        standing = [step for step in history.steps.values() if not step.is_empty]
        yield from self._missing_metrics([id(step) in recorded for step in standing])

    def _missing_metrics(self, has_row: list[bool]) -> Iterator[str]:
        """``has_row``: of each step that stands."""
        missing = [step for step, is_there in enumerate(has_row, start=1) if not is_there]
        newest = len(has_row) if self.is_alive else 1  # steps that may have no row yet
        is_finished = self.summary.get("steps") == len(has_row)
        excused = 0 if is_finished else sum(step > len(has_row) - newest for step in missing)
        excused += self.state.get("dropped_by_kind", {}).get("metrics", 0)
        self.unrecorded["metrics"] = len(missing)
        if len(missing) > excused:
            yield f"{METRICS} has no row of step {missing[0]}"

    def _wrong_summary(self, tallies: list[Tally]) -> Iterator[str]:
        """It was written when all steps were taken; the run may have gone on to further ones."""
        differing = [_differing_count(self.summary.get("counts", {}), tally) for tally in tallies]
        if differing[-1] is not None and None not in differing:
            yield f"{SUMMARY} counts {differing[-1]}"


def is_alive(state: dict[str, Any]) -> bool:
    """``state.json`` of a run that may still write its files."""
    silent_s = time.time() - state.get("heartbeat_us", 0) / 1e6
    return silent_s < ALIVE_S and state.get("phase") not in ("finished", "stopped")


def _difference(row: dict[str, Any], step: Step) -> str | None:
    by_log = {
        "stale": step.dropped["stale"],
        "equal": step.dropped["equal"],
        "rollouts": step.written,
        "trained_tokens": step.total_tokens,
    }
    for name, value in by_log.items():
        if name in row and row[name] != value:
            return f"{name} {row[name]}, the log {value}"
    return None


def _differing_count(counts: dict[str, Any], tally: Tally) -> str | None:
    by_log = asdict(tally) | {"queued": tally.pending, "settled": tally.acked}
    for name in counts:
        if name in by_log and counts[name] != by_log[name]:
            return f"{name} {counts[name]}, the log {by_log[name]}"
    return None


def _words(birth: Birth) -> str:
    reason, tokens, first, last = birth
    return f"{reason or 'accepted'} with {tokens} tokens of versions {first} to {last}"


def _reason_of(fate: str) -> str:
    """The log's word."""
    return SKIPPED if fate == "aborted" else fate


def _is_taken(sample: Sample, step: int, history: History) -> bool:
    """By a step of which the log only says how many it trained."""
    return any(a.number == step and a.first <= sample.ticket < a.end for a in history.acks)
