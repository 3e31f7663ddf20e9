"""``laconic verify``: judge answers that somebody else wrote, or see where two judges disagree."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.live import open_live
from configs.load import load_judge
from configs.schema import JudgeConfig
from verifiers.pool import usable_cores
from verifiers.registry import path_of
from verifiers.types import Verdict
from verifiers.verify_file import AnswerFile, JudgedRow

Say = Callable[[str], None]
SHOWN_CHARS = 300
"""Of a response over which two judges disagree, its end is shown."""


def verify(
    path: Path, verifier: str, compare: str | None, settings: list[str], emit: Say, say: Say
) -> None:
    """One JSON line for every row, in the file's order, as soon as it is judged; with ``compare``
    only for those rows of which the two judges say different things. Then a summary."""
    given = load_judge(settings)
    config = given.model_copy(update={"workers": usable_cores()})
    if any(setting.startswith("judge.workers=") for setting in settings):
        config = given
    if compare is not None:
        path_of(compare)
    file = AnswerFile(path, verifier)
    counts: Counter[tuple[str, ...]] = Counter()
    began = time.monotonic()
    with _progress(file.num_rows) as advance:
        asyncio.run(_judge(file, config, compare, counts, emit, advance))
    seconds = time.monotonic() - began
    say(f"{file.num_rows} rows in {seconds:.1f} s ({file.num_rows / seconds:.0f} a second)")
    for line in _agreement(counts, verifier, compare) if compare else _totals(counts):
        say(line)


async def _judge(
    file: AnswerFile,
    config: JudgeConfig,
    compare: str | None,
    counts: "Counter[tuple[str, ...]]",
    emit: Say,
    advance: Callable[[], None],
) -> None:
    async for judged in file.judged(config, compare):
        statuses = [judged.verdict.status] + ([judged.second.status] if judged.second else [])
        counts[tuple(statuses)] += 1
        if judged.second is None:
            emit(_line({"id": judged.row.id, **_shown(judged.verdict)}))
        elif len(set(statuses)) > 1:
            emit(_line(_disagreement(judged, judged.second, compare)))
        advance()


def _shown(verdict: Verdict) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": verdict.status, "extracted": verdict.extracted}
    shown |= {"reason": verdict.reason, "detail": verdict.detail}
    if verdict.scores:
        shown["scores"] = verdict.scores
    return shown | {"ms": round(verdict.ms, 3)}


def _disagreement(judged: JudgedRow, second: Verdict, compare: str | None) -> dict[str, Any]:
    return {
        "id": judged.row.id,
        "answer": judged.row.answer[:SHOWN_CHARS],
        "response_end": judged.row.response[-SHOWN_CHARS:],
        "first": {"verifier": judged.row.verifier, **_shown(judged.verdict)},
        "second": {"verifier": compare, **_shown(second)},
    }


def _totals(counts: "Counter[tuple[str, ...]]") -> Iterator[str]:
    yield ", ".join(f"{status} {count}" for (status,), count in counts.most_common())


def _agreement(counts: "Counter[tuple[str, ...]]", first: str, second: str) -> Iterator[str]:
    total = counts.total()
    agreed = sum(count for statuses, count in counts.items() if len(set(statuses)) == 1)
    share = 100 * agreed / max(1, total)
    yield f"{first} and {second} agree on {agreed} of {total} rows ({share:.2f} %)"
    for (one, other), count in counts.most_common():
        if one != other:
            yield f"  {first} says {one}, {second} says {other}: {count}"


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, now and then a line elsewhere; both on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        with open_live(sys.stderr) as lines:
            num_done = 0

            def count() -> None:
                nonlocal num_done
                num_done += 1
                lines.progress("judging", f"{num_done} of {total}")

            lines.progress("judging", f"0 of {total}")
            yield count
        return
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("judging", total=total)
        yield lambda: bar.advance(task)
