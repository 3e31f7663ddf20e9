"""What a reader of a run directory may rely on, whatever a crash left in it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.run_files import (
    FOLDERS,
    MANIFEST,
    SCHEMAS,
    Kind,
    latest_rollouts,
    part_name,
    read_jsonl,
    read_manifest,
    read_table,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "lr=1e-6"  # a name that pyarrow's data sets would read as a column
    for folder in FOLDERS.values():
        (run / folder).mkdir(parents=True)
    return run


def seal(run: Path, kind: Kind, seq: int, rows: list[dict], *, replaces: tuple[str, ...] = ()):
    """A part as the recorder writes it, with only the columns that the rows have."""
    file = f"{FOLDERS[kind]}/{part_name(1, seq)}"
    pq.write_table(pa.Table.from_pylist(rows), run / file)
    entry = {"kind": kind, "file": file, "rows": len(rows), "replaces": list(replaces)}
    with (run / MANIFEST).open("a") as manifest:
        manifest.write(json.dumps(entry) + "\n")
    return file


def birth(ticket: int, attempt: int, sample: int, **columns) -> dict:
    return {
        "rollout_id": f"{ticket:06d}.{attempt}.{sample}",
        "group_id": f"{ticket:06d}.{attempt}",
        "attempt": attempt,
        "sample": sample,
        **columns,
    }


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_run_that_recorded_nothing_reads_as_an_empty_table(tmp_path: Path, kind: Kind):
    table = read_table(tmp_path, kind)

    assert (table.num_rows, table.schema) == (0, SCHEMAS[kind])


def test_parts_are_read_in_the_order_of_sealing_and_missing_columns_are_null(run: Path):
    seal(run, "fate", 10, [{"rollout_id": "a", "fate": "trained", "step": 3}])
    seal(run, "meta", 3, [birth(1, 0, 0)])
    seal(run, "fate", 9, [{"fate": "stale", "rollout_id": "b"}])

    table = read_table(run, "fate")

    assert table.schema == SCHEMAS["fate"]
    assert table.select(["rollout_id", "fate", "step"]).to_pylist() == [
        {"rollout_id": "a", "fate": "trained", "step": 3},
        {"rollout_id": "b", "fate": "stale", "step": None},
    ]


def test_a_part_that_the_manifest_does_not_name_is_never_opened(run: Path):
    seal(run, "text", 0, [{"rollout_id": "a", "text": "x"}])
    (run / FOLDERS["text"] / part_name(1, 1)).write_bytes(b"PAR1 torn")

    assert read_table(run, "text")["text"].to_pylist() == ["x"]


@pytest.mark.parametrize("torn", ['{"kind": "te', '{"kind": "text"}', '{"a": "\udcff'])
def test_a_last_line_without_its_newline_does_not_count(run: Path, torn: str):
    seal(run, "text", 0, [{"rollout_id": "a", "text": "x"}])
    with (run / MANIFEST).open("ab") as manifest:
        manifest.write(torn.encode("utf-8", "surrogateescape"))

    assert len(read_jsonl(run / MANIFEST)) == 1
    assert read_table(run, "text").num_rows == 1


def test_lines_end_at_newlines_only_and_not_at_what_unicode_calls_one(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"text": "a\u2028b\x85c"}\n', encoding="utf-8")

    assert read_jsonl(path) == [{"text": "a\u2028b\x85c"}]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step"\n{"step": 3}\n')

    with pytest.raises(ValueError, match=r"metrics\.jsonl line 2"):
        read_jsonl(path)


def test_a_part_that_was_replaced_is_not_read_twice(run: Path):
    parts = [seal(run, "text", seq, [{"rollout_id": str(seq)}]) for seq in range(3)]
    seal(run, "text", 7, [{"rollout_id": "0"}, {"rollout_id": "1"}], replaces=tuple(parts[:2]))

    assert read_manifest(run)[0]["file"] == parts[2]
    assert read_table(run, "text")["rollout_id"].to_pylist() == ["2", "0", "1"]


def test_a_group_that_was_handed_out_again_replaces_its_older_attempt(run: Path):
    seal(run, "meta", 0, [birth(7, 9, 0), birth(7, 9, 1), birth(8, 0, 0), birth(1000007, 0, 0)])
    seal(run, "meta", 1, [birth(7, 10, 0)])  # "10" < "9" as text
    seal(run, "meta", 2, [birth(8, 0, 1)])

    table = latest_rollouts(run)

    assert table["rollout_id"].to_pylist() == [
        "000008.0.0",
        "1000007.0.0",
        "000007.10.0",
        "000008.0.1",
    ]


def test_a_rollout_that_was_recorded_twice_counts_once_as_it_was_last(run: Path):
    seal(run, "meta", 0, [birth(7, 0, 0, verdict="wrong")])
    seal(run, "meta", 1, [birth(7, 0, 0, verdict="correct")])

    assert latest_rollouts(run)["verdict"].to_pylist() == ["correct"]


def test_the_last_fate_wins_and_a_rollout_without_one_keeps_its_place(run: Path):
    seal(run, "meta", 0, [birth(1, 0, 0), birth(1, 0, 1), birth(2, 0, 0), birth(3, 1, 0)])
    seal(
        run,
        "fate",
        0,
        [
            {"rollout_id": "000002.0.0", "fate": "lost", "step": 1},
            {"rollout_id": "000003.0.0", "fate": "trained", "step": 2},  # of an older attempt
            {"rollout_id": "000001.0.0", "fate": "stale", "step": 2},
        ],
    )
    seal(run, "fate", 1, [{"rollout_id": "000002.0.0", "fate": "trained", "step": 4}])

    table = latest_rollouts(run)

    assert table.select(["rollout_id", "fate", "step"]).to_pylist() == [
        {"rollout_id": "000001.0.0", "fate": "stale", "step": 2},
        {"rollout_id": "000001.0.1", "fate": None, "step": None},
        {"rollout_id": "000002.0.0", "fate": "trained", "step": 4},
        {"rollout_id": "000003.1.0", "fate": None, "step": None},
    ]
    assert table.column_names == SCHEMAS["meta"].names + SCHEMAS["fate"].names[1:]


def test_no_rollout_at_all_is_an_empty_table(tmp_path: Path):
    assert latest_rollouts(tmp_path).num_rows == 0
