"""The live stream of a real server, while a run is written and the server is killed."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard_runs import WrittenRun, born

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


@contextmanager
def serving(run: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "dashboard.server", str(run), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--no-open"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"dashboard: http://127.0.0.1:{port}/\n"
        yield process
    finally:
        process.kill()
        process.wait()


def ask(port: int, path: str) -> HTTPResponse:
    """Tried again while it does not answer yet."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=60)
        except ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def next_update(stream: HTTPResponse) -> dict[str, Any]:
    """The next event, with its ``id`` under that name."""
    found: dict[str, str] = {}
    for raw in stream:
        line = raw.decode().rstrip("\r\n")
        if not line and found:
            return json.loads(found["data"]) | {"id": found["id"], "event": found["event"]}
        name, _, value = line.partition(": ")
        if name in ("id", "event", "data"):
            found[name] = value
    raise AssertionError("the stream ended")


@pytest.mark.timeout(300)
def test_rows_are_told_once_although_the_server_is_killed(tmp_path: Path):
    run, port = WrittenRun(tmp_path / "run"), free_port()
    run.seal("meta", [born(0)])
    with serving(run.folder, port):
        stream = ask(port, "live")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["x-accel-buffering"] == "no"
        first = next_update(stream)
        assert (first["event"], first["new_rows"]) == ("update", {"meta": 1})
        run.seal("meta", [born(1), born(2)])
        second = next_update(stream)
        assert second["new_rows"] == {"meta": 2}
        assert second["changed"] == ["rollouts"]
        assert second["counts"]["accepted"] == 3
    run.seal("fate", [{"rollout_id": "000001.0.0", "fate": "trained", "step": 1}])

    with serving(run.folder, port):
        stream = ask(port, f"live?after={second['id']}")
        third = next_update(stream)

    assert third["new_rows"] == {"fate": 1}
    assert third["changed"] == ["fates"]
    assert third["counts"]["trained"] == 1


@pytest.mark.timeout(300)
def test_it_leaves_no_address_behind_and_a_second_one_takes_the_next_port(tmp_path: Path):
    run, port = WrittenRun(tmp_path / "run"), free_port()
    with serving(run.folder, port) as process:
        told = json.loads((run.folder / "dashboard.json").read_text())
        assert (told["port"], told["pid"]) == (port, process.pid)
        ask(port, "session").close()
        command = [sys.executable, "-m", "dashboard.server", str(run.folder), "--port", str(port)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert second.returncode == 2
        assert second.stderr.startswith(f"laconic: --port {port} is taken")
        assert second.stderr.count("\n") == 1

        process.terminate()
        assert process.wait(timeout=60) == 0

    assert not (run.folder / "dashboard.json").exists()
