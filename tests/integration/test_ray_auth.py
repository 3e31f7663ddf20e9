"""A private Ray answers to nobody but the processes of its own run."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytestmark = pytest.mark.row(30)

PROGRAM = """
import os
import ray
from pathlib import Path
from cluster.ray_session import connect, disconnect
from configs.load import load

connect(load("tiny", []))
token = os.environ["RAY_AUTH_TOKEN"]
address = ray.get_runtime_context().gcs_address

def holds(file):
    try:
        return token.encode() in file.read_bytes()
    except OSError:  # a socket
        return False

session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
print("token", len(token), os.environ["RAY_AUTH_MODE"])
print("leaked", [str(f) for f in session.rglob("*") if f.is_file() and holds(f)])
try:
    from cluster.ray_auth import require_welcome
    require_welcome(address, {})
    print("everybody is welcome")
except ValueError as error:
    print(error)
require_welcome(address, os.environ)

@ray.remote
def works():
    return "works"

print(ray.get(works.remote()))
disconnect()
"""


def run(home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | more,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_private_ray_has_a_token_of_its_own_that_stands_in_no_file(tmp_path: Path):
    # A token that others may have read must not become the run's.
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 64)

    done = run(tmp_path)

    print(done.stderr)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["token 64 token", "leaked []"]
    assert re.match(r"Ray at '\S+' refuses us: we have no token in use", lines[2])
    assert lines[3:] == ["works"]
    assert [file.name for file in (tmp_path / ".ray").iterdir()] == ["auth_token"]


def test_no_file_that_others_can_read_is_left_behind(tmp_path: Path):
    assert run(tmp_path).returncode == 0

    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]


def test_a_private_ray_without_a_token_is_refused(tmp_path: Path):
    done = run(tmp_path, RAY_AUTH_MODE="disabled")

    assert done.returncode != 0
    assert "UserError: RAY_AUTH_MODE=disabled: a private Ray listens" in done.stderr
