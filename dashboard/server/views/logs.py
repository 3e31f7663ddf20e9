"""V14: log files by byte offset, so that a file of any size opens at once."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dashboard.server.errors import Refused
from dashboard.server.look import Look

MAX_BYTES = 2**20
MAX_SEARCHED = 64 * 2**20
"""Bytes that one question with a level or an expression looks through."""

MAX_LINE = 64 * 2**10
MAX_LINES = 5000
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LEVEL = re.compile(rf"\b({'|'.join(LEVELS)})\b")
TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[,.](\d{1,6}))?")


def logs(look: Look) -> dict[str, Any]:
    return {
        "files": [
            {
                "id": name,
                "name": name,
                "bytes": (found := path.stat()).st_size,
                "modified_us": found.st_mtime_ns // 1000,
            }
            for name, path in sorted(_files(look.run.run_dir).items())
        ]
    }


def log(look: Look) -> dict[str, Any]:
    """Whole lines from ``from`` on, or those before ``to``; without either the last ones."""
    name, args = look.args.required("file"), look.args
    path = _files(look.run.run_dir).get(name)
    if path is None:
        raise Refused("no_such_file", f"this run has no log {name[:80]!r}", "file")
    most = args.integer("bytes", 65536, 1024, MAX_BYTES)
    level, expression = args.text("level"), _expression(args.text("q"))
    if level and level not in LEVELS:
        raise Refused(
            "bad_request", f"level={level[:20]!r} is none of {', '.join(LEVELS)}", "level"
        )
    is_picky = bool(level or expression)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = _start(look, size, most)
        before = args.maybe_integer("to")
        end = size if before is None else max(0, min(before, size))
        line = _skip_to_line(file, start)
        # Where no line begins in what was asked for, it is the end of a longer one: shown as such.
        start = start if line >= end and start < end else line
        file.seek(start)
        data = file.read(min(MAX_SEARCHED if is_picky else most, max(0, end - start)))
    whole = data.rfind(b"\n") + 1
    is_piece = whole == 0 and len(data) >= min(most, MAX_BYTES)  # of a line that is longer
    if is_piece or before is not None:  # what is asked for before a piece ends where that begins
        whole = len(data)
    lines, taken = [], start
    for raw in data[:whole].splitlines(keepends=True):
        line = _line(raw, taken)
        taken += len(raw)
        if _fits(line, level, expression):
            lines.append(line)
            if len(lines) >= MAX_LINES:
                break
    return {
        "file": name,
        "size": size,
        "from": start,
        "next": taken,
        "previous": start if start > 0 else None,
        "lines": lines,
        "searched": taken - start,
        "done": taken >= start + whole,
    }


def _files(run_dir: Path) -> dict[str, Path]:
    """Logs by their names: a name that is asked for is looked up, never opened as a path."""
    folder = run_dir / "logs"
    if not folder.is_dir():
        return {}
    return {
        path.name: path
        for path in folder.iterdir()
        if path.is_file() and not path.is_symlink() and path.suffix in (".log", ".txt", ".out")
    }


def _start(look: Look, size: int, most: int) -> int:
    start, end = look.args.maybe_integer("from"), look.args.maybe_integer("to")
    if start is not None:
        return max(0, min(start, size))
    return max(0, min(size if end is None else end, size) - most)


def _skip_to_line(file: Any, start: int) -> int:
    """The place of the first line that begins at ``start`` or behind it."""
    if start == 0:
        return 0
    file.seek(start - 1)
    if file.read(1) == b"\n":
        return start
    skipped = file.readline(MAX_BYTES)
    return start + len(skipped)


def _line(raw: bytes, at: int) -> dict[str, Any]:
    cut = len(raw) if len(raw) > MAX_LINE else None
    text = plain(raw[:MAX_LINE].decode("utf-8", errors="replace").rstrip("\r\n"))
    level, moment = LEVEL.search(text[:200]), TIME.search(text[:60])
    return {
        "at": at,
        "text": text,
        "level": level[1] if level else None,
        "at_us": _micros(moment) if moment else None,
        "cut": cut,
    }


def plain(text: str) -> str:
    """Without colours and other orders to a terminal."""
    return CONTROLS.sub("", ESCAPES.sub("", text))


def _micros(found: re.Match[str]) -> int | None:
    """The machine's own time, as ``logging`` writes it."""
    try:
        moment = datetime.fromisoformat(f"{found[1]} {found[2]}").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000 + int((found[3] or "0").ljust(6, "0"))


def _fits(line: dict[str, Any], level: str, expression: re.Pattern[str] | None) -> bool:
    if level and (line["level"] is None or LEVELS.index(line["level"]) < LEVELS.index(level)):
        return False
    return expression is None or expression.search(line["text"]) is not None


def _expression(text: str) -> re.Pattern[str] | None:
    """Plain text where it holds no sign of an expression. Python's engine can be made to run for
    ever by nested repetitions, which are refused."""
    if not text:
        return None
    if len(text) > 200:
        raise Refused("bad_request", "q is longer than 200 characters", "q")
    if re.search(r"[*+}]\s*\)\s*[*+{]|\\\d|\(\?", text):
        raise Refused("bad_request", "q has repetitions inside of repetitions", "q")
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise Refused("bad_request", f"q is no regular expression: {error}", "q") from None
