"""``laconic submit`` from a shell outside, against a head that wants a token."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.check import check
from tests.integration.conftest import ROOT, World, command
from tests.integration.heads import ask, running_head
from tests.integration.runs import processes, records, wait_until


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_head(tmp_path_factory.mktemp("home")) as environment:
        yield environment


def laconic(shell: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments), cwd=ROOT, env=shell, capture_output=True, text=True, timeout=120
    )
    print(done.stdout, done.stderr)
    return done


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_job_that_is_preempted_is_submitted_again_and_goes_on(
    shell: dict[str, str], world: World, tmp_path: Path
):
    run_dir = world.run_dir("preempted")
    log = tmp_path / "submit.log"
    with log.open("w") as output:
        submitted = subprocess.Popen(
            command(
                "submit", "tiny", *world.settings, "name=preempted", "steps=8",
                "checkpoint.every=2", "--follow", "--attempts", "3", "--include",
                str(ROOT / "tests"), "--dashboard-url", "http://example.invalid:8421",
            ),
            cwd=tmp_path, env=shell, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_until(
                lambda: submitted.poll() is not None
                or (run_dir.is_dir() and len(records(run_dir, "ack")) >= 2),
                "two steps to be taken", 900,
            )  # fmt: skip
            assert submitted.poll() is None, log.read_text()
            os.kill(processes(run_dir)["driver"], signal.SIGTERM)
            code = submitted.wait(timeout=400)
        finally:
            submitted.kill()
    text = log.read_text()
    print(text)

    assert code == 0
    assert "stopped after a commit" in text
    assert "submitting it again, 2 of 3" in text
    assert "resumed at step" in text
    assert text.count("step 8/8") == 1
    assert text.rstrip().endswith("succeeded")
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == 8
    assert check(run_dir).violations == []
    jobs = json.loads(laconic(shell, "job", "list", "--json").stdout)
    assert [(job["status"], job["exit_code"], job["run"]) for job in jobs] == [
        ("SUCCEEDED", 0, "preempted"),
        ("FAILED", 75, "preempted"),
    ]
    known = ask(shell, f"/api/jobs/{jobs[0]['id']}")
    assert known["metadata"]["dashboard_url"] == "http://example.invalid:8421"
    assert shell["RAY_AUTH_TOKEN"] not in json.dumps(known)
    assert "step 8/8" in laconic(shell, "job", "logs", jobs[0]["id"]).stdout
    followed = laconic(shell, "job", "logs", "--follow", jobs[1]["id"])
    assert followed.returncode == 75


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_job_that_is_stopped_commits_its_step_first(shell: dict[str, str], world: World):
    run_dir = world.run_dir("halted")
    submitted = laconic(
        shell, "submit", "tiny", *world.settings, "name=halted", "steps=500",
        "checkpoint.every=100", "--include", str(ROOT / "tests"),
    )  # fmt: skip
    job = submitted.stdout.split()[1]
    wait_until(lambda: run_dir.is_dir() and len(records(run_dir, "ack")) >= 2, "two steps", 300)

    stopped = laconic(shell, "job", "stop", job)

    assert job in stopped.stdout and "STOPPED" in stopped.stdout
    commits = records(run_dir, "commit")
    assert commits and commits[-1]["step"] == len(records(run_dir, "ack"))
    assert check(run_dir).violations == []
    shown = json.loads(laconic(shell, "job", "status", job, "--json").stdout)
    assert (shown["status"], shown["run"]) == ("STOPPED", "halted")


@pytest.mark.parametrize(
    ("mode", "token", "said"),
    [
        (None, None, "we have no token in use; set RAY_AUTH_MODE=token and the token"),
        ("token", "b" * 64, "we have another token than its own; set RAY_AUTH_MODE=token"),
    ],
)
def test_who_has_no_token_is_told_how_to_get_in(
    shell: dict[str, str], tmp_path: Path, mode: str | None, token: str | None, said: str
):
    given = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token}
    environment = {k: v for k, v in shell.items() if k not in given} | {"HOME": str(tmp_path)}
    environment |= {k: v for k, v in given.items() if v}

    refused = laconic(environment, "submit", "tiny")

    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_job_that_nobody_submitted_is_told_in_one_line(shell: dict[str, str]):
    refused = laconic(shell, "job", "status", "raysubmit_nobody")

    assert refused.returncode == 2
    assert "could not find job raysubmit_nobody" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
