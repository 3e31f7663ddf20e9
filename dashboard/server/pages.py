"""The files of the page as Vite built them; a page written by hand where they are missing."""

import html
import mimetypes
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dashboard.server.desk import Desk

STATIC = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
"""Of files that have a hash of their contents in their name."""

TYPES = {".js": "text/javascript", ".woff2": "font/woff2", ".svg": "image/svg+xml"}
"""Which the machine's own table may know otherwise."""


async def page(desk: Desk, request: Request) -> Response:
    """A file below ``static/``, by its exact name; nothing else of this machine."""
    name = request.path_params["path"] or "index.html"
    files = known_files()
    if name in files:
        return _file(files[name], name)
    if name != "index.html":
        return Response("not found", status_code=404, media_type="text/plain")
    if desk.settings.token is not None:
        rows: list[dict[str, Any]] = []
    else:
        rows = await desk.do(lambda: [run.info() for run in desk.runs.values()])
    return Response(_by_hand(rows), media_type="text/html", headers={"Cache-Control": "no-store"})


def known_files() -> dict[str, Path]:
    """Every file that may be sent, by the name that it is asked for."""
    return (
        {
            path.relative_to(STATIC).as_posix(): path
            for path in STATIC.rglob("*")
            if path.is_file() and path.name != "BUILD.json"
        }
        if STATIC.is_dir()
        else {}
    )


def redirect_to(prefix: str) -> Response:
    return RedirectResponse(f"{prefix}/", status_code=307)


def _file(path: Path, name: str) -> Response:
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    caching = FOREVER if name.startswith("assets/") else "no-cache"
    return Response(
        path.read_bytes(),
        media_type=kind or "application/octet-stream",
        headers={"Cache-Control": caching},
    )


def _by_hand(rows: list[dict[str, Any]]) -> str:
    """Status and the way to the real page, with no script at all."""
    listed = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(str(row[name]))}</td>" for name in ("name", "status"))
        + f"<td>{row['rollouts']:,}</td><td>{html.escape(row['problem'] or '')}</td></tr>"
        for row in rows
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Laconic</title></head>'
        "<body><h1>Laconic</h1><p>The page was not built here: its files are missing from "
        "<code>dashboard/server/static</code>. With Node 20.19 or newer, "
        "<code>make page</code> builds it.</p>"
        "<table><tr><th>run</th><th>status</th><th>rollouts</th><th></th></tr>"
        f'{listed}</table><p>Until then: <code>laconic query RUN "SELECT …"</code>, '
        "and <code>api/rollouts</code>.</p></body></html>"
    )
