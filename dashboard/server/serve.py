"""From a command line to a running server: which runs, which port, which token, and its address."""

import errno
import json
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from configs.errors import UserError
from dashboard.server.app import make_app
from dashboard.server.run import is_run
from dashboard.server.settings import PORT, Settings, token_for

FILE = "dashboard.json"
"""In the folder of a run: where its page is."""

TRIES = 40
"""Ports that are tried after 8421."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody asked for."""

    runs: Sequence[Path]
    host: str = "127.0.0.1"
    port: int | None = None
    root_path: str = ""
    token: bool = False
    token_file: Path | None = None
    unsafe_no_auth: bool = False
    allow_host: Sequence[str] = field(default=())
    memory_gib: float = 1.0
    no_sql: bool = False
    no_open: bool = False


def serve(wanted: Wanted) -> None:
    """Returns when it is stopped. Raises UserError, one line, for what cannot be shown."""
    settings = settle(wanted)
    listening = listen(settings)
    port = listening.getsockname()[1]
    address = address_of(settings, port)
    for run in settings.runs:
        _tell(run, settings, address, port)
    print(f"dashboard: {address}", flush=True)
    if not wanted.no_open and settings.is_local and sys.stdout.isatty() and not _is_remote():
        threading.Timer(0.5, webbrowser.open, [address]).start()
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(settings),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=30,
        )
    )
    signal.signal(signal.SIGTERM, _end)  # raised again by uvicorn when it has closed
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        for run in settings.runs:
            _tell_no_more(run)


def _end(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def settle(wanted: Wanted) -> Settings:
    root_path = wanted.root_path.rstrip("/")
    if root_path and not root_path.startswith("/"):
        raise UserError(f"--root-path {wanted.root_path} must begin with a slash, such as /laconic")
    if wanted.memory_gib < 0.25:
        raise UserError(f"--memory-gib {wanted.memory_gib:g} is too little; give at least 0.25")
    token = token_for(
        host=wanted.host,
        token_file=wanted.token_file,
        wants_token=wanted.token,
        unsafe_no_auth=wanted.unsafe_no_auth,
    )
    return Settings(
        runs=tuple(find_runs(wanted.runs)),
        host=wanted.host,
        port=wanted.port,
        root_path=root_path,
        token=token,
        allowed_hosts=tuple(name.lower() for name in wanted.allow_host),
        sql=not wanted.no_sql,
        memory_gib=wanted.memory_gib,
    )


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Run directories as they are given; of a folder of runs all of them, the newest first."""
    found: list[Path] = []
    for path in paths:
        path = path.expanduser()
        if not path.exists():
            raise UserError(f"{path} does not exist; name the folder of a run, such as runs/NAME")
        if not path.is_dir():
            raise UserError(f"{path} is no folder; name the folder of a run, such as runs/NAME")
        path = path.resolve()
        inside = [child for child in _folders(path) if is_run(child)]
        if is_run(path) or not inside:
            found.append(path)  # an empty one may become a run
        else:
            found += sorted(inside, key=lambda child: -child.stat().st_mtime)
    return list(dict.fromkeys(found))


def listen(settings: Settings) -> socket.socket:
    """A socket that is bound: the port that was asked for, or the first free one from 8421."""
    ports = [settings.port] if settings.port is not None else range(PORT, PORT + TRIES)
    for port in ports:
        try:
            return _bind(settings.host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UserError(
                    f"cannot listen on {settings.host}:{port}: {error.strerror or error}"
                ) from error
    if settings.port is not None:
        raise UserError(
            f"--port {settings.port} is taken, perhaps by another dashboard; leave --port out, and "
            "the next free one is used"
        )
    raise UserError(f"no port from {PORT} to {PORT + TRIES - 1} is free; choose one with --port")


def address_of(settings: Settings, port: int) -> str:
    """What to open. The token is behind a #, which no log and no proxy gets to see."""
    host = socket.gethostname() if settings.host in ("0.0.0.0", "::") else settings.host
    host = f"[{host}]" if ":" in host else host
    token = f"#token={settings.token}" if settings.token else ""
    return f"http://{host}:{port}{settings.root_path}/{token}"


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"--host {host} is no address of this machine: {error}") from error
    listening = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(target)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def _folders(path: Path) -> list[Path]:
    try:
        return [child for child in path.iterdir() if child.is_dir()]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _tell(run: Path, settings: Settings, address: str, port: int) -> None:
    """Where a person, or ``laconic submit``, finds the page. Without the token."""
    values = {
        "url": address.partition("#")[0],
        "host": settings.host,
        "port": port,
        "pid": os.getpid(),
        "needs_token": settings.token is not None,
        "started_us": time.time_ns() // 1000,
    }
    with suppress(OSError):  # a folder that this user may only read
        temporary = run / f"{FILE}.tmp"
        temporary.write_text(json.dumps(values, indent=1))
        temporary.replace(run / FILE)


def _tell_no_more(run: Path) -> None:
    with suppress(OSError, ValueError):
        if json.loads((run / FILE).read_text()).get("pid") == os.getpid():
            (run / FILE).unlink()


def _is_remote() -> bool:
    return bool(os.environ.get("SSH_CONNECTION")) or not (
        sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY")
    )
