"""Tags, notes and acknowledged alarms: lines that the page appends to ``annotations.jsonl``."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import orjson

from dashboard.server.errors import Refused
from dashboard.server.lines import LineTail

FILE = "annotations.jsonl"
MAX_TAG, MAX_NOTE = 60, 4000
"""Characters."""


class Annotations:
    """Safe from several threads; several pages may append to the same file."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / FILE
        self._tail = LineTail(self._path)
        self._lock = threading.Lock()
        self._restarts = 0
        self.tags: dict[str, list[str]] = {}
        """Of each rollout."""
        self.notes: dict[str, list[dict[str, Any]]] = {}
        self.acks: dict[str, dict[str, Any]] = {}
        """Of alarms, by their id."""

    @property
    def offset(self) -> int:
        return self._tail.offset

    @property
    def why_read_only(self) -> str | None:
        """None: they can be written."""
        target = self._path if self._path.exists() else self._path.parent
        if os.access(target, os.W_OK):
            return None
        return f"{target.name} in the run's folder cannot be written by this user"

    def refresh(self) -> None:
        with self._lock:
            lines = self._tail.read()
            if self._tail.restarts != self._restarts:
                self._restarts = self._tail.restarts
                self.tags, self.notes, self.acks = {}, {}, {}
            for line in lines:
                self._apply(line)

    def tagged(self, tags: Sequence[str]) -> Collection[str]:
        return [name for name, given in self.tags.items() if set(given) & set(tags)]

    def counts(self) -> dict[str, int]:
        counts: defaultdict[str, int] = defaultdict(int)
        for given in self.tags.values():
            for tag in given:
                counts[tag] += 1
        return dict(counts)

    def add(self, line: dict[str, Any]) -> None:
        """One line, whole or not at all. Raises Refused where the folder cannot be written."""
        if self.why_read_only is not None:
            raise Refused("read_only", f"not kept: {self.why_read_only}")
        record = orjson.dumps({"at_us": time.time_ns() // 1000, **line}) + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, record)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Refused("read_only", f"not kept: {error.strerror}") from error
        self.refresh()

    def _apply(self, line: dict[str, Any]) -> None:
        name = line.get("rollout_id")
        if isinstance(line.get("ack"), str):
            self.acks[line["ack"]] = {key: line.get(key) for key in ("at_us", "by", "note")}
        elif isinstance(name, str):
            tags = self.tags.setdefault(name, [])
            if isinstance(line.get("tag"), str) and line["tag"] not in tags:
                tags.append(line["tag"])
            if line.get("untag") in tags:
                tags.remove(line["untag"])
            if isinstance(line.get("note"), str):
                note = {"at_us": line.get("at_us"), "text": line["note"], "by": line.get("by")}
                self.notes.setdefault(name, []).append(note)


def checked(body: dict[str, Any], name: str, limit: int) -> str | None:
    """A text of the request, bounded. None: it is not there."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise Refused("bad_request", f"{name} must be a text that is not empty", name)
    if len(value) > limit:
        raise Refused("bad_request", f"{name} is longer than {limit} characters", name)
    return value.strip().encode("utf-8", errors="replace").decode()
