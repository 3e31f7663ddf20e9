"""Who may ask what. A page that any site in the same browser can reach is an open page, so the name
by which it is called, the origin of the question and the token are all looked at."""

import hashlib
import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.server.answers import refusal
from dashboard.server.errors import Refused
from dashboard.server.settings import Settings

CONTENT_SECURITY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types laconic",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

OWN_HEADER = "x-laconic"
"""No form and no other site can send it without being asked first whether it may."""

PUBLIC = ("/api/session", "/api/login")


class Guard:
    """Around the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._names = {"localhost", *settings.allowed_hosts}
        if not settings.is_local:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
        except Refused as refused:
            await refusal(refused)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        self._check_host(headers)
        if not path.startswith("/api/"):
            return
        self._check_origin(headers)
        if scope["method"] == "POST" and headers.get(OWN_HEADER) != "1":
            raise Refused("forbidden", "a POST needs the header X-Laconic: 1")
        if path not in PUBLIC and not knows_token(self._settings, headers):
            raise Refused(
                "unauthorized",
                "this page needs a token; open the address that was "
                "printed when it was started, with its #token=…",
            )

    def _check_host(self, headers: Headers) -> None:
        """A name that somebody else's DNS can point here is refused; a bare address is nobody's."""
        name = host_name(headers.get("host", ""))
        if name in self._names or name.endswith(".localhost") or _is_address(name):
            return
        raise Refused(
            "bad_host",
            f"this page does not answer to the name {name[:80]!r}; start it with "
            f"--allow-host {name[:80] or 'NAME'} if that is its name",
        )

    def _check_origin(self, headers: Headers) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if site in ("cross-site", "same-site"):
            raise Refused("forbidden", "questions from other sites are not answered")
        if origin is None:
            return
        parts = urlsplit(origin)
        if parts.netloc == headers.get("host") or parts.hostname in self._settings.allowed_hosts:
            return
        raise Refused("forbidden", "questions from other sites are not answered")


class Prefix:
    """Outermost. A proxy may show the page under a prefix and not strip it."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = root_path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._root and scope["type"] == "http":
            path = scope["path"]
            if path == self._root:
                await RedirectResponse(f"{self._root}/", 307)(scope, receive, send)
                return
            if path.startswith(f"{self._root}/"):
                scope = {**scope, "path": path.removeprefix(self._root)}
        await self._app(scope, receive, send)


def knows_token(settings: Settings, headers: Headers) -> bool:
    if settings.token is None:
        return True
    kind, _, given = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and same(given.strip(), settings.token):
        return True
    cookies = cookie_parser(headers.get("cookie", ""))
    return same(cookies.get(cookie_name(settings), ""), cookie_value(settings))


def host_name(host: str) -> str:
    """Of a Host header, without its port: ``[::1]:8421`` is ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


def cookie_name(settings: Settings) -> str:
    """Cookies are shared by all ports of a host."""
    return f"laconic_{settings.instance}"


def cookie_value(settings: Settings) -> str:
    """Not the token itself: what a browser keeps is of no use to another server."""
    assert settings.token is not None
    key = settings.token.encode()
    return hmac.new(key, settings.instance.encode(), hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
