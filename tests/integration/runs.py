"""Reading a run from its directory, as somebody who was not there would."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.replay_log import read_log
from configs.run_files import read_jsonl


def events(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    path = run_dir / "events.jsonl"
    return [event for event in read_jsonl(path) if event["kind"] == kind] if path.exists() else []


def processes(run_dir: Path) -> dict[str, int]:
    """Of the last start: the name of every part and its process."""
    return events(run_dir, "started")[-1]["processes"]


def records(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_log(run_dir / "queue") if record["kind"] == kind]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(ready: Callable[[], Any], what: str, timeout_s: float = 300) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := ready():
            return found
        time.sleep(0.02)
    raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")


class Account:
    """The queue's log added up again, by other code than the queue's own."""

    def __init__(self, run_dir: Path) -> None:
        self.issued: dict[int, int] = {}
        self.problems: dict[int, str] = {}
        self.settled: dict[int, dict[str, Any]] = {}
        self.steps: dict[int, dict[str, Any]] = {}
        for record in read_log(run_dir / "queue"):
            getattr(self, f"_{record['kind']}")(record)

    def _issue(self, record: dict[str, Any]) -> None:
        self.issued[record["ticket"]] = record["attempt"]
        self.problems.setdefault(record["ticket"], record["problem"])
        assert self.problems[record["ticket"]] == record["problem"]

    def _settle(self, record: dict[str, Any]) -> None:
        assert record["ticket"] not in self.settled, "a group was settled twice"
        assert record["attempt"] == self.issued[record["ticket"]]
        self.settled[record["ticket"]] = record

    def _ack(self, record: dict[str, Any]) -> None:
        self.steps[record["step"]] = record

    def _commit(self, record: dict[str, Any]) -> None: ...

    _published = _end = _commit

    def _dead(self, record: dict[str, Any]) -> None:
        self._settle(record | {"outcomes": [], "rollouts": []})

    def _resume(self, record: dict[str, Any]) -> None:
        self.steps = {s: taken for s, taken in self.steps.items() if s < record["step"]}

    @property
    def trained_tickets(self) -> list[int]:
        spans = (range(step["first"], step["end"]) for step in self.steps.values())
        return [ticket for span in spans for ticket in span]

    @property
    def outcomes(self) -> Counter[str]:
        """Rollouts by reason; accepted ones under ``accepted``."""
        rows = (outcome for group in self.settled.values() for outcome in group["outcomes"])
        return Counter(reason or "accepted" for _, _, reason, *_ in rows)

    @property
    def queued(self) -> int:
        done = set(self.trained_tickets)
        return sum(len(g["rollouts"]) for ticket, g in self.settled.items() if ticket not in done)

    @property
    def trained(self) -> int:
        return sum(step["trained"] for step in self.steps.values())

    @property
    def dropped(self) -> Counter[str]:
        return sum((Counter(step["dropped"]) for step in self.steps.values()), Counter())

    @property
    def running(self) -> set[int]:
        return set(self.issued) - set(self.settled)
