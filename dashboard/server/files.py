"""What a run directory holds besides Parquet: lines that grow, objects that are replaced."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.run_files import EVENTS, FORMAT, HISTORY, METRICS, RUN, STATE, SUMMARY, VERDICTS
from dashboard.server.lines import LineTail, read_object

MAX_EVENTS = 50_000
"""The newest ones are kept in memory."""

MAX_VERDICTS = 5_000
MAX_HISTORY = 20_000

Row = dict[str, Any]


class RunFiles:
    """Everything small of a run. ``refresh`` reads what is new."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.run: Row = {}
        self.state: Row = {}
        self.summary: Row = {}
        self.metrics: list[Row] = []
        """A row for each optimizer step, in order; of a step taken twice the last."""
        self.events: deque[Row] = deque(maxlen=MAX_EVENTS)
        self.verdicts: deque[Row] = deque(maxlen=MAX_VERDICTS)
        self.history: deque[Row] = deque(maxlen=MAX_HISTORY)
        """Earlier contents of ``state.json``."""
        self._tails = {
            name: LineTail(run_dir / name) for name in (METRICS, EVENTS, VERDICTS, HISTORY)
        }
        self._restarts = dict.fromkeys(self._tails, 0)
        self._steps: dict[int, Row] = {}

    @property
    def offsets(self) -> dict[str, int]:
        """Bytes of each file of lines that were read."""
        return {name: tail.offset for name, tail in self._tails.items()}

    @property
    def damaged_lines(self) -> int:
        return sum(tail.damaged for tail in self._tails.values())

    @property
    def is_newer(self) -> bool:
        """Written by a version that this one cannot read."""
        version = self.run.get("format", FORMAT)
        return not isinstance(version, int) or version > FORMAT

    def refresh(self) -> None:
        """An object that is being replaced, or is damaged, stays as it was."""
        self.run = read_object(self.run_dir / RUN) or self.run
        self.state = read_object(self.run_dir / STATE) or self.state
        self.summary = read_object(self.run_dir / SUMMARY) or self.summary
        if rows := self._new(METRICS):
            for row in rows:
                if isinstance(row.get("step"), int):
                    self._steps[row["step"]] = row
            self.metrics = [self._steps[step] for step in sorted(self._steps)]
        self.events.extend(self._new(EVENTS))
        self.verdicts.extend(self._new(VERDICTS))
        self.history.extend(self._new(HISTORY))

    def _new(self, name: str) -> Sequence[Row]:
        tail = self._tails[name]
        rows = tail.read()
        if tail.restarts != self._restarts[name]:
            self._restarts[name] = tail.restarts
            self._forget(name)
        return rows

    def _forget(self, name: str) -> None:
        """What was read before is of a file that is gone."""
        if name == METRICS:
            self._steps.clear()
            self.metrics = []
        elif name == EVENTS:
            self.events.clear()
        elif name == HISTORY:
            self.history.clear()
        else:
            self.verdicts.clear()
