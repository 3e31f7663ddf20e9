"""What is new, as it comes: server-sent events, each with the cursor to go on from."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response

from configs.run_files import MANIFEST
from dashboard.server.answers import encode, json_answer
from dashboard.server.desk import Desk, View
from dashboard.server.errors import Refused
from dashboard.server.lines import LineTail
from dashboard.server.look import Look
from dashboard.server.run import Run
from dashboard.server.views import funnel, overview

PERIOD_S = 1.0
PING_S = 15
MAX_STREAMS = 64
PLACES = ("rollouts", "metrics", "events", "state", "annotations")
"""What the numbers of a cursor are offsets into."""

CURSOR = re.compile(r"\d{1,18}(\.\d{1,18}){4}")


async def stream(desk: Desk, request: Request) -> Response:
    """``event: update`` at most once a second, and only when something changed."""
    if desk.streams >= MAX_STREAMS:
        raise Refused("too_large", f"{MAX_STREAMS} pages are listening already; close some")
    run = desk.run(request.query_params.get("run"))
    after = request.query_params.get("after") or request.headers.get("last-event-id") or ""
    require_cursor(after)
    return EventSourceResponse(
        _updates(desk, run, after, request),
        ping=PING_S,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"},
    )


async def poll(desk: Desk, request: Request) -> Response:
    """The same in one answer, for those that cannot hold a stream open."""
    run = desk.run(request.query_params.get("run"))
    after = request.query_params.get("after", "")
    require_cursor(after)
    return json_answer(request, await _update(desk, run, after, request))


def require_cursor(after: str) -> None:
    if after and not CURSOR.fullmatch(after):
        raise Refused("bad_request", f"after={after[:60]!r} is no cursor of this page", "after")


async def _updates(
    desk: Desk, run: Run, after: str, request: Request
) -> AsyncIterator[dict[str, Any]]:
    desk.streams += 1
    try:
        while not await request.is_disconnected():
            try:
                await desk.do(desk.refresh, run)
                if run.cursor != after:
                    body = await _update(desk, run, after, request)
                    after = orjson.loads(body)["cursor"]
                    yield {"event": "update", "id": after, "data": body.decode()}
            except Refused as refused:
                yield {"event": "gone", "data": encode(refused.as_dict()).decode()}
                if refused.code == "deleted":
                    return
            await asyncio.sleep(PERIOD_S)
    finally:
        desk.streams -= 1


async def _update(desk: Desk, run: Run, after: str, request: Request) -> bytes:
    view = View(answer=lambda look: update(look, after), is_timeless=False)
    return await desk.ask(view, {"run": [run.name]}, request.is_disconnected)


def update(look: Look, after: str) -> dict[str, Any]:
    """What the page shows everywhere, and which of its data are old."""
    run = look.run
    rows = new_rows(run, after, look.cursor)
    metrics = run.files.metrics
    return {
        "phase": run.files.state.get("phase"),
        "step": metrics[-1]["step"] if metrics else 0,
        "version": metrics[-1].get("version", 0) if metrics else 0,
        "heartbeat_us": run.files.state.get("heartbeat_us"),
        "stalled": overview.stalled(run),
        "new_rows": rows,
        "changed": changed(after, look.cursor, rows),
        "tiles": overview.tiles(look),
        "alarms": run.alarms(),
        "counts": funnel.counts(look),
    }


def new_rows(run: Run, after: str, cursor: str) -> dict[str, int]:
    """Rows by kind of the parts that the manifest lists between two cursors, those that only
    replace others left out: every row is told once."""
    start, end = (int(each.split(".")[0]) if each else 0 for each in (after, cursor))
    tail = LineTail(run.run_dir / MANIFEST)
    tail.offset = start if start <= end else 0
    found: dict[str, int] = {}
    for entry in tail.read(end):
        rows, kind = entry.get("rows"), entry.get("kind")
        if isinstance(rows, int) and isinstance(kind, str) and not entry.get("replaces"):
            found[kind] = found.get(kind, 0) + rows
    return found


def changed(after: str, cursor: str, rows: dict[str, int]) -> list[str]:
    before = after.split(".") if after else [""] * len(PLACES)
    names = {
        name for name, old, new in zip(PLACES, before, cursor.split("."), strict=True) if old != new
    }
    if "rollouts" in names:
        names -= {"rollouts"}
        kinds = {"meta": "rollouts", "text": "rollouts", "fate": "fates", "evals": "evals"}
        names |= {kinds[kind] for kind in rows if kind in kinds}
    if names & {"state", "events", "annotations"}:
        names.add("alarms")
    return sorted(names)
