"""Real wandb without a network: what it writes, where, and that its failures are only warnings."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.tracker import Tracker, without_secrets
from configs.schema import WandbConfig

ROOT = Path(__file__).parents[2]

RESOLVED = {"seed": 7, "sampling": {"max_tokens": 120}, "hub": {"api_key": "CANARY-1"}}

RUN = """
import sys
from pathlib import Path
from cluster.tracker import Tracker
from configs.schema import WandbConfig
from tests.integration.test_wandb_offline import RESOLVED

tracker = Tracker(WandbConfig(mode="offline", project="p"), Path(sys.argv[1]), "my run", RESOLVED)
tracker.start()
tracker.step({"step": 1, "loss": 0.123456, "reasons": {"wrong": 2}, "note": "CANARY-2"}, step=41)
tracker.table([{"rollout_id": "a", "n_tokens": 3, "text": "long " * 9000, "logp": 1}], step=41)
tracker.summary({"accuracy": 0.625})
tracker.close()
"""


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own wandb settings, and no network to wait for."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def run(run_dir: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, str(run_dir)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )


def records(run_dir: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))]


def test_an_offline_run_is_a_folder_in_the_run_directory_and_a_resume_continues_it(tmp_path: Path):
    run_dir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run_dir.mkdir()
    elsewhere.mkdir()

    first = run(run_dir, elsewhere)
    (run_id,) = [path.name for path in run_dir.glob("wandb/offline-run-*/*.wandb")]
    second = run(run_dir, elsewhere)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == ""
    assert first.stderr.splitlines() == [
        "configuration key 'api_key' looks like a secret and is not sent to wandb"
    ]
    assert {p.name for p in run_dir.glob("wandb/offline-run-*/*.wandb")} == {run_id}
    assert list(elsewhere.iterdir()) == []
    for record in records(run_dir):
        assert b"0.123456" in record and b"reasons/wrong" in record and b"0.625" in record
        assert b"max_tokens" in record and b"my run" in record
        assert b"CANARY" not in record
    tables = [json.loads(path.read_text()) for path in run_dir.glob("wandb/**/*.table.json")]
    assert len(tables) == 2
    for table in tables:
        (row,) = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        assert (row["rollout_id"], row["n_tokens"], row["verdict"]) == ("a", 3, None)
        assert row["text"] == ("long " * 9000)[:8000] and "logp" not in row
    kept = [path.name for path in run_dir.rglob("*") if path.is_file()]
    assert not [name for name in kept if name.endswith((".py", ".patch"))]


def test_wandb_without_an_account_is_one_warning_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    tracker = Tracker(WandbConfig(mode="online"), tmp_path, "r", {})

    tracker.start()
    tracker.step({"loss": 1.0}, step=1)
    tracker.summary({"accuracy": 1.0})
    tracker.close()

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the run goes on without it" in caplog.text


class FakeRun:
    """A wandb run whose service dies after the first line."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []

    def log(self, row: dict[str, Any]) -> None:
        self.logged.append(row)
        if len(self.logged) > 1:
            raise RuntimeError("the service died")


def test_wandb_that_breaks_on_the_way_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    tracker, wandb_run = Tracker(WandbConfig(), tmp_path, "r", {}), FakeRun()
    tracker._run = wandb_run
    assert caplog.records == []

    for step in (41, 42, 43):
        tracker.step({"loss": 1.5, "step": 7, "ok": True, "phase": "x", "by": {"a": 2}}, step)
    tracker.close()

    assert wandb_run.logged[0] == {"loss": 1.5, "ok": True, "by/a": 2, "step": 41}
    assert len(wandb_run.logged) == 2
    assert len(caplog.records) == 1


def test_disabled_wandb_is_never_imported_and_writes_nothing(tmp_path: Path):
    program = (
        RUN.replace('mode="offline"', 'mode="disabled"')
        + "assert not [name for name in sys.modules if name.split('.')[0] == 'wandb']"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "run").exists()


def test_tables_of_rollouts_come_every_so_many_steps_and_can_be_off():
    some, none = (
        Tracker(WandbConfig(rollouts=count, rollouts_every=5), Path(), "r", {}) for count in (8, 0)
    )
    assert not some.is_table_due(5)  # no run, nothing to send to
    some._run = none._run = FakeRun()

    assert [step for step in range(1, 12) if some.is_table_due(step)] == [5, 10]
    assert not any(none.is_table_due(step) for step in range(1, 12))


def test_a_key_named_like_a_secret_is_left_out_and_a_token_count_is_not(
    caplog: pytest.LogCaptureFixture,
):
    values = {
        "max_tokens": 1,
        "micro_batch_tokens": 2,
        "monkey": 3,
        "hub_token": "x",
        "data": {"API-KEY": "x", "source": "y", "deep": {"db.password": "x"}},
        "Secret": "x",
    }

    with caplog.at_level(logging.WARNING):
        kept = without_secrets(values)

    assert kept == {
        "max_tokens": 1,
        "micro_batch_tokens": 2,
        "monkey": 3,
        "data": {"source": "y", "deep": {}},
    }
    assert len(caplog.records) == 4
