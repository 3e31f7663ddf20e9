"""A run's copy in a bucket: a real server in a process of its own, spoken to over HTTP."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.fetch import fetch
from cluster.mirror import copy, require_mirror
from cluster.mirror_index import read_index
from cluster.mirroring import Mirroring
from cluster.remote import Remote
from configs.errors import UserError
from configs.schema import MirrorConfig
from tests.unit.test_mirror import Reports, run, save, weights

s3fs = pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")

__all__ = ["run"]

BUCKET = "runs-of-everybody"
URL = f"s3://{BUCKET}/some/folder"


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    address: str

    def ask_who_it_is(self) -> None:
        """From the next request on."""
        plain = {"Content-Type": "text/plain"}
        asked = urllib.request.Request(f"{self.address}/moto-api/reset-auth", b"0", plain)
        urllib.request.urlopen(asked, timeout=10).read()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    server = Server(process, f"http://127.0.0.1:{port}")
    for name, value in {
        "AWS_ENDPOINT_URL": server.address, "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "their key", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        _wait(server)
        _make_bucket()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{server.address}/moto-api/", timeout=5).read()
            return
        except OSError:
            assert server.process.poll() is None and time.monotonic() < deadline, "no server"
            time.sleep(0.2)


def _make_bucket() -> None:
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(BUCKET)


def test_a_bucket_gives_the_same_run_back(tmp_path: Path, run: Path, server: Server):
    require_mirror(URL, run)
    large = os.urandom(60 << 20)  # in more than one piece
    save(run, 4, content=large)
    copy(run, URL)
    with (run / "queue/log-0001.jsonl").open("ab") as log:
        log.write(b"second\n")
    save(run, 6)

    found = copy(run, URL)

    assert found.step == 6 and found.num_bytes < 1 << 20
    fetched = fetch(f"{URL}/one", tmp_path / "again")
    assert (fetched.checkpoint, fetched.complaints) == ("step-000006", ())
    assert (tmp_path / "again/queue/log-0001.jsonl").read_bytes() == b"first\nsecond\n"
    fetch(f"{URL}/one", tmp_path / "before", step=4)
    assert weights(tmp_path / "before", 4) == large


def test_damage_in_the_bucket_is_found_and_what_is_old_is_removed(
    tmp_path: Path, run: Path, server: Server
):
    for step in (4, 6, 8):
        copy(run, URL)
        save(run, step)
    remote = Remote(f"{URL}/one")
    remote.write("files/queue/left", b"by a copy that was cut off")
    copy(run, URL)
    index = read_index(remote)
    assert index is not None and list(index.checkpoints) == ["step-000006", "step-000008"]
    assert {*remote.names("checkpoints"), *remote.names("files")} == index.names()
    [name] = [name for name in index.names() if "step-000008" in name and "weights" in name]
    remote.write(name, b"another")

    fetched = fetch(f"{URL}/one", tmp_path / "again")

    assert fetched.checkpoint == "step-000006"
    assert fetched.complaints == ("step-000008 is damaged: model/weights has changed",)


async def test_the_copy_beside_a_run_has_the_credentials_of_the_run(
    tmp_path: Path, run: Path, server: Server
):
    reports = Reports()
    copying = Mirroring(MirrorConfig(url=URL), run, reports)

    await copying.finish()

    assert [kind for kind, _ in reports.said] == ["mirrored"], reports.said
    assert fetch(f"{URL}/one", tmp_path / "again").checkpoint == "step-000002"


def test_no_bucket_and_wrong_credentials_are_one_line_each(
    run: Path, server: Server, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UserError, match="is not there") as refused:
        require_mirror("s3://nobodys-bucket/folder", run)
    assert "\n" not in str(refused.value)

    server.ask_who_it_is()
    with pytest.raises(UserError, match="may not be used with the credentials") as refused:
        require_mirror(URL, run)
    assert "\n" not in str(refused.value) and "their key" not in str(refused.value)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="credentials") as refused:
        require_mirror(URL, run)
    assert "\n" not in str(refused.value)


async def test_a_server_that_is_gone_or_hangs_costs_the_run_a_line(run: Path, server: Server):
    copy(run, URL)
    reports = Reports()
    os.killpg(server.process.pid, signal.SIGSTOP)
    hanging = Mirroring(MirrorConfig(url=URL, timeout_s=15), run, reports)
    await hanging.finish()
    assert "longer than mirror.timeout_s=15 s" in reports.said[-1][1]

    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    began = time.monotonic()
    await Mirroring(MirrorConfig(url=URL, timeout_s=300), run, reports).finish()

    kind, note = reports.said[-1]
    assert kind == "mirror_failed" and "\n" not in note and "Could not connect" in note, note
    assert time.monotonic() - began < 120
