"""A Ray head that was started by hand and lets in who has its token."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.runs import wait_until

RAY = str(Path(sys.executable).parent / "ray")
GCS = "ADDRESS_OF_THE_TEST"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def running_head(home: Path) -> Iterator[dict[str, str]]:
    """The environment of a shell beside it, its token included."""
    ray_folder = tempfile.mkdtemp(prefix="ray")  # sockets want short names
    gcs, dashboard, client, agent = free_ports(4)
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a" * 64,
        "RAY_TMPDIR": ray_folder,
        "HF_HUB_OFFLINE": "1",
    }
    # Not `ray start` and `ray stop`: the latter ends every Ray of this machine.
    log = (home / "head.log").open("w")
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
            "--num-cpus=2", "--disable-usage-stats",
        ],
        env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    environment[GCS] = f"127.0.0.1:{gcs}"
    environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    try:
        wait_until(lambda: ask(environment, "/api/version"), "the head to answer")
        yield environment
    finally:
        head.terminate()
        head.wait(timeout=60)
        log.close()
        print((home / "head.log").read_text())
        shutil.rmtree(ray_folder, ignore_errors=True)


def ask(shell: dict[str, str], path: str) -> dict[str, Any]:
    """Ray's own API; empty while nobody answers there."""
    request = urllib.request.Request(
        shell["RAY_API_SERVER_ADDRESS"] + path,
        headers={"Authorization": f"Bearer {shell['RAY_AUTH_TOKEN']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.URLError:
        return {}
