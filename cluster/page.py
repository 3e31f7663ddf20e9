"""The page of a run that trains, in a process of its own. Whatever becomes of it, nobody waits."""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from cluster.ray_session import joins_cluster
from cluster.run_dir import RunDir
from configs.schema import DashboardConfig, RunConfig
from configs.secrets import is_secret_name

ROOT = Path(__file__).parents[1]
LOG = "logs/dashboard.log"
ADDRESS = "dashboard.json"
"""Written by the page when it listens."""

LOOK_S = 0.5
START_S = 60.0
"""Longest wait for its address, on a machine that has other things to do."""

RESTARTS = 3
BACK_OFF_S = 5.0
"""Before it is started again; twice as long each time."""

END_S = 3.0


class Display(Protocol):
    def note(self, text: str) -> None: ...


def is_wanted(config: RunConfig) -> bool:
    enabled = config.dashboard.enabled
    return not joins_cluster(config) if enabled is None else enabled


class Page:
    """``stay`` is a task beside the run; it never raises for what goes wrong with the page."""

    def __init__(self, config: DashboardConfig, run_dir: RunDir, display: Display) -> None:
        self._config = config
        self._run_dir = run_dir
        self._display = display
        self._process: subprocess.Popen[bytes] | None = None

    async def stay(self) -> None:
        """Start it, say where it is, and start it again a few times when it dies."""
        for restart in range(RESTARTS + 1):
            if restart:
                await asyncio.sleep(BACK_OFF_S * 2 ** (restart - 1))
            try:
                self._start()
                await self._announce()
            except OSError as error:
                self._display.note(f"no dashboard: {error}; training goes on without it")
                return
            while self._process is not None and self._process.poll() is None:
                await asyncio.sleep(LOOK_S)
            if self._process is None or self._process.returncode == 2:
                return  # it said why, and would say the same again
        self._display.note(f"the dashboard died {RESTARTS + 1} times; see {LOG}")

    def close(self) -> None:
        """End it: a page about a run that is over is ``laconic dashboard RUN``."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        log = self._run_dir.path / LOG
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cluster.page_process", str(os.getpid()), *self._arguments],
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the run
            )

    @property
    def _arguments(self) -> list[str]:
        port = [] if self._config.port is None else ["--port", str(self._config.port)]
        return [str(self._run_dir.path), "--no-open", "--host", self._config.host, *port]

    async def _announce(self) -> None:
        process, deadline = self._process, time.monotonic() + START_S
        assert process is not None
        while process.poll() is None and time.monotonic() < deadline:
            address = _read(self._run_dir.path / ADDRESS)
            if address.get("pid") == process.pid:
                await asyncio.to_thread(self._run_dir.show_page, address["url"])
                token = ", with the token that it has made" if address["needs_token"] else ""
                self._display.note(f"dashboard: {address['url']}{token}")
                return
            await asyncio.sleep(LOOK_S)
        why = _last_line(self._run_dir.path / LOG) or f"it did not listen within {START_S:.0f} s"
        self._display.note(f"no dashboard: {why}")


def _environment() -> dict[str, str]:
    """It sees no GPU, computes with one thread, and has no secret to lose."""
    kept = {name: value for name, value in os.environ.items() if not is_secret_name(name)}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH")]))
    return kept | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _last_line(path: Path) -> str:
    with suppress(OSError):
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("laconic: ") if lines else ""
    return ""
