"""Answers in JSON, with a tag by which a browser knows that nothing changed."""

import hashlib
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dashboard.server.errors import Refused
from dashboard.server.lines import clean

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def encode(value: Any) -> bytes:
    """What is not finite becomes null: views name such places themselves."""
    try:
        return orjson.dumps(value, option=OPTIONS, default=_other)
    except TypeError:  # half characters have no UTF-8
        return orjson.dumps(clean(value), option=OPTIONS, default=_other)


def json_answer(request: Request, body: bytes) -> Response:
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def refusal(refused: Refused) -> Response:
    headers = {"Cache-Control": "no-store"}
    if refused.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        encode(refused.as_dict()),
        status_code=refused.status,
        media_type="application/json",
        headers=headers,
    )


def _other(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return list(value)
    return str(value)
