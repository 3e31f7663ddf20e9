"""One run as the page sees it: its rows, its files, its annotations, and what is wrong with it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from configs.errors import UserError
from configs.load import load_resolved
from configs.run_files import EVENTS, METRICS, RESOLVED, RUN, STATE
from configs.schema import RunConfig
from dashboard.server.annotations import Annotations
from dashboard.server.errors import Refused
from dashboard.server.files import RunFiles
from dashboard.server.lines import read_object
from dashboard.server.store import MEMORY_GIB, RolloutStore, Snapshot

SILENT_S = 10.0
"""A run that is alive says so once a second."""

START_S = 600.0
"""Until a run that was started first says so."""

REFRESH_S = 0.7
"""Files are not looked at more often than this."""

ENDED = ("finished", "stopped", "failed")


class Run:
    """Rows are read when somebody first asks, and dropped again by ``unload``."""

    def __init__(self, run_dir: Path, name: str, memory_gib: float = MEMORY_GIB) -> None:
        self.run_dir = run_dir
        self.name = name
        self.files = RunFiles(run_dir)
        self.annotations = Annotations(run_dir)
        self.used = 0.0
        """When somebody last asked, by the monotonic clock."""
        self.newest_us: int | None = None
        """When the newest rollout ended."""
        self._num_rollouts = 0
        self.engine_factors: tuple[int, dict[str, float]] | None = None
        """Kept by ``views.engine_time``."""
        self.evaluations: tuple[int, Any] | None = None
        """Kept by ``views.evaluations``."""
        self.recorded: tuple[Any, Any, dict[str, Any]] | None = None
        """Kept by ``views.whatif``."""
        self.problem_lists: tuple[Any, list[str]] | None = None
        """Kept by ``views.problems``."""
        self.missing: tuple[int, dict[str, str]] | None = None
        """Kept by ``views.rollouts``."""
        self.tally: tuple[int, Any] | None = None
        """Kept by ``views.funnel``."""
        self.counts_changed_us: int | None = None
        """When ``state.json`` last counted something else than before."""
        self._counts: Any = None
        self._settled: deque[tuple[float, int]] = deque(maxlen=64)
        self._config: tuple[float, RunConfig | None] = (-1.0, None)
        self.find_alarms: Callable[[Run], list[dict[str, Any]]] = lambda run: []
        self._memory_gib = memory_gib
        self._store: RolloutStore | None = None
        self._lock = threading.Lock()
        self._refreshed = float("-inf")

    @property
    def store(self) -> RolloutStore:
        assert self._store is not None, "refresh() comes first"
        return self._store

    @property
    def config(self) -> RunConfig | None:
        """None: there is none, or another version wrote it."""
        path = self.run_dir / RESOLVED
        try:
            changed = path.stat().st_mtime
        except OSError:
            return None
        if changed != self._config[0]:
            try:
                self._config = (changed, load_resolved(path))
            except (UserError, OSError):
                self._config = (changed, None)
        return self._config[1]

    @property
    def group_size(self) -> int | None:
        return self.config.group_size if self.config else None

    def settled_long_ago(self) -> int:
        """Rollouts that were settled so long ago that they must be on disk; of a run that is over,
        all."""
        if not self._is_fresh():
            return settled(self.files.state)
        patience_s = 4 * (self.config.recorder.seal_s if self.config else 2.0)
        before = time.monotonic() - patience_s
        return max((num for at, num in self._settled if at <= before), default=0)

    @property
    def is_loaded(self) -> bool:
        return self._store is not None

    @property
    def cursor(self) -> str:
        """Changes whenever anything new is there. Offsets into files that only grow."""
        offsets = self.files.offsets
        rows = self._store.offset if self._store else 0
        heartbeat = self.files.state.get("heartbeat_us", 0)
        return ".".join(
            map(str, (rows, offsets[METRICS], offsets[EVENTS], heartbeat, self.annotations.offset))
        )

    @property
    def version(self) -> tuple[int, ...]:
        """As ``cursor``, without what changes every second: two answers of one version are equal
        where no clock matters."""
        rows = self._store.offset if self._store else 0
        return (rows, *self.files.offsets.values(), self.annotations.offset)

    def refresh(self, at_most_every_s: float = REFRESH_S) -> None:
        """Blocks on the disk. Raises Refused when the folder is gone or cannot be read."""
        with self._lock:
            self.used = time.monotonic()
            if self.used - self._refreshed < at_most_every_s:
                return
            self._require_readable()
            self.files.refresh()
            if self.files.is_newer:
                raise Refused(
                    "newer_version",
                    f"{self.name} was written by a newer version of Laconic "
                    f"(format {self.files.run.get('format')!r}); update this one to look at it",
                )
            self._look_at_counts()
            self.annotations.refresh()
            if self._store is None:
                self._store = RolloutStore(self.run_dir, self._memory_gib)
            try:
                if self._store.refresh():
                    with self._store.snapshot() as db:
                        self.newest_us, self._num_rollouts = db.one(
                            "SELECT max(end_us), count(*) FROM rollouts"
                        )
            except (duckdb.Error, OSError) as error:
                self._require_readable()
                reason = " ".join(str(error).split())[:200]
                raise Refused("unreadable", f"{self.name} cannot be read: {reason}") from error
            self._refreshed = time.monotonic()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        with self.store.snapshot() as snapshot:
            yield snapshot

    def unload(self) -> None:
        """Give the memory of the rows back; the next question reads them again."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = self.evaluations = self.engine_factors = self.recorded = None
                self.problem_lists = self.missing = self.tally = None
                self._refreshed = float("-inf")

    def info(self) -> dict[str, Any]:
        """A row of the list of runs; never raises."""
        if not self.is_loaded:
            self.files.run = read_object(self.run_dir / RUN) or self.files.run
            self.files.state = read_object(self.run_dir / STATE) or self.files.state
        status, problem = self.status()
        run, why = self.files.run, self.annotations.why_read_only
        starts = run.get("starts") or [{}]
        return {
            "name": self.name,
            "preset": run.get("preset"),
            "status": status,
            "problem": problem,
            "synthetic": bool(run.get("synthetic")),
            "started_us": micros(starts[0].get("at")),
            "writable": why is None,
            "read_only_why": why,
            "rollouts": self._num_rollouts or settled(self.files.state),
        }

    def alarms(self) -> list[dict[str, Any]]:
        """Those that stand, the gravest first."""
        return self.find_alarms(self)

    def status(self) -> tuple[str, str | None]:
        """The word, and one line where something is wrong."""
        state, run = self.files.state, self.files.run
        if not self.run_dir.is_dir():
            return "unreadable", "the folder is not there any more"
        if self.files.is_newer:
            return "unreadable", f"written by a newer version (format {run.get('format')!r})"
        if not run and not state:
            return "empty", "nothing was written here yet: no run.json"
        problem = self._what_is_damaged()
        if state.get("phase") in ENDED or (self.files.summary and not self._is_fresh()):
            return ("stopped" if state.get("phase") in ENDED[1:] else "finished"), problem
        return ("live" if self._is_fresh() else "silent"), problem

    def _is_fresh(self) -> bool:
        """It said something just now; or it has been started and has not come to that yet."""
        heartbeat = self.files.state.get("heartbeat_us")
        if heartbeat is None:
            starts = self.files.run.get("starts") or [{}]
            heartbeat, patience_s = micros(starts[-1].get("at")), START_S
        else:
            patience_s = SILENT_S
        return heartbeat is not None and time.time() - heartbeat / 1e6 < patience_s

    def _look_at_counts(self) -> None:
        counts = self.files.state.get("counts")
        if counts != self._counts:
            self._counts = counts
            self.counts_changed_us = self.files.state.get("heartbeat_us")
        self._settled.append((self.used, settled(self.files.state)))

    def _what_is_damaged(self) -> str | None:
        damaged = self._store.damaged if self._store else {}
        if damaged:
            first = next(iter(damaged))
            return f"{len(damaged)} files cannot be read and are left out, such as {first}"
        if self.files.damaged_lines:
            return f"{self.files.damaged_lines} damaged lines were passed over"
        return None

    def _require_readable(self) -> None:
        if not self.run_dir.is_dir():
            raise Refused("deleted", f"the folder of {self.name} is not there any more")


def is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RUN, RESOLVED, STATE, METRICS))


def settled(state: dict[str, Any]) -> int:
    value = state.get("counts", {}).get("settled", 0)
    return value if isinstance(value, int) else 0


def micros(at: Any) -> int | None:
    """Of a time as ``run.json`` has it."""
    try:
        return int(datetime.fromisoformat(str(at)).timestamp() * 1e6)
    except ValueError:
        return None
