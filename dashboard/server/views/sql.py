"""V16: questions in SQL. The same as ``laconic query``."""

import csv
import io
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dashboard.server import sandbox
from dashboard.server.answers import json_answer
from dashboard.server.look import Look


def sql(look: Look) -> dict[str, Any]:
    question = look.args.required("q")
    found = sandbox.ask(look.run.run_dir, question, on_start=look.db.also_interrupt)
    answer = {
        "columns": [{"name": name, "type": kind} for name, kind in found.columns],
        "rows": [[sandbox.plain(value) for value in row] for row in found.rows],
        "truncated": found.truncated,
        "seconds": found.seconds,
    }
    if look.args.choice("format", ("json", "csv")) == "csv":
        return {"csv": as_csv(answer)}
    return answer


def tables(look: Look) -> dict[str, Any]:
    return {
        "tables": sandbox.tables(),
        "examples": [{"title": title, "sql": text} for title, text in sandbox.EXAMPLES],
        "limits": {"seconds": sandbox.SECONDS, "rows": sandbox.ROWS},
    }


def as_csv(answer: dict[str, Any]) -> str:
    """A cell that a spreadsheet would run as a formula gets a quote before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column["name"] for column in answer["columns"]])
    for row in answer["rows"]:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return "" if value is None else value


def respond(request: Request, body: bytes) -> Response:
    if request.query_params.get("format") != "csv":
        return json_answer(request, body)
    return Response(
        orjson.loads(body)["csv"],
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="query.csv"'},
    )
