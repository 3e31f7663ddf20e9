"""Regular expressions over recorded texts, part by part, a while at a time.

Texts are not in memory and may be many. A search therefore goes on with every question that needs
it, newest texts first, and says how far it has come.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import duckdb

from dashboard.server import ingest
from dashboard.server.errors import Refused
from dashboard.server.run import Run

BUDGET_S = 1.5
"""For one question."""

MAX_SEARCHES = 4
MAX_EXPRESSION = 500
MAX_HITS = 200_000


@dataclass(slots=True)
class Search:
    table: str
    done: set[str] = field(default_factory=set)
    """Files that were looked through."""
    hits: int = 0


class Searches:
    """Of all runs. The newest few are remembered."""

    def __init__(self) -> None:
        self._searches: OrderedDict[tuple[str, str], Search] = OrderedDict()
        self._number = 0
        self._lock = threading.Lock()

    def condition(self, run: Run, expression: str) -> str:
        """Go on looking for a while; what holds of the rollouts found so far."""
        with self._lock:
            search = self._find(run, expression)
            self._go_on(run, search, expression)
            return f"rollout_id IN (SELECT rollout_id FROM {search.table})"

    def is_complete(self, run: Run, expression: str) -> bool:
        search = self._searches.get((run.name, expression))
        files = {part.file for part in run.store.parts.get("text", ())}
        return search is not None and (files <= search.done or search.hits >= MAX_HITS)

    def forget(self, run: Run) -> None:
        with self._lock:
            for key in [key for key in self._searches if key[0] == run.name]:
                del self._searches[key]

    def _find(self, run: Run, expression: str) -> Search:
        key = (run.name, expression)
        if key not in self._searches:
            self._number += 1
            search = Search(table=f"hits_{self._number}")
            _require_expression(run, expression)
            run.store.execute(f"CREATE OR REPLACE TABLE {search.table} (rollout_id VARCHAR)")
            self._searches[key] = search
        self._searches.move_to_end(key)
        while len(self._searches) > MAX_SEARCHES:
            (name, _), old = self._searches.popitem(last=False)
            if name == run.name:
                run.store.execute(f"DROP TABLE IF EXISTS {old.table}")
        return self._searches[key]

    def _go_on(self, run: Run, search: Search, expression: str) -> None:
        deadline = time.monotonic() + BUDGET_S
        for part in reversed(run.store.parts.get("text", ())):
            if time.monotonic() > deadline or search.hits >= MAX_HITS:
                return
            if part.file in search.done:
                continue
            found = run.store.execute(
                f"""INSERT INTO {search.table}
                    SELECT rollout_id FROM read_parquet($1, {ingest.OPTIONS})
                    WHERE regexp_matches(text, $2)""",
                [[ingest.literal(run.run_dir / part.file)], expression],
            )
            search.hits += found
            search.done.add(part.file)


def _require_expression(run: Run, expression: str) -> None:
    if len(expression) > MAX_EXPRESSION:
        raise Refused("bad_filter", f"q is longer than {MAX_EXPRESSION} characters", "q")
    try:
        run.store.execute("SELECT regexp_matches('', $1)", [expression])
    except duckdb.Error as error:
        reason = " ".join(str(error).split()).removeprefix("Invalid Input Error: ")
        raise Refused("bad_filter", f"q is no regular expression: {reason[:200]}", "q") from None
