"""Judge a SQL query by what it returns from a small SQLite database, in the sandbox.

The reference is JSON, one of

    {"schema": "CREATE TABLE t (a); INSERT INTO t VALUES (1);", "query": "SELECT a FROM t"}
    {"schema": "…", "rows": [[1]]}

and may say ``"ordered": true``; without it order counts when the reference query has an ORDER BY of
its own. Names of columns do not count. Query and answer see databases of their own, made anew.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from verifiers.answer import judged_part
from verifiers.code_block import last_block
from verifiers.python_code import Failure, how_it_failed, program_limits
from verifiers.python_harness import messages, reports
from verifiers.same_output import same_number
from verifiers.sandbox import MIB, Sandbox, SandboxError, unavailable
from verifiers.sql_harness import MAX_ROWS, QUERYING
from verifiers.types import Rules, Task, Verdict

LANGUAGES = ("sql", "sqlite", "sqlite3")
TOLERANCE = 1e-9
MAX_LOOSE_ROWS = 1000
"""Rows without an exact partner that are compared with each other for close numbers."""

_BARE_QUERY = re.compile(r"\s*(?:select|with)\b", re.IGNORECASE)
_NOISE = re.compile(
    r"""--[^\n]*+|/\*.*?\*/|'(?:[^']|'')*+'|"(?:[^"]|"")*+"|`[^`]*+`|\[[^\]]*+\]""", re.DOTALL
)
_ORDER = re.compile(r"[()]|\border\s+by\b", re.IGNORECASE)

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    schema: str
    query: str | None
    rows: list[Row] | None
    ordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    num_columns: int | None
    rows: list[Row]


def sql_query(task: Task, response: str) -> Verdict:
    """Correct when the answer, one statement that only reads, returns the expected rows."""
    reference = read_reference(task.answer)
    missing = unavailable()
    if missing:
        return Verdict(status="error", reason="no_sandbox", detail=missing)
    query = _stated_query(task.rules, response)
    if query is None:
        return Verdict(status="no_answer")
    with Sandbox() as sandbox:
        expected = _expected(sandbox, reference, task.rules)
        given = _result(sandbox, reference.schema, query, task.rules)
    failure = given if isinstance(given, Failure) else _compare(given, expected, reference, task)
    if failure is None:
        return Verdict(status="correct", extracted=query)
    return Verdict(
        status="timeout" if failure.reason == "timeout" else "wrong",
        extracted=query,
        reason=failure.reason,
        detail=failure.detail,
    )


def read_reference(answer: str) -> Reference:
    """Raises ValueError with what is missing."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the reference is not JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict) or not isinstance(value.get("schema"), str):
        raise ValueError("the reference lacks 'schema', a text")
    query, rows = value.get("query"), value.get("rows")
    if (query is None) == (rows is None):
        raise ValueError("the reference has one of 'query' and 'rows'")
    if query is not None and not isinstance(query, str):
        raise ValueError("the reference's query is a text")
    ordered = value.get("ordered", query is not None and has_own_order(query))
    if not isinstance(ordered, bool):
        raise ValueError("the reference's 'ordered' is true or false")
    return Reference(
        schema=value["schema"],
        query=query,
        rows=None if rows is None else _rows(rows),
        ordered=ordered,
    )


def has_own_order(query: str) -> bool:
    """Whether an ORDER BY stands outside all brackets, strings and comments."""
    depth = 0
    for match in _ORDER.finditer(_NOISE.sub(" ", query)):
        if match[0] in "()":
            depth += 1 if match[0] == "(" else -1
        elif depth == 0:
            return True
    return False


def _stated_query(rules: Rules, response: str) -> str | None:
    part = judged_part(response, rules.part)
    block = last_block(part, LANGUAGES)
    if block is None and (rules.part == "last_box" or _BARE_QUERY.match(part)):
        block = part
    return (block or "").strip() or None


def _expected(sandbox: Sandbox, reference: Reference, rules: Rules) -> Table:
    if reference.rows is not None:
        widths = {len(row) for row in reference.rows}
        if len(widths) > 1:
            raise ValueError("the reference's rows differ in length")
        return Table(num_columns=next(iter(widths), None), rows=reference.rows)
    assert reference.query is not None
    table = _result(sandbox, reference.schema, reference.query, rules)
    if isinstance(table, Failure):
        raise ValueError(f"the reference's query fails: {table.reason}: {table.detail}")
    return table


def _result(sandbox: Sandbox, schema: str, query: str, rules: Rules) -> Table | Failure:
    """What a query returns. Raises ValueError when the schema is at fault."""
    stdin = messages({"schema": schema, "query": query})
    ran = sandbox.run(QUERYING, stdin, program_limits(rules, MIB))
    said = next(iter(reports(ran.channel)), {})
    if "schema_error" in said:
        raise ValueError(f"the reference's schema fails: {said['schema_error']}")
    if "error" in said:
        return Failure("sql_error", str(said["error"]))
    if said.get("too_many"):
        return Failure("output_limit", f"more than {MAX_ROWS} rows")
    if "rows" in said:
        return Table(num_columns=said.get("num_columns"), rows=_rows(said["rows"]))
    failure = how_it_failed(ran, rules)
    if failure is None or failure.reason in ("exception", "syntax", "exit"):
        raise SandboxError(f"SQLite did not run: {failure.detail if failure else 'no result'}")
    return failure


def _compare(given: Table, expected: Table, reference: Reference, task: Task) -> Failure | None:
    if expected.num_columns is not None and given.num_columns != expected.num_columns:
        detail = f"{given.num_columns} columns, expected {expected.num_columns}"
        return Failure("wrong_columns", detail)
    if len(given.rows) != len(expected.rows):
        return Failure("wrong_rows", f"{len(given.rows)} rows, expected {len(expected.rows)}")
    strict = task.rules.strictness == "strict"
    if reference.ordered:
        for number, (one, other) in enumerate(zip(given.rows, expected.rows, strict=True)):
            if not same_row(one, other, strict=strict):
                return Failure("wrong_rows", f"row {number + 1} differs")
        return None
    if same_rows(given.rows, expected.rows, strict=strict):
        return None
    return Failure("wrong_rows", "as many rows as expected, but others")


def same_rows(given: list[Row], expected: list[Row], *, strict: bool) -> bool:
    """In any order: equal rows cancel, and the rest must pair up by close numbers."""
    left, missing = Counter(given), Counter(expected)
    loose, wanted = list((left - missing).elements()), list((missing - left).elements())
    if strict or len(loose) > MAX_LOOSE_ROWS:
        return not loose and not wanted
    for row in loose:
        place = next((i for i, other in enumerate(wanted) if same_row(row, other)), None)
        if place is None:
            return False
        del wanted[place]
    return not wanted


def same_row(given: Row, expected: Row, *, strict: bool = False) -> bool:
    """NULL equals NULL only, a text only a text; 1 is 1.0."""
    return len(given) == len(expected) and all(
        _same_cell(one, other, strict=strict) for one, other in zip(given, expected, strict=True)
    )


def _same_cell(given: Any, expected: Any, *, strict: bool) -> bool:
    if isinstance(given, int | float) and isinstance(expected, int | float):
        return given == expected if strict else same_number(given, expected, TOLERANCE)
    return type(given) is type(expected) and given == expected


def _rows(values: Any) -> list[Row]:
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        raise ValueError("rows are a list of lists")
    return [tuple(map(_cell, row)) for row in values]


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return int(value)
        case None | str() | int() | float():
            return value
        case {"hex": str(digits)}:
            return ("hex", digits.lower())
    raise ValueError(f"a cell is {str(value)[:40]!r}, no SQL value")
