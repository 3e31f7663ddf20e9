"""``ray job submit`` from a shell outside, against a head that was started by hand."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, World
from tests.integration.runs import wait_until

RAY = str(Path(sys.executable).parent / "ray")
GCS = "ADDRESS_OF_THE_TEST"
JOIN = """
import sys
from cluster.ray_session import connect, disconnect
from configs.errors import UserError
from configs.load import load
try:
    print(connect(load("tiny", sys.argv[1:])).cpus)
except UserError as error:
    print(error)
finally:
    disconnect()
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell beside a running head, its token included."""
    home = tmp_path_factory.mktemp("home")
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
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
            "--num-cpus=2", "--disable-usage-stats",
        ],
        env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    environment[GCS] = f"127.0.0.1:{gcs}"
    environment["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{dashboard}"
    try:
        wait_until(lambda: ask(environment, "/api/version"), "the head to answer")
        yield environment
    finally:
        head.terminate()
        head.wait(timeout=60)
        shutil.rmtree(ray_folder, ignore_errors=True)


def ask(shell: dict[str, str], path: str) -> dict[str, str]:
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


def test_a_submitted_job_succeeds_and_its_log_has_the_steps(
    shell: dict[str, str], world: World, tmp_path: Path
):
    settings = [setting for setting in world.settings if not setting.startswith("runs_dir")]

    submitted = subprocess.run(
        [
            RAY, "job", "submit", "--working-dir", ".", "--",
            "python", "-m", "cluster.main", "tiny", *settings, "name=job", "steps=2",
        ],
        cwd=ROOT, env=shell, capture_output=True, text=True, timeout=280,
    )  # fmt: skip

    print(submitted.stdout, submitted.stderr)
    assert submitted.returncode == 0
    assert re.search(r"Job '\S+' succeeded", submitted.stdout)
    assert "step 2/2 version 2" in submitted.stdout
    job = re.search(r"raysubmit_\w+", submitted.stdout)
    assert job is not None
    assert ask(shell, f"/api/jobs/{job.group()}")["status"] == "SUCCEEDED"
    assert (Path(shell["HOME"]) / "laconic" / "runs" / "job" / "summary.json").is_file()


@pytest.mark.row(30)
@pytest.mark.parametrize(
    ("mode", "token", "said"),
    [
        (None, None, "refuses us: we have no token in use; set RAY_AUTH_MODE=token"),
        (None, "a" * 64, "refuses us: we have no token in use; set RAY_AUTH_MODE=token"),
        ("token", None, "refuses us: we have no token in use; set RAY_AUTH_MODE=token"),
        ("token", "b" * 64, "refuses us: we have another token than its own; set RAY_AUTH_MODE"),
        ("disabled", "a" * 64, "refuses us: we have no token in use; set RAY_AUTH_MODE=token"),
        ("token", "a" * 64, "2.0"),
    ],
)
def test_who_joins_needs_the_token_of_the_head_and_is_told_so_at_once(
    shell: dict[str, str], tmp_path: Path, mode: str | None, token: str | None, said: str
):
    given = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token, "HOME": str(tmp_path)}
    environment = {**shell, "PYTHONPATH": str(ROOT)} | {k: v for k, v in given.items() if v}
    for name in [name for name, value in given.items() if value is None]:
        del environment[name]

    start = time.monotonic()
    joined = subprocess.run(
        [sys.executable, "-c", JOIN, f"cluster.address={shell[GCS]}"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    seconds = time.monotonic() - start

    print(joined.stderr)
    assert joined.returncode == 0
    assert said in joined.stdout
    assert len(joined.stdout.splitlines()) == 1
    assert seconds < 15
    if said != "2.0":
        assert joined.stderr == ""
