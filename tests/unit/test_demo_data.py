"""The made-up run is what a recorder would have written: readers and accounts find nothing odd."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cluster.replay import replay
from configs.errors import UserError
from configs.load import load_resolved
from configs.run_files import SCHEMAS, latest_rollouts, read_jsonl, read_manifest, read_table
from dashboard.demo.hostile import TEXTS
from dashboard.demo.write import write_demo


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "made-up"
    write_demo(folder, 4000, report=lambda line: None)
    return folder


def test_every_decision_comes_out_the_same_when_it_is_made_by_the_judges_own_code(run: Path):
    found = replay(run, [])

    assert found.agreeing == found.rollouts
    assert found.rollouts + found.left_out == 4000
    assert {"wrong", "truncated", "over_budget", "branchy", "duplicate"} <= set(
        found.before.reasons
    )


def test_its_counts_add_up_to_its_rollouts_and_their_fates(run: Path):
    rows = latest_rollouts(run).to_pylist()
    counts = json.loads((run / "state.json").read_text())["counts"]
    fates = Counter(row["fate"] for row in rows if row["accepted"])

    assert counts["settled"] == len(rows) == 4000
    assert counts["accepted"] == sum(fates.values())
    assert counts["trained"] == fates["trained"]
    assert counts["queued"] == fates[None] > 0
    assert counts["dropped"] == {"stale": fates["stale"], "aborted": fates["aborted"]}
    assert counts["rejected"] == dict(Counter(row["reason"] for row in rows if row["reason"]))
    assert counts["generated_tokens"] == sum(row["n_tokens"] for row in rows)
    assert all(row["fate"] is None for row in rows if not row["accepted"])


def test_its_steps_count_what_its_rows_say(run: Path):
    fates = [row for row in latest_rollouts(run).to_pylist() if row["step"] is not None]
    by_step = Counter(row["step"] + 1 for row in fates)
    metrics = read_jsonl(run / "metrics.jsonl")

    assert [row["step"] for row in metrics] == list(range(1, len(metrics) + 1))
    assert {row["step"]: row["accepted"] for row in metrics} == by_step
    assert any("loss" in row.get("nan", ()) for row in metrics)


def test_parts_have_the_columns_and_the_rows_that_the_manifest_says(run: Path):
    entries = read_manifest(run)

    assert {entry["kind"] for entry in entries} == set(SCHEMAS) - {"gauges", "engines"}
    for entry in entries:
        with pq.ParquetFile(run / entry["file"]) as part:
            assert part.metadata.num_rows == entry["rows"]
            assert part.schema_arrow.equals(SCHEMAS[entry["kind"]])


def test_a_tokens_end_is_where_its_text_ends(run: Path):
    texts = {row["rollout_id"]: row["text"] for row in read_table(run, "text").to_pylist()}
    meta = {row["rollout_id"]: row for row in read_table(run, "meta").to_pylist()}
    rows = read_table(run, "tokens").to_pylist()

    assert len(rows) > 10
    for row in rows:
        assert len(row["ends"]) == len(row["logp"]) == meta[row["rollout_id"]]["n_tokens"]
        assert row["ends"] == sorted(row["ends"])
        assert row["ends"][-1] == len(texts[row["rollout_id"]].encode())


def test_older_attempts_and_texts_that_were_dropped_are_among_them(run: Path):
    meta = read_table(run, "meta").to_pylist()
    texts = set(read_table(run, "text")["rollout_id"].to_pylist())

    assert {row["attempt"] for row in meta} == {0, 1}
    assert any(row["text_level"] == "dropped" for row in meta)
    for row in meta:
        assert (row["rollout_id"] in texts) == (row["text_level"] == "all")
        assert row["first_version"] <= row["last_version"]
        assert row["start_us"] < row["end_us"]


def test_it_says_that_it_is_synthetic_and_its_settings_are_a_runs(run: Path):
    assert json.loads((run / "run.json").read_text())["synthetic"] is True
    assert load_resolved(run / "resolved.yaml").filter.length_budget == 512


def test_the_same_seed_gives_the_same_rows(run: Path, tmp_path: Path):
    write_demo(tmp_path / "again", 4000, report=lambda line: None)
    write_demo(tmp_path / "other", 4000, seed=1, report=lambda line: None)

    assert read_table(tmp_path / "again", "meta").equals(read_table(run, "meta"))
    assert not read_table(tmp_path / "other", "meta").equals(read_table(run, "meta"))


def test_hostile_texts_are_there_when_asked_for(tmp_path: Path):
    write_demo(tmp_path / "run", 16_000, hostile=True, report=lambda line: None)

    text = "".join(read_table(tmp_path / "run", "text")["text"].to_pylist())
    assert all(harm in text for harm in TEXTS)
    assert TEXTS[0] in "".join(read_table(tmp_path / "run", "problems")["text"].to_pylist())


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path):
    (tmp_path / "mine").write_text("precious")

    with pytest.raises(UserError, match="exists; choose another folder"):
        write_demo(tmp_path, 4000, report=lambda line: None)
    with pytest.raises(UserError, match="too few"):
        write_demo(tmp_path / "new", 3, report=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
