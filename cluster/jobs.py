"""Ray jobs from outside their cluster: submit, follow, stop; every trouble told in one line."""

import asyncio
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from ray.job_submission import JobDetails, JobSubmissionClient

from cluster import ray_auth
from cluster.live import printable
from configs.errors import UserError

RESUMABLE = 75
PROBE_S = 10.0
AGAIN_S = 1.0
LOST_S = 120.0
"""The head may be out of reach for so long while a job is followed."""
QUIET_S = 120.0
"""After so long without a word of a log: is the job still there, and the connection?"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a job ended."""

    status: str
    exit_code: int | None
    """None: its driver was not there to the end, or it was stopped from outside."""
    message: str
    error_type: str | None = None
    """Ray's word for why it failed."""

    @property
    def is_resumable(self) -> bool:
        """It said so itself, or the node with its driver went away. Packages that cannot be
        installed can be so no better the next time."""
        has_begun = self.error_type != "RUNTIME_ENV_SETUP_FAILURE"
        was_lost = self.status == "FAILED" and self.exit_code is None and has_begun
        return self.exit_code == RESUMABLE or was_lost

    @property
    def code(self) -> int:
        """What a command that waited for it exits with."""
        if self.status == "SUCCEEDED":
            return 0
        return self.exit_code or 1


def address_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Of Ray's dashboard, which takes jobs: what was given, else what the environment says."""
    address = given or environment.get("RAY_API_SERVER_ADDRESS") or "http://127.0.0.1:8265"
    address = address if "://" in address else f"http://{address}"
    if not address.startswith(("http://", "https://")):
        raise UserError(
            f"--address {address}: jobs go to the address of Ray's dashboard, such as "
            f"http://HEAD:8265, and not to ray:// or to the GCS"
        )
    return address.rstrip("/")


def connect(address: str, environment: Mapping[str, str] = os.environ) -> JobSubmissionClient:
    """Refuses at once, with the reason, what Ray would try again and again."""
    token = ray_auth.token_of(environment)
    request = urllib.request.Request(
        f"{address}/api/version", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    try:
        urllib.request.urlopen(request, timeout=PROBE_S).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise ray_auth.unwelcome(address, environment) from error
        raise UserError(f"{address} answers {error.code}: is it Ray's dashboard?") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray answers at {address}: give --address http://HEAD:8265 or set "
            f"RAY_API_SERVER_ADDRESS; from outside the cluster: ssh -L 8265:127.0.0.1:8265 HEAD"
        ) from error
    with told("reach Ray"):
        return JobSubmissionClient(address)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Ray's client raises RuntimeError for whatever the server says."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        words = " ".join(str(error).split())[:300]
        raise UserError(f"could not {what}: {words or type(error).__name__}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    entrypoint: str
    fill: Callable[[Path], None]
    """Puts what travels with the job into this folder."""
    runtime_env: dict[str, Any]
    metadata: dict[str, str]


def submit(client: JobSubmissionClient, submission: Submission) -> str:
    """The job's id. What it carries is uploaded before this returns."""
    with tempfile.TemporaryDirectory(prefix="laconic-job-") as folder:
        submission.fill(Path(folder))
        with told("submit the job"):
            return client.submit_job(
                entrypoint=submission.entrypoint,
                runtime_env=submission.runtime_env | {"working_dir": folder},
                metadata=submission.metadata,
            )


def follow(client: JobSubmissionClient, job: str, say: Say) -> End:
    """Hand its log on until it ends. A connection that breaks is taken up where it was left."""
    log, lost_since = _Log(say), None
    while True:
        try:
            is_whole = asyncio.run(log.read(client, job))
            details = client.get_job_info(job)
            lost_since = None
            if details.status.is_terminal():
                if not is_whole:
                    log.show(client.get_job_logs(job))
                return end_of(details)
        except (RuntimeError, OSError, aiohttp.ClientError) as error:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > LOST_S:
                raise UserError(
                    f"the head is out of reach; job {job} may go on: {error}"
                ) from error
        time.sleep(AGAIN_S)


class _Log:
    """Of one job. Every attempt to read it begins with the first line: those that were shown are
    passed over."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._shown = 0

    async def read(self, client: JobSubmissionClient, job: str) -> bool:
        """To its end, or until nothing has come for long: False."""
        seen, rest = 0, ""
        chunks = client.tail_job_logs(job)
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                return False
            if chunk is None:
                break
            *lines, rest = (rest + chunk).split("\n")
            for line in lines:
                seen += 1
                self._show(seen, line)
        if rest:
            self._show(seen + 1, rest)
        return True

    def show(self, text: str) -> None:
        """All of it."""
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
            self._show(number, line)

    def _show(self, number: int, line: str) -> None:
        if number > self._shown:
            self._shown = number
            self._say(printable(line))


def end_of(details: JobDetails) -> End:
    return End(
        status=details.status.value,
        exit_code=details.driver_exit_code,
        message=" ".join((details.message or "").split())[:300],
        error_type=details.error_type,
    )


def describe(details: JobDetails) -> dict[str, Any]:
    """For ``laconic job``: nothing that is not plain data."""
    metadata = details.metadata or {}
    return {
        "id": details.submission_id,
        "status": details.status.value,
        "run": metadata.get("laconic_run"),
        "exit_code": details.driver_exit_code,
        "started": _time(details.start_time),
        "ended": _time(details.end_time),
        "dashboard_url": metadata.get("dashboard_url"),
        "message": " ".join((details.message or "").split())[:300],
    }


def rows(client: JobSubmissionClient) -> list[dict[str, Any]]:
    """Newest first; only jobs that were submitted, and not every driver that joined."""
    with told("list the jobs"):
        found = [describe(details) for details in client.list_jobs() if details.submission_id]
    return sorted(found, key=lambda row: row["started"] or "", reverse=True)


def row(client: JobSubmissionClient, job: str) -> dict[str, Any]:
    with told(f"find job {job}"):
        return describe(client.get_job_info(job))


def logs(client: JobSubmissionClient, job: str) -> str:
    with told(f"read the log of job {job}"):
        return "\n".join(map(printable, client.get_job_logs(job).split("\n")))


def stop(client: JobSubmissionClient, job: str, say: Say) -> dict[str, Any]:
    """SIGTERM, which lets the run commit its step; returns when the job has ended."""
    with told(f"stop job {job}"):
        client.stop_job(job)
        said = time.monotonic()
        while not (details := client.get_job_info(job)).status.is_terminal():
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(f"{job} is finishing its step")
            time.sleep(AGAIN_S)
    return describe(details)


def table(found: list[dict[str, Any]]) -> str:
    """One line each."""
    return "\n".join(map(_line, found))


def _line(row: dict[str, Any]) -> str:
    words = [row["id"], f"{row['status']:9}", row["run"] or "-", row["started"] or ""]
    if row["exit_code"] is not None:
        words.append(f"exit {row['exit_code']}")
    if row["status"] == "FAILED":
        words.append(row["message"])
    return printable("  ".join(words))


def _time(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))
