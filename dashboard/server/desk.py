"""Where questions about runs are answered: few threads, a time limit, answers kept a while."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from starlette.requests import Request
from starlette.responses import Response

from dashboard.server.answers import encode
from dashboard.server.errors import Refused
from dashboard.server.look import Args, Look
from dashboard.server.run import Run
from dashboard.server.search import Searches
from dashboard.server.settings import Settings
from dashboard.server.store import Snapshot
from dashboard.server.views.health import standing_alarms

THREADS = 4
MAX_LOADED = 4
"""Runs whose rows are in memory at the same time."""

MAX_ANSWERS, MAX_ANSWER_BYTES = 128, 2**20
"""Answers that are kept, and the largest that is."""

GONE_S = 0.25
"""How often it is looked whether the one who asked is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One endpoint: a function of one run, or of several."""

    answer: Callable[[Look], dict[str, Any]] | None = None
    compare: Callable[[Sequence[Look]], dict[str, Any]] | None = None
    searches: bool = True
    """Its ``q`` is an expression that texts of rollouts are to match."""
    is_timeless: bool = True
    """Equal for equal rows: it looks at no clock, so an answer may be kept."""
    needs_sql: bool = False
    respond: Callable[[Request, bytes], Response] | None = None
    """How its answer is sent; None: as JSON."""


@dataclass(slots=True)
class Question:
    """One request; whoever asked may leave while it is answered."""

    is_over: bool = False
    began: float | None = None
    """When its first row was asked for: until then a run may have been read, which takes longer."""
    asked: list[Snapshot] = field(default_factory=list)

    def stop(self) -> None:
        self.is_over = True
        for snapshot in self.asked:
            snapshot.interrupt()


class Desk:
    """All runs of a server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runs = {
            name: Run(path, name, settings.memory_gib)
            for name, path in named(settings.runs).items()
        }
        for run in self.runs.values():
            run.find_alarms = standing_alarms
        self.searches = Searches()
        self.streams = 0
        """Live streams that are open."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="question")
        self._answers: OrderedDict[Any, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, name: str | None) -> Run:
        """The first one when no name is given."""
        if not name:
            return next(iter(self.runs.values()))
        if name not in self.runs:
            known = ", ".join(list(self.runs)[:5])
            raise Refused("no_such_run", f"there is no run {name[:80]!r} here, but {known}", "run")
        return self.runs[name]

    async def ask(
        self, view: View, values: Mapping[str, Sequence[str]], is_gone: Callable[[], Any]
    ) -> bytes:
        """The JSON of a view. Raises Refused."""
        question = Question()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, self._answer, view, Args(values=values), question
        )
        while True:
            done, _ = await asyncio.wait({work}, timeout=GONE_S)
            if done:
                return await work
            is_late = (
                question.began is not None
                and time.monotonic() > question.began + self.settings.query_s
            )
            if is_late or await is_gone():
                question.stop()

    async def do(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Anything that blocks."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, work, *arguments)

    def warm(self, run: Run) -> None:
        """Read a run before anybody asks; what is wrong with it is told to who does."""
        with suppress(Refused):
            self.refresh(run)

    def alarms(self) -> dict[str, list[dict[str, Any]]]:
        """Of the runs that go on, or should: what stands, by name. Blocks on the disk."""
        found = {}
        for name, run in self.runs.items():
            if run.info()["status"] in ("live", "silent"):
                with suppress(Refused):
                    self.refresh(run)
                    found[name] = run.alarms()
        return found

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, view: View, args: Args, question: Question) -> bytes:
        names = args.several("run") or [""]
        if view.compare is None and len(names) > 1:
            raise Refused("bad_request", f"run takes one value here, got {len(names)}", "run")
        runs = [self.run(name) for name in names]
        for run in runs:
            self.refresh(run)
        key = (
            view.answer or view.compare,
            str(sorted(args.values.items())),
            tuple((run.name, run.version) for run in runs),
        )
        if view.is_timeless and (kept := self._kept(key)) is not None:
            return kept
        try:
            body = encode(self._look(view, args, runs, question))
        except duckdb.InterruptException:
            raise Refused(
                "timeout", f"this took longer than {self.settings.query_s:g} s; narrow the filters"
            ) from None
        except duckdb.OutOfMemoryException:
            raise Refused(
                "too_large",
                "this needs more memory than the page may use; narrow the filters, or "
                "start it with a larger --memory-gib",
            ) from None
        except (duckdb.IOException, FileNotFoundError) as error:
            raise self._lost(runs, error) from error
        if (
            view.is_timeless
            and not self._is_searching(view, args, runs)
            and len(body) <= MAX_ANSWER_BYTES
        ):
            self._keep(key, body)
        return body

    def _look(
        self, view: View, args: Args, runs: Sequence[Run], question: Question
    ) -> dict[str, Any]:
        matching, is_searched = None, True
        if view.answer is not None and (expression := args.text("q")) and view.searches:
            matching = self.searches.condition(runs[0], expression)
            is_searched = self.searches.is_complete(runs[0], expression)
        with ExitStack() as stack:
            looks = []
            question.began = time.monotonic()
            for run in runs:
                cursor = run.cursor
                snapshot = stack.enter_context(run.snapshot())
                question.asked.append(snapshot)
                looks.append(
                    Look(
                        run=run,
                        db=snapshot,
                        args=args,
                        cursor=cursor,
                        matching=matching,
                        is_searched=is_searched,
                    )
                )
            if question.is_over:
                raise duckdb.InterruptException
            if view.compare is not None:
                return view.compare(looks)
            assert view.answer is not None
            run = runs[0]
            envelope = {"run": run.name, "cursor": looks[0].cursor, "as_of_us": run.newest_us}
            return envelope | view.answer(looks[0])

    def _is_searching(self, view: View, args: Args, runs: Sequence[Run]) -> bool:
        """The next answer to the same question may have more."""
        expression = args.text("q") if view.answer is not None and view.searches else ""
        return bool(expression) and not self.searches.is_complete(runs[0], expression)

    def refresh(self, run: Run) -> None:
        """Blocks. Raises Refused."""
        if not run.is_loaded:
            self._make_room()
        run.refresh()

    def _make_room(self) -> None:
        """The rows of the run that nobody asked for longest are forgotten."""
        with self._lock:
            loaded = sorted(
                (run for run in self.runs.values() if run.is_loaded), key=lambda run: run.used
            )
            for run in loaded[: max(0, len(loaded) - MAX_LOADED + 1)]:
                self.searches.forget(run)
                run.unload()

    def _kept(self, key: Any) -> bytes | None:
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def _keep(self, key: Any, body: bytes) -> None:
        with self._lock:
            self._answers[key] = body
            while len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)

    def _lost(self, runs: Sequence[Run], error: Exception) -> Refused:
        """A file that the manifest lists is gone: with its folder, or alone."""
        for run in runs:
            if not run.run_dir.is_dir():
                return Refused("deleted", f"the folder of {run.name} is not there any more")
        return Refused("unreadable", " ".join(str(error).split())[:300])


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Names of runs by their folders, made different where two folders are called the same."""
    found: dict[str, Path] = {}
    for path in paths:
        name, number = path.name or "run", 2
        while name in found:
            name, number = (
                f"{path.parent.name}/{path.name}" if number == 2 else (f"{path.name}-{number}"),
                number + 1,
            )
        found[name] = path
    return found
