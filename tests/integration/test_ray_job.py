"""``ray job submit`` from a shell outside, against a head that was started by hand."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, World
from tests.integration.heads import GCS, RAY, ask, running_head

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


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_head(tmp_path_factory.mktemp("home")) as environment:
        yield environment


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
