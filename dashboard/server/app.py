"""The server of the page: endpoints, files of the page, the live stream."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard.server import live, pages
from dashboard.server.annotations import MAX_NOTE, MAX_TAG, checked
from dashboard.server.answers import encode, json_answer, refusal
from dashboard.server.desk import Desk, View
from dashboard.server.endpoints import VIEWS
from dashboard.server.errors import Refused
from dashboard.server.look import Look
from dashboard.server.security import (
    Guard,
    Prefix,
    cookie_name,
    cookie_value,
    knows_token,
    same,
)
from dashboard.server.settings import Settings
from dashboard.server.views import health, rollouts
from dashboard.server.webhook import open_webhook

MAX_BODY = 64 * 1024
"""Bytes of a POST."""

WRONG_TOKEN_S = 0.3
"""How long the answer to a wrong token takes."""

VERSION = "0.1.0"


def make_app(settings: Settings) -> Starlette:
    """The application; it reads nothing before somebody asks."""
    desk = Desk(settings)
    webhook = open_webhook(desk.alarms)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        first = next(iter(desk.runs.values()))
        warming = asyncio.create_task(desk.do(desk.warm, first))
        if webhook is not None:
            webhook.start()
        yield
        warming.cancel()
        if webhook is not None:
            webhook.stop()
        desk.close()

    routes = [
        Route("/api/session", partial(_session, settings)),
        Route("/api/login", partial(_login, settings), methods=["POST"]),
        Route("/api/runs", partial(_runs, desk)),
        Route("/api/annotate", partial(_annotate, desk), methods=["POST"]),
        Route("/api/ack", partial(_ack, desk), methods=["POST"]),
        Route("/api/live", partial(live.stream, desk)),
        Route("/api/live/poll", partial(live.poll, desk)),
        *(Route(f"/api/{name}", partial(_view, desk, view)) for name, view in VIEWS.items()),
        Route("/api/{rest:path}", _no_such_endpoint, methods=["GET", "POST"]),
        Route("/{path:path}", partial(pages.page, desk)),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(Prefix, root_path=settings.root_path),
            Middleware(Guard, settings=settings),
            Middleware(GZipMiddleware, minimum_size=2048, compresslevel=4),
        ],
        exception_handlers={Refused: _refused, HTTPException: _http_error},
    )


async def _view(desk: Desk, view: View, request: Request) -> Response:
    if view.needs_sql and not desk.settings.sql:
        raise Refused("forbidden", "this page was started with --no-sql")
    body = await desk.ask(view, parameters(request), request.is_disconnected)
    if view.respond is not None:
        return view.respond(request, body)
    return json_answer(request, body)


def parameters(request: Request) -> Mapping[str, list[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}


async def _session(settings: Settings, request: Request) -> Response:
    return json_answer(
        request,
        encode(
            {
                "authenticated": knows_token(settings, request.headers),
                "needs_token": settings.token is not None,
                "instance": settings.instance,
                "version": VERSION,
                "sql": settings.sql,
            }
        ),
    )


async def _login(settings: Settings, request: Request) -> Response:
    body = await _body(request)
    given = body.get("token")
    if settings.token is None:
        return Response(status_code=204)
    if not isinstance(given, str) or not same(given, settings.token):
        await asyncio.sleep(WRONG_TOKEN_S)
        raise Refused("unauthorized", "this is not the token of this page")
    answer = Response(status_code=204)
    is_https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    answer.set_cookie(
        cookie_name(settings),
        cookie_value(settings),
        path=None,  # the browser takes the folder of this address, whatever prefix it sees
        httponly=True,
        samesite="strict",
        secure=is_https,
    )
    return answer


async def _runs(desk: Desk, request: Request) -> Response:
    infos = await desk.do(lambda: [run.info() for run in desk.runs.values()])
    return json_answer(request, encode({"runs": infos}))


async def _annotate(desk: Desk, request: Request) -> Response:
    body = await _body(request)
    run = desk.run(checked(body, "run", 200))
    name = checked(body, "rollout_id", 200)
    line: dict[str, Any] = {"rollout_id": name}
    for key, limit in (("tag", MAX_TAG), ("untag", MAX_TAG), ("note", MAX_NOTE), ("by", MAX_TAG)):
        if (value := checked(body, key, limit)) is not None:
            line[key] = value
    if name is None or not {"tag", "untag", "note"} & line.keys():
        raise Refused("bad_request", "rollout_id and one of tag, untag, note are needed")

    def write(look: Look) -> dict[str, Any]:
        rollouts.find(look)
        run.annotations.add(line)
        return rollouts.annotations_of(look, name)

    view = View(answer=write, is_timeless=False)
    values = {"run": [run.name], "id": [name]}
    return Response(
        await desk.ask(view, values, request.is_disconnected), media_type="application/json"
    )


async def _ack(desk: Desk, request: Request) -> Response:
    body = await _body(request)
    run, alarm = desk.run(checked(body, "run", 200)), checked(body, "id", 200)
    if alarm is None:
        raise Refused("bad_request", "id is missing", "id")
    line = {"ack": alarm, "note": checked(body, "note", MAX_NOTE), "by": checked(body, "by", 60)}

    def write(look: Look) -> dict[str, Any]:
        run.annotations.add(line)
        return health.health(look)

    view = View(answer=write, is_timeless=False)
    answer = await desk.ask(view, {"run": [run.name]}, request.is_disconnected)
    return Response(answer, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    """The object of a POST, bounded."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refused("bad_request", "a POST needs Content-Type: application/json")
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BODY:
            raise Refused("too_large", f"a POST may have {MAX_BODY} bytes")
    try:
        body = orjson.loads(received)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refused("bad_request", "a POST needs a JSON object")
    return body


async def _no_such_endpoint(request: Request) -> Response:
    raise Refused("not_found", f"there is no {request.url.path[:100]}")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(error.detail, status_code=error.status_code, headers=error.headers)
