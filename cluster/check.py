"""``laconic check``: from the files of a run, whether anything was lost, doubled or trained late.

Nothing is asked but the files, so a run may be looked at while it goes on and after any death.
docs/reliability.md has what is promised.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.history import History
from actors.history_types import Tally
from cluster import checkpoint
from cluster.check_recorded import Recorded
from cluster.checkpoint import LATEST, CheckpointStore, TrainState
from cluster.replay import load_run

SHOWN = 10
"""Violations that people are shown: the first one is the cause of most others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    tally: Tally
    checkpoints: int
    unrecorded: dict[str, int]
    """Rows that the recorder does not have (yet). It costs nobody a sample."""
    torn: int
    """Lines of the log that were being written when a process died."""
    dead_letters: list[dict[str, Any]]
    violations: list[str]

    def as_dict(self) -> dict[str, Any]:
        return {"ok": not self.violations, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint as it was found."""

    name: str
    damage: str | None
    state: TrainState | None


def check(run_dir: Path) -> Found:
    """Raises UserError, one line, for what is no run."""
    config = load_run(run_dir)
    recorded = Recorded(run_dir)
    recorded.read()
    kept, latest = _read_checkpoints(run_dir / "checkpoints")
    history = History(config.max_lag)
    torn = read_log(run_dir / "queue", history)  # last: it knows most
    tally = history.close()
    recorded.compare(history, tally)
    wrong_checkpoints = _wrong_checkpoints(kept, latest, history)
    return Found(
        tally=tally,
        checkpoints=len(kept),
        unrecorded=dict(recorded.unrecorded),
        torn=torn,
        dead_letters=[
            {"ticket": number, "problem": ticket.problem, "why": ticket.given_up}
            for number, ticket in enumerate(history.tickets)
            if ticket.given_up is not None
        ],
        violations=[*history.violations, *wrong_checkpoints, *recorded.violations],
    )


def read_log(folder: Path, history: History) -> int:
    """Every record of every log, in order. Returns how many torn lines there are: one a file at
    most, at its end, which was never promised to anybody."""
    torn = 0
    files = sorted(folder.glob("log-*.jsonl"), key=lambda path: (len(path.name), path.name))
    for boot, path in enumerate(files, start=1):
        if path.name != f"log-{boot:04d}.jsonl":
            history.violations.append(f"queue/log-{boot:04d}.jsonl is missing")
            break
        lines, seq = list(_lines(path)), 0
        for number, line in enumerate(lines, start=1):
            where = f"queue/{path.name} line {number}"
            record = _decode(line)
            if record is None:
                torn += number == len(lines)
                if number < len(lines):
                    history.violations.append(f"{where} fails its checksum")
                continue
            seq = _next_seq(record, seq, where, history)
            _read_record(record, where, history)
    return torn


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line.rstrip(b"\n")


def _decode(line: bytes) -> dict[str, Any] | None:
    try:
        is_whole = int(line[:8], 16) == zlib.crc32(line[9:])
        return json.loads(line[9:]) if is_whole else None
    except ValueError:
        return None


def _next_seq(record: dict[str, Any], seq: int, where: str, history: History) -> int:
    """Logs of earlier versions do not number their records."""
    found = record.get("seq", seq + 1)
    if found != seq + 1:
        history.violations.append(f"{where}: record {found} stands where {seq + 1} was to be")
    return found


def _read_record(record: dict[str, Any], where: str, history: History) -> None:
    try:
        history.read(record, where)
    except (KeyError, ValueError, TypeError) as error:  # another version's, or nobody's
        history.violations.append(f"{where}: not a record that is known here ({error!r})")


def _read_checkpoints(folder: Path) -> tuple[list[Kept], str | None]:
    found = []
    for path in CheckpointStore(folder, keep=2).folders():
        damage = checkpoint.check(path)
        if path.is_dir():  # else it was removed meanwhile, for a newer one
            state = checkpoint.state_of(path) if damage is None else None
            found.append(Kept(name=path.name, damage=damage, state=state))
    latest = checkpoint.latest(folder)
    if latest is not None and latest not in {kept.name for kept in found}:
        path = folder / latest  # committed while the others were read, or not there
        damage = checkpoint.check(path) if path.is_dir() else None
        if path.is_dir():
            state = checkpoint.state_of(path) if damage is None else None
            found.append(Kept(name=latest, damage=damage, state=state))
    return found, latest


def _wrong_checkpoints(found: list[Kept], latest: str | None, history: History) -> Iterator[str]:
    for kept in found:
        where = f"checkpoints/{kept.name}"
        if kept.damage is not None:
            yield f"{where} is damaged: {kept.damage}"
        if kept.state is None:
            continue
        step, end = kept.state.step, kept.state.end_ticket
        ends = _end_tickets(step, history)
        if kept.name != f"step-{step:06d}":
            yield f"{where} says that it is of step {step}"
        elif not ends:
            yield f"{where} is of a step that the log does not acknowledge"
        elif end not in ends:
            yield f"{where} says that tickets below {end} are trained, the log {min(ends)}"
    names = [kept.name for kept in found]
    if latest is None and len(names) > 1:  # a first one may lack it: the process died just then
        yield f"checkpoints/{LATEST} is missing"
    if latest is not None and latest not in names:
        yield f"checkpoints/{LATEST} names {latest}, which is not there"


def _end_tickets(step: int, history: History) -> set[int]:
    """First ticket that is not trained after ``step`` steps. The last groups of the data may have
    held nothing to train: a checkpoint after them counts them, one before them does not."""
    ends = {0} if step == 0 else set()
    if step - 1 in history.steps:
        ends.add(history.steps[step - 1].end)
        if step in history.steps and history.steps[step].is_empty:
            ends.add(history.steps[step].end)
    return ends


def lines(found: Found) -> Iterator[str]:
    """The report for people."""
    tally = found.tally
    rows = {
        "steps": {"taken": tally.steps, "taken back": tally.taken_back},
        "checkpoints": {"kept": found.checkpoints},
        "groups": {
            "issued": tally.issued_groups,
            "settled": tally.settled_groups,
            "out": tally.running_groups,
            "recovered": tally.recovered,
            "dead letters": tally.dead_groups,
        },
        "rollouts": {
            "attempted": tally.attempted,
            "acked": tally.acked,
            "ok": tally.ok,
            "pending": tally.pending,
        },
        "  of these": {"trained": tally.trained, **tally.dropped, **tally.rejected},
        "broken": {
            "lost": tally.lost,
            "unexpected": tally.unexpected,
            "duplicated": tally.duplicated,
            "over-stale": tally.over_stale,
        },
        "unrecorded": found.unrecorded,
    }
    for name, counts in rows.items():
        yield f"{name:<12} " + "  ".join(f"{what} {count}" for what, count in counts.items())
    for letter in found.dead_letters:
        problem = f"ticket {letter['ticket']}, problem {letter['problem']}"
        yield f"dead letter: {problem}: {letter['why']}"
    if not found.violations:
        yield "ok"
        return
    yield from found.violations[:SHOWN]
    if len(found.violations) > SHOWN:
        yield f"and {len(found.violations) - SHOWN} more"
