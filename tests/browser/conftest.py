"""The page in a real browser, over a real server and a synthetic run.

``open_page`` gives pages that fail their test when they log an error, break the content security
policy or ask another origin for anything.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
ROLLOUTS = 20_000
START_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A page server over one or more runs, and where it answers."""

    address: str
    runs: tuple[Path, ...]


def make_demo(path: Path, *options: str, rollouts: int = ROLLOUTS) -> Path:
    """A synthetic run at ``path``, which must not exist."""
    command = [sys.executable, "-m", "cluster.main", "demo-data", str(path)]
    command += ["--rollouts", str(rollouts), *options]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return path


@contextmanager
def serving(*runs: Path, options: tuple[str, ...] = ()) -> Iterator[Server]:
    """A server in a process of its own, which is gone afterwards."""
    port = _free_port()
    command = [sys.executable, "-m", "dashboard.server", *map(str, runs), "--port", str(port)]
    process = subprocess.Popen([*command, "--no-open", *options], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait_for(f"{address}api/session", process)
        yield Server(address=address, runs=runs)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except URLError:
            time.sleep(0.1)
    raise TimeoutError(f"{address} does not answer")


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished synthetic run with hostile texts among the plain ones."""
    return make_demo(tmp_path_factory.mktemp("runs") / "demo", "--hostile")


@pytest.fixture(scope="session")
def server(demo_run: Path) -> Iterator[Server]:
    with serving(demo_run) as running:
        yield running


@pytest.fixture(scope="module")  # its driver keeps an event loop on the thread: none may inherit it
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass(slots=True)
class Watch:
    """What a page did that it must not do."""

    origin: str
    faults: list[str]

    def follow(self, page: Any) -> None:
        page.on("console", lambda message: self._console(message))  # the driver marks what it calls
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", lambda request: self._request(request))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.faults.append(f"asked elsewhere: {request.url}")


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any, server: Server) -> Iterator[OpenPage]:
    """``open_page("#/funnel", theme="dark", width=1280)``; ``address`` for another server."""
    contexts: list[Any] = []
    watches: list[Watch] = []

    def open_page(
        hash: str = "",
        *,
        address: str = server.address,
        theme: str = "light",
        width: int = 1280,
        height: int = 800,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(15_000)
        watch = Watch(origin=address, faults=[])
        watch.follow(page)
        page.goto(address + hash)
        contexts.append(context)
        watches.append(watch)
        page.watch = watch
        return page

    yield open_page
    for context in contexts:
        context.close()
    faults = [fault for watch in watches for fault in watch.faults]
    assert not faults, faults
