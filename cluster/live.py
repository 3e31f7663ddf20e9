"""What a person watching the run sees: a panel on a terminal, plain lines anywhere else.

Both show one line per optimizer step with the same fixed fields, and during a long phase say at
least every ten seconds what the run is doing.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BEAT_S = 1.0
QUIET_S = 9.0
"""A phase that has said nothing for so long is repeated at the next beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """The fields of a step's line. Times are seconds of the step spent so."""

    step: int
    steps: int
    version: int
    loss: float | None = None
    grad_norm: float | None = None
    lr: float | None = None
    accepted: int = 0
    rollouts: int = 0
    """Judged for this step, accepted or not."""
    mean_tokens: float | None = None
    """Of all of them."""
    accepted_tokens_mean: float | None = None
    lag_max: int | None = None
    generated_tokens_per_s: float | None = None
    wait_s: float | None = None
    train_s: float | None = None
    sync_s: float | None = None
    skipped: int = 0
    """Not 0: the gradient was not finite and the weights did not change."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Rejected rollouts by reason."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "StepLine":
        """Its fields out of a row that may hold more."""
        return cls(**{f.name: row[f.name] for f in fields(cls) if f.name in row})

    def __str__(self) -> str:
        head = f"step {self.step}/{self.steps} version {self.version}"
        times = (
            f"gen {_rate(self.generated_tokens_per_s)} wait {_number(self.wait_s, '.1f', 's')} "
            f"train {_number(self.train_s, '.1f', 's')} sync {_number(self.sync_s, '.1f', 's')}"
        )
        tokens = f"tokens {_number(self.mean_tokens, '.1f')} lag {_number(self.lag_max, '.0f')}"
        if self.accepted == 0:
            return f"{head} nothing accepted of {self.rollouts}{self._why()} {tokens} {times}"
        skipped = " SKIPPED, gradient not finite" if self.skipped else ""
        kept = f"kept {self.accepted}/{self.rollouts}"
        return f"{head} loss {_number(self.loss, '.3f')}{skipped} {kept} {tokens} {times}"

    def _why(self) -> str:
        most_first = sorted(self.reasons.items(), key=lambda item: -item[1])
        named = ", ".join(f"{reason} {count}" for reason, count in most_first if count)
        return f" ({named})" if named else ""


class PlainLines:
    """Lines of text; used as a context manager, so that its clock ends with the run."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._phase = ""
        self._detail = ""
        self._phase_began = 0.0
        self._last_line = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._beats = threading.Thread(target=self._beat_forever, daemon=True, name="live")

    def __enter__(self) -> Self:
        self._beats.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._beats.join(timeout=2.0)

    def progress(self, phase: str, detail: str) -> None:
        """A new phase is said at once, a new detail of the same phase with the next beat."""
        with self._lock:
            new, self._phase, self._detail = phase != self._phase, phase, detail
            if new:
                self._phase_began = self._clock()
                self._say_phase()

    def step(self, row: StepLine | Mapping[str, Any]) -> None:
        with self._lock:
            self._phase = ""
            self._write(str(row if isinstance(row, StepLine) else StepLine.of(row)))

    def note(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def beat(self) -> None:
        """Repeat the phase when nothing was said for a while."""
        with self._lock:
            if self._phase and self._clock() - self._last_line >= QUIET_S:
                self._say_phase()

    def _beat_forever(self) -> None:
        while not self._stop.wait(BEAT_S):
            self.beat()

    def _say_phase(self) -> None:
        detail = f" {self._detail}," if self._detail else ""
        self._write(f"{self._phase}:{detail} {self._clock() - self._phase_began:.0f} s")

    def _write(self, line: str) -> None:
        self._last_line = self._clock()
        encoding = self._stream.encoding or "utf-8"
        line = printable(line).encode(encoding, "replace").decode(encoding)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more: the run goes on
            self._stop.set()


class LivePanel:
    """The same on a terminal: lines scroll above a panel with the phase and the run's progress."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = "starting"
        self._detail = ""
        self._phase_began = time.monotonic()
        self._last: StepLine | None = None
        self._live = Live(
            console=console,
            get_renderable=self._panel,
            refresh_per_second=4,
            redirect_stderr=sys.stderr.isatty(),  # a log that goes to a file stays there
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._phase = "stopped" if error else "done"
        self._detail = ""
        self._live.stop()

    def progress(self, phase: str, detail: str) -> None:
        if phase != self._phase:
            self._phase, self._phase_began = phase, time.monotonic()
        self._detail = detail

    def step(self, row: StepLine | Mapping[str, Any]) -> None:
        self._last = row if isinstance(row, StepLine) else StepLine.of(row)
        self.progress("training", "")
        style = "yellow" if self._last.accepted == 0 or self._last.skipped else ""
        self._console.print(Text(str(self._last), style=style))

    def note(self, text: str) -> None:
        self._console.print(Text(printable(text), style="bold"))

    def _panel(self) -> Group:
        seconds = time.monotonic() - self._phase_began
        detail = f" {self._detail}" if self._detail else ""
        table = Table.grid(padding=(0, 2))
        step, steps = (self._last.step, self._last.steps) if self._last else (0, 0)
        if steps:
            counted = Text(f"step {step}/{steps}", style="bold")
            table.add_row(counted, ProgressBar(total=steps, completed=step, width=40))
        phase = Text(self._phase, style="bold cyan")
        table.add_row(phase, Text(f"{printable(detail).strip()} {seconds:.0f} s".strip()))
        return Group(table)


Display = LivePanel | PlainLines


def open_live(stream: TextIO) -> LivePanel | PlainLines:
    """``with open_live(sys.stdout) as live``: a panel when the stream is a terminal that can draw
    one. ``NO_COLOR`` takes the colours, not the panel."""
    console = Console(file=stream)
    if stream.isatty() and not console.is_dumb_terminal:
        return LivePanel(console)
    return PlainLines(stream)


def printable(text: str) -> str:
    """One line without control characters: what a model wrote must not steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "n/a" if value is None else f"{value:{form}}{unit}"


def _rate(per_s: float | None) -> str:
    if per_s is None or not math.isfinite(per_s):
        return "n/a"
    return f"{per_s / 1000:.1f}k tok/s" if per_s >= 1000 else f"{per_s:.0f} tok/s"
