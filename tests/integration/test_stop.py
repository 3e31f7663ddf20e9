"""A signal finishes the step under way, commits it and exits with the code for "go on later"."""

import signal
import subprocess

from cluster.checkpoint import CheckpointStore
from configs.run_files import read_jsonl
from tests.integration.conftest import World, command
from tests.integration.runs import Account, wait_until


def test_sigterm_commits_and_exits_resumable(world: World):
    folder = world.run_dir("stopped")
    driver = subprocess.Popen(
        command("train", "tiny", *world.settings, "name=stopped", "steps=5000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: (folder / "metrics.jsonl").exists(), "the first step", 200)
        driver.send_signal(signal.SIGTERM)
        out, err = driver.communicate(timeout=100)
    finally:
        driver.kill()

    assert driver.returncode == 75
    assert "SIGTERM: finishing this step" in out
    assert err.strip().splitlines()[-1].startswith("laconic: stopped after step")
    newest, complaints = CheckpointStore(folder / "checkpoints", keep=2).newest()
    assert newest is not None
    assert complaints == []
    steps = len(list(read_jsonl(folder / "metrics.jsonl")))
    assert newest.state.step == steps == len(Account(folder).steps)
    assert newest.state.end_ticket == len(Account(folder).trained_tickets)
