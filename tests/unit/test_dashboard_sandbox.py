"""SQL of somebody who is not trusted: one SELECT over the run's own rows, and nothing else."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from cluster.query import query
from configs.errors import UserError
from configs.run_files import latest_rollouts
from dashboard.server import sandbox
from dashboard.server.errors import Refused
from tests.dashboard_runs import WrittenRun, asking, born, client
from tests.made_run import make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    written = WrittenRun(tmp_path / "run")
    written.seal("meta", [born(0), born(1, accepted=False, reason="wrong", verdict="wrong")])
    written.seal("fate", [{"rollout_id": "000000.0.0", "fate": "trained", "step": 1}])
    (tmp_path / "secret.csv").write_text("a\n1\n")
    return written.folder


@pytest.mark.parametrize(
    "question",
    [
        "SELECT * FROM read_csv('{0}/../secret.csv')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('{0}/rollouts/meta/../../../secret.csv')",
        "SELECT * FROM read_text('{0}/run.json')",
        "COPY (SELECT 1) TO '{0}/out.csv'",
        "EXPORT DATABASE '{0}/out'",
        "ATTACH '{0}/out.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA enable_logging",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{0}/out.csv'",
        "",
        "SELEC",
        "SELECT * FROM sandbox",
    ],
)
def test_nothing_but_a_select_over_the_run_is_answered(run: Path, question: str):
    before = sorted(path for path in run.rglob("*"))

    with pytest.raises(Refused) as refused:
        sandbox.ask(run, question.replace("{0}", str(run)))

    assert refused.value.code == "sql"
    assert str(run) not in str(refused.value)
    assert sorted(path for path in run.rglob("*")) == before


def test_rollouts_are_those_that_count_with_their_last_fate(tmp_path: Path):
    asyncio.run(make_run(tmp_path / "run"))
    expected = latest_rollouts(tmp_path / "run")

    found = sandbox.ask(tmp_path / "run", "SELECT rollout_id, fate FROM rollouts ORDER BY 1")

    pairs = zip(expected["rollout_id"].to_pylist(), expected["fate"].to_pylist(), strict=True)
    assert found.rows == sorted(pairs)


def test_second_attempts_rows_and_fates_are_left_out(run: Path):
    written = WrittenRun(run.parent / "other")
    written.seal("meta", [born(0), born(0, 1), born(1), born(1, n_tokens=99)])
    written.seal("meta", [born(0, attempt=1)])
    for fate in ("stale", "trained"):
        written.seal("fate", [{"rollout_id": "000001.0.0", "fate": fate, "step": 1}])

    found = sandbox.ask(
        written.folder, "SELECT rollout_id, n_tokens, fate FROM rollouts ORDER BY 1"
    )

    assert found.rows == [("000000.1.0", 10, None), ("000001.0.0", 99, "trained")]


def test_a_question_that_takes_too_long_is_stopped(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    began = time.monotonic()

    with pytest.raises(Refused) as refused:
        sandbox.ask(run, "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b")

    assert refused.value.code == "timeout"
    assert time.monotonic() - began < 20


def test_too_many_rows_are_cut_and_that_is_said(run: Path):
    found = sandbox.ask(run, "SELECT * FROM range(10001)")

    assert (len(found.rows), found.truncated) == (sandbox.ROWS, True)
    exact = sandbox.ask(run, "SELECT * FROM range(10000)")
    assert (len(exact.rows), exact.truncated) == (sandbox.ROWS, False)
    wide = sandbox.ask(run, "SELECT repeat('x', 10000000) FROM range(100)")
    assert wide.truncated and len(wide.rows) < 10


def test_values_that_json_lacks_become_text(run: Path):
    question = "SELECT 9007199254740993::BIGINT AS a, 'nan'::DOUBLE AS b, DATE '2026-01-02' AS c"

    found = asking(run)("sql", q=question)

    assert found["rows"] == [["9007199254740993", "nan", "2026-01-02"]]
    assert [column["name"] for column in found["columns"]] == ["a", "b", "c"]


def test_a_cell_that_a_spreadsheet_would_run_is_quoted(run: Path):
    answer = client(run).get("/api/sql", params={"q": "SELECT '=1+1' AS a", "format": "csv"})

    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == "a\n'=1+1\n"


def test_every_example_runs(run: Path):
    for _, question in sandbox.EXAMPLES:
        sandbox.ask(run, question)
    described = asking(run)("sql/tables")
    assert [table["name"] for table in described["tables"]] == ["rollouts", *sandbox.TABLES]


def test_a_page_without_sql_answers_none(run: Path):
    page = client(run, sql=False)

    assert page.get("/api/sql?q=SELECT+1").status_code == 403
    assert page.get("/api/session").json()["sql"] is False


def test_the_command_answers_the_same(run: Path):
    question = "SELECT rollout_id, accepted, reason, fate FROM rollouts ORDER BY rollout_id"
    said: list[str] = []

    table = query(run, question, "table", said.append)
    rows = json.loads(query(run, question, "json", said.append))

    assert table.splitlines()[0].split() == ["rollout_id", "accepted", "reason", "fate"]
    assert table.splitlines()[1].split() == ["000000.0.0", "True", "-", "trained"]
    assert rows[1]["reason"] == "wrong"
    assert query(run, question, "csv", said.append).startswith("rollout_id,accepted")
    assert "\x1b" not in query(run, "SELECT chr(27) || '[31m' AS x", "table", said.append)
    assert not said
    query(run, "SELECT * FROM range(20000)", "json", said.append)
    assert "10,000" in said[0]


@pytest.mark.parametrize(("folder", "words"), [("nowhere", "holds no run"), ("run", "Parser")])
def test_a_wrong_question_of_the_command_is_one_line(run: Path, folder: str, words: str):
    with pytest.raises(UserError, match=words):
        query(run.parent / folder, "SELEC", "table", print)
