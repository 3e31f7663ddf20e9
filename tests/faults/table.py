"""The table of the fault suite: what was seen of every row, written into a page."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.rows import NOT_BUILT, ROWS

BEGIN, END = "<!-- fault table: made by `make faults` -->", "<!-- end of the fault table -->"
MAX_REASON = 120

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How one test ended."""

    test: str
    """``tests/unit/test_x.py::test_it[case]``."""
    outcome: Outcome
    reason: str = ""


def write(path: Path, rows: Mapping[str, Iterable[int]], seen: Iterable[Seen]) -> None:
    """``rows``: of every test that has some. Everything else on the page stays, and so does what
    was seen before of a row of which nothing ran now."""
    text = path.read_text()
    before, begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} lacks the two lines {BEGIN!r} and {END!r}")
    path.write_text(f"{before}{BEGIN}\n{table(rows, seen, old)}\n{END}{after}")


def table(rows: Mapping[str, Iterable[int]], seen: Iterable[Seen], old: str = "") -> str:
    by_row: dict[int, list[Seen]] = defaultdict(list)
    for one in seen:
        for number in rows.get(one.test, ()):
            by_row[number].append(one)
    lines = ["| row | injected | expected | observed |", "|---|---|---|---|"]
    known = {line.split(" | ")[0].strip("| "): line for line in old.strip().splitlines()}
    for row in ROWS:
        if not by_row[row.number] and row.number not in NOT_BUILT and str(row.number) in known:
            lines.append(known[str(row.number)])
            continue
        observed = _observed(by_row[row.number], row.number)
        lines.append(f"| {row.number} | {row.injected} | {row.expected} | {observed} |")
    return "\n".join(lines)


def _observed(seen: list[Seen], number: int) -> str:
    if not seen:
        return NOT_BUILT.get(number, "no test of it ran")
    counts = Counter(one.outcome for one in seen)
    words = [f"{counts[kind]} {kind}" for kind in ("failed", "passed", "skipped") if counts[kind]]
    troubles = [_trouble(one) for one in seen if one.outcome == "failed"]
    troubles += sorted({_trouble(one) for one in seen if one.outcome == "skipped"})
    return "<br>".join([", ".join(words), *troubles, _names(seen)])


def _trouble(one: Seen) -> str:
    reason = " ".join(one.reason.split())[:MAX_REASON].replace("|", "\\|").replace("<", "&lt;")
    return f"{one.outcome}: `{_name(one.test)}`{f': {reason}' if reason else ''}"


def _names(seen: list[Seen]) -> str:
    """By file, folded away: some rows have a hundred tests."""
    files: dict[str, Counter[str]] = defaultdict(Counter)
    for one in seen:
        files[one.test.partition("::")[0].removeprefix("tests/")][_name(one.test)] += 1
    listed = "; ".join(
        f"{file}: " + ", ".join(n if c == 1 else f"{n} ({c})" for n, c in names.items())
        for file, names in sorted(files.items())
    )
    return f"<details><summary>tests</summary>{listed}</details>"


def _name(test: str) -> str:
    return test.partition("::")[2].partition("[")[0].removeprefix("test_")
