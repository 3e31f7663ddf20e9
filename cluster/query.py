"""``laconic query``: one SELECT over a run's files, in the sandbox of the page."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dashboard.server import sandbox
from dashboard.server.errors import Refused
from dashboard.server.run import is_run
from dashboard.server.views.sql import as_csv

WIDEST = 60
"""Characters of a cell of the table."""


def query(run: Path, question: str, form: str, say: Callable[[str], None]) -> str:
    """What to print: ``table``, ``csv`` or ``json``. Raises UserError for what is no question."""
    if not is_run(run):
        raise UserError(f"{run} holds no run; name its folder, such as runs/NAME")
    try:
        found = sandbox.ask(run.resolve(), question)
    except Refused as refused:
        raise UserError(str(refused)) from None
    if found.truncated:
        say(f"only the first {sandbox.ROWS:,} rows; add LIMIT or count them")
    names = [name for name, _ in found.columns]
    rows = [[sandbox.plain(value) for value in row] for row in found.rows]
    if form == "json":
        return json.dumps([dict(zip(names, row, strict=True)) for row in rows])
    if form == "csv":
        return as_csv({"columns": [{"name": name} for name in names], "rows": rows}).rstrip("\n")
    return "\n".join(_table(names, rows))


def _table(names: list[str], rows: list[list[Any]]) -> Iterator[str]:
    """Numbers to the right; no control character reaches the terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(names)]
    right = [
        all(isinstance(row[at], int | float | None) for row in rows) for at in range(len(names))
    ]
    for line in [names, *cells]:
        placed = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        yield "  ".join(placed).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
