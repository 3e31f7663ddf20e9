"""``ray job submit`` from a shell outside, against a head that was started by hand."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, World

RAY = str(Path(sys.executable).parent / "ray")


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
    gcs, dashboard, client, agent = free_ports(4)
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "a" * 64,
        "RAY_TMPDIR": str(home),
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run(
        [
            RAY, "start", "--head", f"--port={gcs}", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
            "--num-cpus=2", "--disable-usage-stats",
        ],
        env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    yield environment | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
    subprocess.run([RAY, "stop"], env=environment, timeout=120, stdout=subprocess.DEVNULL)


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
    request = urllib.request.Request(
        f"{shell['RAY_API_SERVER_ADDRESS']}/api/jobs/{job.group()}",
        headers={"Authorization": f"Bearer {shell['RAY_AUTH_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["status"] == "SUCCEEDED"
    assert (Path(shell["HOME"]) / "laconic" / "runs" / "job" / "summary.json").is_file()
