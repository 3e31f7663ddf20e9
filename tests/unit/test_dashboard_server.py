"""Who may ask the page what, and what it says of runs and questions that are wrong."""

import json
import os
import shutil
import socket
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from dashboard.server.live import new_rows
from dashboard.server.run import Run
from dashboard.server.security import CONTENT_SECURITY
from dashboard.server.serve import Wanted, address_of, find_runs, listen, settle
from dashboard.server.settings import Settings, read_or_make_token, token_for
from tests.dashboard_runs import WrittenRun, asking, born, client

TOKEN = "a-token-of-more-than-sixteen"


@pytest.fixture
def run(tmp_path: Path) -> WrittenRun:
    written = WrittenRun(tmp_path / "run")
    written.seal("meta", [born(0), born(1)])
    return written


# Who may ask.


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8421", 200),
        ("127.0.0.1:8421", 200),
        ("[::1]:8421", 200),
        ("10.1.2.3:8421", 200),
        ("known.example:8421", 200),
        ("run.localhost", 200),
        ("evil.example", 421),
        ("evil.example:8421", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_only_names_that_nobody_else_can_point_here_are_answered(
    run: WrittenRun, host: str, status: int
):
    page = client(run.folder, allowed_hosts=("known.example",))

    assert page.get("/api/runs", headers={"host": host}).status_code == status
    assert page.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_other_sites_in_the_same_browser_are_not_answered(
    run: WrittenRun, headers: dict[str, str], status: int
):
    assert client(run.folder).get("/api/runs", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
    ],
)
def test_a_page_with_a_token_answers_only_who_has_it(
    run: WrittenRun, authorization: str | None, status: int
):
    page = client(run.folder, token=TOKEN)
    headers = {"authorization": authorization} if authorization else {}

    for path in ("/api/runs", "/api/rollouts", "/api/live/poll", "/api/sql?q=SELECT+1"):
        assert page.get(path, headers=headers).status_code == status, path
    assert page.get("/", headers=headers).status_code == 200  # the shell says nothing
    assert run.folder.name not in page.get("/").text


def test_the_token_is_changed_for_a_cookie_of_this_server(run: WrittenRun):
    page = client(run.folder, token=TOKEN, instance="one")
    ours = {"x-laconic": "1"}
    assert page.get("/api/session").json()["authenticated"] is False
    assert page.post("/api/login", json={"token": "wrong"}, headers=ours).status_code == 401

    answer = page.post("/api/login", json={"token": TOKEN}, headers=ours)

    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 204
    assert cookie.startswith("laconic_one=") and TOKEN not in cookie
    assert "httponly" in cookie.lower() and "samesite=strict" in cookie.lower()
    value = cookie.partition("=")[2].partition(";")[0]
    for name, status in (("one", 200), ("two", 401)):
        fresh = client(run.folder, token=TOKEN, instance="one")
        headers = {"cookie": f"laconic_{name}={value}"}
        assert fresh.get("/api/runs", headers=headers).status_code == status
    other = client(run.folder, token=TOKEN, instance="two")
    headers = {"cookie": f"laconic_two={value}"}
    assert other.get("/api/runs", headers=headers).status_code == 401


def test_a_form_of_another_site_can_post_nothing(run: WrittenRun):
    page = client(run.folder)
    body = {"run": "run", "rollout_id": "000000.0.0", "tag": "good"}

    assert page.post("/api/annotate", json=body).status_code == 403
    form = page.post("/api/annotate", data=body, headers={"x-laconic": "1"})
    assert form.status_code == 400
    huge = {**body, "note": "x" * 100_000}
    assert page.post("/api/annotate", json=huge, headers={"x-laconic": "1"}).status_code == 503
    assert not (run.folder / "annotations.jsonl").exists()


def test_every_answer_has_the_headers_that_keep_a_page_harmless(run: WrittenRun):
    page = client(run.folder)

    for path in ("/", "/api/runs", "/api/nothing", "/nothing"):
        headers = page.get(path).headers
        assert headers["content-security-policy"] == CONTENT_SECURITY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path", ["/../run.json", "/%2e%2e/server/app.py", "/assets/../../app.py", "/BUILD.json"]
)
def test_no_file_but_the_page_is_sent(run: WrittenRun, path: str):
    answer = client(run.folder).get(path)

    assert answer.status_code == 404 or "import" not in answer.text


# Starting.


def test_a_host_that_others_reach_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dashboard.server.settings.TOKEN_FILE", tmp_path / "made" / "token")
    base = {"token_file": None, "wants_token": False, "unsafe_no_auth": False}
    assert token_for(host="127.0.0.1", **base) is None

    token = token_for(host="0.0.0.0", **base)

    assert token is not None and len(token) > 30
    mode = (tmp_path / "made" / "token").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert token_for(host="0.0.0.0", **base) == token
    assert token_for(host="0.0.0.0", **{**base, "unsafe_no_auth": True}) is None


@pytest.mark.parametrize(("text", "mode"), [("short\n", 0o600), (f"{TOKEN}\n", 0o644), ("", 0o600)])
def test_a_token_that_protects_nothing_is_refused(tmp_path: Path, text: str, mode: int):
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)

    with pytest.raises(UserError, match="--token-file"):
        read_or_make_token(path)


def test_the_address_carries_the_token_where_no_log_sees_it():
    settings = Settings(runs=(), token=TOKEN, root_path="/p")

    assert address_of(settings, 8421) == f"http://127.0.0.1:8421/p/#token={TOKEN}"
    assert TOKEN not in repr(settings)


def test_a_second_page_takes_the_next_port_unless_it_was_told_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(UserError, match=f"--port {port} is taken"):
            listen(Settings(runs=(), port=port))

    first = listen(Settings(runs=()))
    second = listen(Settings(runs=()))
    with first, second:
        assert first.getsockname()[1] != second.getsockname()[1]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"runs": [Path("nowhere")]}, "nowhere does not exist"),
        ({"runs": [Path(__file__)]}, "is no folder"),
        ({"runs": [Path()], "root_path": "p"}, "must begin with a slash"),
        ({"runs": [Path()], "memory_gib": 0.1}, "--memory-gib"),
        ({"runs": [Path()], "unsafe_no_auth": True, "token": True}, "exclude each other"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line(wanted: dict, words: str):
    with pytest.raises(UserError, match=words):
        settle(Wanted(**wanted))


def test_a_folder_of_runs_shows_all_of_them_the_newest_first(tmp_path: Path):
    for age, name in enumerate(("old", "new")):
        WrittenRun(tmp_path / name)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "other").mkdir()

    assert [path.name for path in find_runs([tmp_path])] == ["new", "old"]


def test_a_proxy_may_strip_the_prefix_or_not(run: WrittenRun):
    page = client(run.folder, root_path="/p")

    assert page.get("/p/api/runs").json() == page.get("/api/runs").json()
    moved = page.get("/p", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, "/p/")
    assert page.get("/pp/api/runs").status_code == 404


# Runs that are wrong.


def test_an_empty_folder_waits_for_a_run(tmp_path: Path):
    ask = asking(tmp_path)

    [info] = ask("runs")["runs"]

    assert (info["status"], info["rollouts"]) == ("empty", 0)
    assert "run.json" in info["problem"]
    for view in ("overview", "lengths", "funnel", "whatif", "rollouts", "facets", "problems",
                 "pipeline", "generators", "learner", "evals", "health", "logs", "config",
                 "pareto", "metrics", "values", "events", "compare", "live/poll"):  # fmt: skip
        ask(view)


def test_a_run_that_appears_later_is_shown(tmp_path: Path):
    ask = asking(tmp_path)
    assert ask("rollouts")["total"] == 0
    WrittenRun(tmp_path).seal("meta", [born(0)])

    page = client(tmp_path)

    assert page.get("/api/rollouts").json()["total"] == 1


def test_a_run_of_a_newer_version_is_named(run: WrittenRun):
    (run.folder / "run.json").write_text(json.dumps({"format": 2, "starts": []}))
    page = client(run.folder)

    answer = page.get("/api/rollouts")

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "newer_version"
    assert "newer version" in answer.json()["error"]["message"]
    assert page.get("/api/runs").json()["runs"][0]["status"] == "unreadable"


def test_a_run_that_is_deleted_under_the_page_is_named(run: WrittenRun):
    page = client(run.folder)
    assert page.get("/api/rollouts").status_code == 200
    shutil.rmtree(run.folder)

    answer = page.get("/api/rollout?id=000000.0.0")

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "deleted"
    assert page.get("/api/runs").json()["runs"][0]["status"] == "unreadable"


def test_files_that_are_half_written_or_nonsense_break_no_view(run: WrittenRun):
    for name in ("state.json", "run.json", "summary.json", "resolved.yaml", "sources.json"):
        (run.folder / name).write_text('{"phase": "trai')
    for name in ("metrics.jsonl", "events.jsonl", "history.jsonl", "verdicts.jsonl"):
        (run.folder / name).write_text('{"step": 1, "loss": NaN}\n[]\n{"kind"')
    (run.folder / "annotations.jsonl").write_text("x\n{}\n")
    ask = asking(run.folder)

    for view in ("overview", "metrics", "events", "pipeline", "generators", "learner", "health",
                 "config", "compare"):  # fmt: skip
        ask(view)
    assert ask("metrics")["series"][0]["step"] == [1]


def test_a_line_of_a_megabyte_and_hostile_text_come_through_as_text(tmp_path: Path):
    hostile = "<img src=x onerror=alert(1)>\\href{javascript:x}{y}‮\0\x1b[31m" + "x" * 1_100_000
    run = WrittenRun(tmp_path / "run")
    run.seal("text", [{"rollout_id": "000000.0.0", "text": hostile, "answer_start": 3}])
    run.list({"kind": "none"})
    run._seq = 0
    run.seal(
        "meta", [born(0, text_seq=0, answer=hostile, text_level="all", problem_id=hostile[:99])]
    )
    (run.folder / "events.jsonl").write_text(
        json.dumps({"at_us": 1, "kind": "x", "text": hostile, "half": "\ud800"}) + "\n"
    )
    (run.folder / "logs").mkdir()
    (run.folder / "logs" / "a.log").write_text(f"2026-01-01 00:00:00,000 ERROR {hostile}\nend\n")
    page = client(run.folder)

    listed = page.get("/api/rollouts?preview=1").json()["rows"][0]
    text = page.get("/api/rollout/text?id=000000.0.0&characters=100").json()
    log = page.get("/api/log?file=a.log&bytes=1048576&from=0").json()

    assert listed["answer"] == hostile[:200] and listed["preview"] == hostile[:200]
    assert (text["text"], text["characters"]) == (hostile[:100], len(hostile))
    assert "\x1b" not in log["lines"][0]["text"] and log["lines"][0]["cut"] > 1_000_000
    assert log["lines"][0]["level"] == "ERROR"
    assert page.get("/api/events").json()["events"][0]["fields"]["half"] == "?"


@pytest.mark.parametrize(
    ("question", "parameter"),
    [
        ("rollouts?verdict=right&tokens_min=many", "tokens_min"),
        ("rollouts?sort=filters", "sort"),
        ("rollouts?limit=100000", "limit"),
        ("rollouts?stage=nowhere", "stage"),
        ("rollouts?q=(", "q"),
        ("rollouts?population=all", "population"),
        ("facets?facet=text", "facet"),
        ("rollout", "id"),
        ("lengths?part=words", "part"),
        ("whatif/apply?length=1&factor=2", "factor"),
        ("whatif/apply?set=nothing:1", "set"),
        ("live/poll?after=../x", "after"),
        ("log?file=../run.json", "file"),
        ("evals/flips?a=x", "a"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(run: WrittenRun, question: str, parameter: str):
    answer = client(run.folder).get(f"/api/{question}")

    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["parameter"] == parameter


def test_unknown_runs_and_rollouts_and_addresses_are_not_found(run: WrittenRun):
    page = client(run.folder)

    for path in ("rollouts?run=other", "rollout?id=1", "problem?id=1", "nothing"):
        assert page.get(f"/api/{path}").status_code == 404, path


@pytest.mark.parametrize(
    ("state", "started_s_ago", "status"),
    [
        ({}, 5, "live"),
        ({}, 5000, "silent"),
        ({"heartbeat_us": 0}, 5, "live"),
        ({"heartbeat_us": 60}, 5, "silent"),
        ({"heartbeat_us": 60, "phase": "finished"}, 5, "finished"),
        ({"heartbeat_us": 0, "phase": "stopped"}, 5, "stopped"),
    ],
)
def test_a_run_is_alive_while_it_says_so(
    run: WrittenRun, state: dict[str, Any], started_s_ago: int, status: str
):
    now = time.time()
    at = datetime.fromtimestamp(now - started_s_ago, UTC).isoformat()
    (run.folder / "run.json").write_text(json.dumps({"starts": [{"at": at}]}))
    if "heartbeat_us" in state:
        state = {**state, "heartbeat_us": int((now - state["heartbeat_us"]) * 1e6)}
        (run.folder / "state.json").write_text(json.dumps(state))

    assert asking(run.folder)("overview")["info"]["status"] == status


# Kept by the page.


def test_tags_and_notes_are_lines_that_filters_find(run: WrittenRun):
    page, ours = client(run.folder), {"x-laconic": "1"}
    body = {"run": "run", "rollout_id": "000001.0.0"}

    page.post("/api/annotate", json={**body, "tag": "odd", "note": "look here"}, headers=ours)
    found = page.get("/api/rollouts?tag=odd").json()

    assert [row["rollout_id"] for row in found["rows"]] == ["000001.0.0"]
    assert page.get("/api/rollout?id=000001.0.0").json()["notes"][0]["text"] == "look here"
    assert page.get("/api/values").json()["tag"] == [{"value": "odd", "count": 1}]
    page.post("/api/annotate", json={**body, "untag": "odd"}, headers=ours)
    assert page.get("/api/rollouts?tag=odd").json()["total"] == 0
    missing = {**body, "rollout_id": "9", "tag": "x"}
    assert page.post("/api/annotate", json=missing, headers=ours).status_code == 404


def test_the_cursor_tells_every_row_once_through_compaction_and_restart(run: WrittenRun):
    page = Run(run.folder, "run")
    page.refresh(0)
    cursor = page.cursor
    assert new_rows(page, "", page.cursor) == {"meta": 2}
    parts = [run.seal("meta", [born(2)]), run.seal("fate", [{"rollout_id": "x", "fate": "lost"}])]
    page.refresh(0)

    assert new_rows(page, cursor, page.cursor) == {"meta": 1, "fate": 1}
    later = page.cursor
    run.seal("meta", [born(2)], replaces=parts[:1])
    again = Run(run.folder, "run")  # another server
    again.refresh(0)
    assert new_rows(again, later, again.cursor) == {}
    assert new_rows(again, cursor, again.cursor) == {"meta": 1, "fate": 1}


def test_an_answer_that_did_not_change_is_not_sent_again(run: WrittenRun):
    page = client(run.folder)
    tag = page.get("/api/funnel").headers["etag"]

    assert page.get("/api/funnel", headers={"if-none-match": tag}).status_code == 304
    run.seal("meta", [born(2)])
    fresh = client(run.folder).get("/api/funnel", headers={"if-none-match": tag})
    assert fresh.status_code == 200
