"""Files of JSON lines that grow while they are read."""

import json
import os
from pathlib import Path
from typing import Any

import orjson

MAX_LINE = 16 * 2**20
"""Bytes of a line; a longer one is passed over and counted as damaged."""


REMEMBERED = 4096
"""Bytes of the last line by which a file is known again."""


class LineTail:
    """Gives each object of a file once. A line counts once its newline is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes that were given."""
        self.damaged = 0
        self.restarts = 0
        """Times that the file was another one, or shorter: what was given before is void."""
        self._inode: int | None = None
        self._last = b""

    def read(self, until: int | None = None) -> list[dict[str, Any]]:
        """What is new, up to a place. A file that is not there has nothing; one that was replaced
        begins anew."""
        try:
            with self.path.open("rb") as file:
                self._look_whether_replaced(file)
                file.seek(self.offset)
                return self._objects(file, until)
        except FileNotFoundError:
            if self.offset:
                self._restart(None)
            return []

    def _look_whether_replaced(self, file: Any) -> None:
        """The number of a file that was removed is soon another one's: what was read last must
        still stand there as well."""
        found = os.fstat(file.fileno())
        is_other = self._inode not in (None, found.st_ino) or found.st_size < self.offset
        if not is_other and self._last:
            file.seek(self.offset - len(self._last))
            is_other = file.read(len(self._last)) != self._last
        if is_other:
            self._restart(found.st_ino)
        self._inode = found.st_ino

    def _restart(self, inode: int | None) -> None:
        self.offset, self.damaged, self._inode, self._last = 0, 0, inode, b""
        self.restarts += 1

    def _objects(self, file: Any, until: int | None) -> list[dict[str, Any]]:
        found = []
        for line in file:
            is_beyond = until is not None and self.offset + len(line) > until
            if is_beyond or not line.endswith(b"\n"):
                break
            self.offset += len(line)
            self._last = line[-REMEMBERED:]
            value = parse(line) if len(line) <= MAX_LINE else None
            if isinstance(value, dict):
                found.append(value)
            elif line.strip():
                self.damaged += 1
        return found


def parse(line: bytes) -> Any:
    """The value of a line, lone surrogates replaced; None when it is not JSON."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return clean(json.loads(line.decode("utf-8", errors="replace")))
        except (ValueError, RecursionError):
            return None


def read_object(path: Path) -> dict[str, Any] | None:
    """The object of a JSON file; None when it is missing or is not whole."""
    try:
        value = parse(path.read_bytes())
    except OSError:
        return None
    return value if isinstance(value, dict) else None


def clean(value: Any) -> Any:
    """Half characters have no UTF-8, NaN and infinity no JSON."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode()
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value
