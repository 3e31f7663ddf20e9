"""What travels with a job, what it is told, and how its end is read; no Ray is started."""

import asyncio
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from ray.job_submission import JobDetails, JobStatus

from cluster import jobs, submit
from cluster.job_folder import CONFIG, DATA, PACKAGES, fill
from configs.errors import UserError
from configs.load import load, load_resolved


def test_our_packages_travel_and_nothing_else(tmp_path: Path):
    fill(tmp_path, load("tiny", ["steps=3"]), [])

    assert {path.name for path in tmp_path.iterdir()} == {*PACKAGES, "laconic_cli.py", CONFIG}
    names = {part for path in tmp_path.rglob("*") for part in path.parts[len(tmp_path.parts) :]}
    assert not names & {"__pycache__", "node_modules", ".venv", ".git", "runs", "web"}
    assert load_resolved(tmp_path / CONFIG).steps == 3


def test_a_data_file_that_lies_here_goes_along_and_one_of_the_cluster_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here, job = tmp_path / "here", tmp_path / "job"
    here.mkdir()
    (here / "problems.jsonl").write_text('{"id": "1"}\n')
    monkeypatch.chdir(here)
    config = load("tiny", ["data.train=problems.jsonl", "data.heldout=/data/heldout.jsonl"])

    sent = fill(job, config, [])

    assert sent.data.train == f"{DATA}/train-problems.jsonl"
    assert (job / sent.data.train).read_text() == '{"id": "1"}\n'
    assert sent.data.heldout == "/data/heldout.jsonl"
    assert load_resolved(job / CONFIG) == sent


def test_a_part_of_your_own_lies_beside_ours(tmp_path: Path):
    mine = tmp_path / "my_steps.py"
    mine.write_text("SHORTER = 1\n")
    job = tmp_path / "job"

    fill(job, load("tiny", []), [mine])

    assert (job / "my_steps.py").read_text() == "SHORTER = 1\n"


@pytest.mark.parametrize(
    ("include", "said"), [("nowhere.py", "there is no such"), ("cluster", "a name of our own")]
)
def test_what_cannot_go_along_is_told(tmp_path: Path, include: str, said: str):
    (tmp_path / "cluster").mkdir()

    with pytest.raises(UserError, match=said):
        fill(tmp_path / "job", load("tiny", []), [tmp_path / include])


def test_a_model_of_this_machine_does_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError, match=r"model\.path=model is a folder of this machine"):
        fill(tmp_path / "job", load("tiny", ["model.path=model"]), [])


def submission(resume: submit.Resume, **changes: Any) -> jobs.Submission:
    given: dict[str, Any] = {
        "include": [], "environment": {}, "runtime_env": {}, "dashboard_url": None, **changes,
    }  # fmt: skip
    return submit.submission(load("tiny", ["name=a", "cluster.grace_s=60"]), resume=resume, **given)


@pytest.mark.parametrize(
    ("resume", "last"),
    [("no", CONFIG), ("yes", "--resume"), ("if there is one", "--resume-or-start")],
)
def test_the_command_of_a_job(resume: submit.Resume, last: str):
    words = shlex.split(submission(resume).entrypoint)

    assert words[:4] == ["python", "-m", "cluster.main", "train"]
    assert words[-1] == last


def test_a_job_has_time_to_commit_and_is_named_in_rays_list():
    made = submission(
        "no", environment={"A": "1"}, runtime_env={"pip": ["x"], "env_vars": {"A": "0", "B": "2"}},
        dashboard_url="http://h:8421",
    )  # fmt: skip

    assert made.runtime_env["pip"] == ["x"]
    assert made.runtime_env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "70"
    assert (made.runtime_env["env_vars"]["A"], made.runtime_env["env_vars"]["B"]) == ("1", "2")
    assert made.metadata["laconic_run"] == "a"
    assert made.metadata["dashboard_url"] == "http://h:8421"


def test_a_page_has_its_port_before_the_job_starts_and_stands_in_rays_list():
    without, nowhere = submit.with_page(load("tiny", []), "http://head:8265")
    config, url = submit.with_page(load("tiny", ["dashboard.enabled=true"]), "http://head:8265")
    own, there = submit.with_page(
        load("tiny", ["dashboard.enabled=true", "dashboard.port=9000"]), "https://[::1]:8265"
    )

    assert (without.dashboard.port, nowhere) == (None, None)
    assert (config.dashboard.port, url) == (8421, "http://head:8421")
    assert (own.dashboard.port, there) == (9000, "http://[::1]:9000")


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "MY_PASSWORD"])
def test_a_secret_is_refused_and_not_repeated(name: str, tmp_path: Path):
    with pytest.raises(UserError, match=name) as caught:
        submit.variables_of([f"{name}=hush-hush"])
    assert "hush-hush" not in str(caught.value)

    path = tmp_path / "env.yaml"
    path.write_text(yaml.safe_dump({"env_vars": {name: "hush-hush"}}))
    with pytest.raises(UserError, match=name) as caught:
        submit.runtime_env_of(path)
    assert "hush-hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LACONIC_WEBHOOK_URL", "https://hooks.example.org/T0/hush-hush"),
        ("HTTPS_PROXY", "http://me:hush-hush@proxy:3128"),
        ("PIP_OPTIONS", "--token=hush-hush"),
    ],
)
def test_a_secret_is_known_by_its_looks(name: str, value: str, tmp_path: Path):
    with pytest.raises(UserError, match=f"--env {name} is or holds") as caught:
        submit.variables_of([f"{name}={value}"])
    assert "hush-hush" not in str(caught.value)

    path = tmp_path / "env.yaml"
    path.write_text(yaml.safe_dump({"env_vars": {name: value}}))
    with pytest.raises(UserError, match=name):
        submit.runtime_env_of(path)
    assert submit.variables_of(["HTTPS_PROXY=http://proxy:3128"])


@pytest.mark.parametrize("given", ["list", "options", "file"])
def test_an_address_with_a_password_does_not_travel_among_packages(given: str, tmp_path: Path):
    index = "--extra-index-url https://me:hush-hush@host/simple"
    lines = tmp_path / "requirements.txt"
    lines.write_text(f"{index}\nx==1\n")
    pip = {
        "list": [index, "x==1"],
        "options": {"packages": ["x==1"], "pip_install_options": [index]},
        "file": str(lines),
    }[given]
    path = tmp_path / "env.yaml"

    path.write_text(yaml.safe_dump({"pip": pip}))
    with pytest.raises(UserError, match="pip is or holds a secret") as caught:
        submit.runtime_env_of(path)
    assert "hush-hush" not in str(caught.value)
    lines.write_text("x==1\n")
    path.write_text(yaml.safe_dump({"pip": str(lines)}))
    assert submit.runtime_env_of(path)["pip"] == str(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("working_dir: .", "working_dir is what we send"), ("- a", "holds no keys"),
        ("a: [", "expected"), ("env_vars: 3", "env_vars holds names"),
    ],
)  # fmt: skip
def test_a_runtime_environment_that_cannot_be_is_told(tmp_path: Path, text: str, said: str):
    path = tmp_path / "env.yaml"
    path.write_text(text)

    with pytest.raises(UserError, match=said):
        submit.runtime_env_of(path)


@pytest.mark.parametrize(
    ("given", "environment", "address"),
    [
        (None, {}, "http://127.0.0.1:8265"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://h:1/"}, "http://h:1"),
        ("head:8265", {"RAY_API_SERVER_ADDRESS": "http://h:1"}, "http://head:8265"),
        ("https://head", {}, "https://head"),
    ],
)
def test_where_jobs_go(given: str | None, environment: dict[str, str], address: str):
    assert jobs.address_of(given, environment) == address


def end(status: str, code: int | None) -> jobs.End:
    return jobs.End(status=status, exit_code=code, message="because")


@pytest.mark.parametrize(
    ("status", "code", "is_resumable", "exits_with"),
    [
        ("SUCCEEDED", 0, False, 0), ("FAILED", 75, True, 75), ("FAILED", 1, False, 1),
        ("FAILED", 2, False, 2), ("FAILED", None, True, 1), ("STOPPED", None, False, 1),
        ("STOPPED", 75, True, 75),
    ],
)  # fmt: skip
def test_which_ends_are_gone_on_from(
    status: str, code: int | None, is_resumable: bool, exits_with: int
):
    assert (end(status, code).is_resumable, end(status, code).code) == (is_resumable, exits_with)


class Head:
    """A Ray that takes jobs, each of which ends as it is told."""

    def __init__(self, *ends: tuple[str, int | None]) -> None:
        self.ends = list(ends)
        self.entrypoints: list[str] = []
        self.breaks = 0
        self.error: Exception = RuntimeError("WebSocket connection closed unexpectedly")
        self.is_silent = False
        self.error_type: str | None = None

    def submit_job(self, *, entrypoint: str, **_: Any) -> str:
        self.entrypoints.append(entrypoint)
        return f"job-{len(self.entrypoints)}"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield "one\ntw"
        if self.breaks:
            self.breaks -= 1
            raise self.error
        if self.is_silent:
            await asyncio.Event().wait()
        yield "o\nthree \x1b[31m\n"

    def get_job_logs(self, job: str) -> str:
        return "one\ntwo\nthree \x1b[31m\n"

    def get_job_info(self, job: str) -> JobDetails:
        status, code = self.ends[int(job.partition("-")[2]) - 1]
        told: dict[str, Any] = {
            "type": "SUBMISSION", "entrypoint": "", "submission_id": job,
            "status": JobStatus(status), "driver_exit_code": code,
            "error_type": self.error_type,
        }  # fmt: skip
        return JobDetails(**told)


def run(head: Head, monkeypatch: pytest.MonkeyPatch, *, watch: bool = True, attempts: int = 5):
    said: list[str] = []
    monkeypatch.setattr(jobs, "connect", lambda _: head)
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    code = submit.run(
        load("tiny", ["name=a"]), submission, address="http://h", resume="no", watch=watch,
        attempts=attempts, say=said.append,
    )  # fmt: skip
    return code, said


def test_a_preempted_job_is_submitted_again_until_it_is_done(monkeypatch: pytest.MonkeyPatch):
    head = Head(("FAILED", 75), ("FAILED", None), ("SUCCEEDED", 0))

    code, said = run(head, monkeypatch)

    assert code == 0
    assert [line.split()[-1] for line in head.entrypoints] == [
        CONFIG, "--resume-or-start", "--resume-or-start",
    ]  # fmt: skip
    assert sum("submitting it again" in line for line in said) == 2


@pytest.mark.parametrize(
    ("ends", "attempts", "code"),
    [
        ([("FAILED", 1), ("SUCCEEDED", 0)], 5, 1), ([("STOPPED", None), ("SUCCEEDED", 0)], 5, 1),
        ([("FAILED", 75), ("FAILED", 75), ("SUCCEEDED", 0)], 2, 75),
    ],
)  # fmt: skip
def test_a_job_that_failed_or_was_stopped_or_had_its_chances_is_not(
    monkeypatch: pytest.MonkeyPatch, ends: list[tuple[str, int | None]], attempts: int, code: int
):
    head = Head(*ends)

    assert run(head, monkeypatch, attempts=attempts)[0] == code
    assert len(head.entrypoints) == len(ends) - 1


@pytest.mark.parametrize(
    ("error_type", "attempts"),
    [("RUNTIME_ENV_SETUP_FAILURE", 1), ("JOB_SUPERVISOR_ACTOR_DIED", 3)],
)
def test_packages_that_cannot_be_installed_are_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, error_type: str, attempts: int
):
    head = Head(*[("FAILED", None)] * 3)
    head.error_type = error_type

    assert run(head, monkeypatch, attempts=3)[0] == 1
    assert len(head.entrypoints) == attempts


def test_who_does_not_follow_is_told_how_to(monkeypatch: pytest.MonkeyPatch):
    code, said = run(Head(("FAILED", 1)), monkeypatch, watch=False)

    assert code == 0
    assert "laconic job stop job-1 --address http://h" in "\n".join(said)


@pytest.mark.parametrize("error", [Head().error, aiohttp.ServerDisconnectedError()], ids=repr)
def test_a_log_is_taken_up_where_it_broke_off_and_cannot_steer_a_terminal(
    monkeypatch: pytest.MonkeyPatch, error: Exception
):
    head = Head(("SUCCEEDED", 0))
    head.breaks, head.error = 2, error

    _, said = run(head, monkeypatch)

    assert [line for line in said if not line.startswith("job")] == ["one", "two", "three  [31m"]


@pytest.mark.timeout(20)
def test_a_connection_that_falls_silent_hides_neither_the_end_nor_the_last_lines(
    monkeypatch: pytest.MonkeyPatch,
):
    head = Head(("SUCCEEDED", 0))
    head.is_silent = True
    monkeypatch.setattr(jobs, "QUIET_S", 0.05)

    code, said = run(head, monkeypatch)

    assert code == 0
    assert [line for line in said if not line.startswith("job")] == ["one", "two", "three  [31m"]
