"""Others at the page's door: every question goes to a real server over a real socket."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from dashboard.demo.hostile import TEXTS
from dashboard.demo.write import write_demo
from verifiers.parent import die_with_parent

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-that-nobody-guesses-0123456789"
SECRET = "the file outside of the run"

pytestmark = [pytest.mark.row(29), pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    port: int

    def ask(
        self, path: str, method: str = "GET", body: Any = None, token: str | None = TOKEN,
        **headers: str,
    ) -> Answer:  # fmt: skip
        """As a browser on this machine would, but for what ``headers`` changes."""
        sent = {"Host": f"127.0.0.1:{self.port}"}
        sent |= {} if token is None else {"Authorization": f"Bearer {token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, body=data, headers=sent)
            answer = connection.getresponse()
            return Answer(
                status=answer.status,
                headers={name.lower(): value for name, value in answer.getheaders()},
                body=answer.read(),
            )
        finally:
            connection.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "secret.log").write_text(SECRET)
    write_demo(folder / "run", 1600, hostile=True, report=lambda line: None)
    return folder / "run"


@pytest.fixture(scope="module")
def door(run: Path) -> Iterator[Door]:
    token_file = run.parent / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    server = subprocess.Popen(
        [sys.executable, "-m", "dashboard.server", str(run), "--no-open", "--token-file",
         str(token_file)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(die_with_parent, os.getpid()),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (run / "dashboard.json").exists():
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield Door(port=json.loads((run / "dashboard.json").read_text())["port"])
    finally:
        server.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()


def test_the_owner_is_let_in(door: Door):
    answer = door.ask("/api/runs")

    assert answer.status == 200
    assert json.loads(answer.body)["runs"][0]["synthetic"] is True


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8421", "localhost.evil.example"])
@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/session"])
def test_another_name_for_this_machine_is_refused(door: Door, host: str, path: str):
    answer = door.ask(path, Host=host)

    assert answer.status in (400, 403, 421)
    assert b"synthetic" not in answer.body


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_another_origin_is_refused_with_any_method(door: Door, headers, method: str):
    path = "/api/ack" if method == "POST" else "/api/runs"
    answer = door.ask(path, method, {"id": "x"} if method == "POST" else None, **headers)

    assert answer.status in (403, 405)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x"])
@pytest.mark.parametrize(
    "path", ["/api/runs", "/api/sql?q=SELECT+1", "/api/log?file=x", "/api/live"]
)
def test_without_the_token_nothing_is_told(door: Door, token: str | None, path: str):
    assert door.ask(path, token=token).status == 401


def test_a_form_of_another_site_can_write_nothing(door: Door, run: Path):
    body = {"run": "run", "rollout_id": "000000.0.0", "tag": "owned"}

    assert door.ask("/api/annotate", "POST", body).status == 403
    assert not (run / "annotations.jsonl").exists()
    for method in ("DELETE", "PUT", "PATCH"):
        assert door.ask("/api/annotate", method, body).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.log", "/..%2fsecret.log", "/%2e%2e/secret.log", "/assets/../../../secret.log",
        "/assets/..%2f..%2f..%2fsecret.log", "/api/log?file=../../secret.log",
        "/api/log?file=..%2f..%2fsecret.log", "/api/log?file=%2fetc%2fpasswd",
        "/api/rollout/text?id=../../secret.log", "//etc/passwd", "/assets/%00",
    ],
)  # fmt: skip
def test_no_path_leads_out(door: Door, path: str):
    answer = door.ask(path)

    assert SECRET.encode() not in answer.body and b"root:" not in answer.body
    assert answer.status >= 400 or b"<script" in answer.body  # the page itself, and no file


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO '{secret}'",
        "SELECT 1; DROP TABLE rollouts",
        "ATTACH '{secret}' AS other",
        "SET enable_external_access=true",
        "INSTALL httpfs",
    ],
)
def test_sql_reads_no_other_file_and_writes_none(door: Door, run: Path, sql: str):
    from urllib.parse import quote  # noqa: PLC0415

    secret = run.parent / "secret.log"
    answer = door.ask(f"/api/sql?q={quote(sql.format(secret=secret))}")

    assert answer.status >= 400
    assert SECRET.encode() not in answer.body and b"root:" not in answer.body
    assert secret.read_text() == SECRET


def test_a_script_in_a_rollout_is_data_and_never_a_page(door: Door):
    answer = door.ask("/api/rollouts?limit=500&preview=1")
    rows = json.loads(answer.body)["rows"]
    scripts = [row for row in rows if "<script>" in json.dumps(row) or "onerror" in json.dumps(row)]
    text = door.ask(f"/api/rollout/text?id={scripts[0]['rollout_id']}")

    assert scripts
    for each in (answer, text):
        assert each.headers["content-type"].startswith("application/json")
        assert each.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in each.headers["content-security-policy"]
    assert TEXTS[1] == "<script>document.title='harmed'</script>"


def test_the_page_may_run_its_own_scripts_only(door: Door):
    policy = door.ask("/", token=None).headers["content-security-policy"]

    assert "script-src 'self'" in policy and "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "frame-ancestors" in policy and "base-uri 'none'" in policy
