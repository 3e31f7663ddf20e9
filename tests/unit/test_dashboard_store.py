"""The page's rows are the run's: no part twice, none missed, the last fate and attempt count."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from configs.run_files import MANIFEST, latest_rollouts
from dashboard.server.lines import LineTail
from dashboard.server.store import RolloutStore
from tests.dashboard_runs import WrittenRun, born
from tests.made_run import make_run


def ids(store: RolloutStore) -> list[str]:
    with store.snapshot() as db:
        return [name for (name,) in db.tuples("SELECT rollout_id FROM rollouts ORDER BY 1")]


def fates(store: RolloutStore) -> dict[str, str]:
    with store.snapshot() as db:
        return dict(db.tuples("SELECT rollout_id, fate::VARCHAR FROM rollouts"))


def test_rows_are_those_that_the_readers_of_the_run_directory_see(tmp_path: Path):
    asyncio.run(make_run(tmp_path / "run"))
    table = latest_rollouts(tmp_path / "run")

    store = RolloutStore(tmp_path / "run")
    store.refresh()

    assert ids(store) == sorted(table["rollout_id"].to_pylist())
    found = fates(store)
    for row in table.select(["rollout_id", "fate", "accepted"]).to_pylist():
        plain = "waiting" if row["accepted"] else "rejected"
        assert found[row["rollout_id"]] == (row["fate"] or plain)


def test_a_part_is_taken_in_once(tmp_path: Path):
    run = WrittenRun(tmp_path)
    store = RolloutStore(tmp_path)
    run.seal("meta", [born(0), born(1)])
    assert store.refresh() == 1
    assert store.refresh() == 0
    run.seal("meta", [born(2)])

    assert store.refresh() == 1

    assert ids(store) == ["000000.0.0", "000001.0.0", "000002.0.0"]


def test_a_compacted_part_brings_nothing_twice_and_its_rows_are_found_in_it(tmp_path: Path):
    run = WrittenRun(tmp_path)
    parts = [run.seal("meta", [born(number)]) for number in range(3)]
    store = RolloutStore(tmp_path)
    store.refresh()
    merged = run.seal("meta", [born(number) for number in range(3)], replaces=parts)
    for part in parts:
        (tmp_path / part).unlink()

    store.refresh()

    assert len(ids(store)) == 3
    assert {part.file for part in store.parts["meta"]} == {merged}
    fresh = RolloutStore(tmp_path)
    fresh.refresh()
    assert ids(fresh) == ids(store)


def test_a_later_attempt_replaces_a_group_whatever_comes_first(tmp_path: Path):
    run = WrittenRun(tmp_path)
    store = RolloutStore(tmp_path)
    run.seal("meta", [born(0, 0), born(0, 1), born(1)])
    store.refresh()
    run.seal("meta", [born(0, 0, attempt=1)])
    store.refresh()
    run.seal("meta", [born(0, 2)])  # late, of the first attempt

    store.refresh()

    assert ids(store) == ["000000.1.0", "000001.0.0"]


def test_a_rollout_that_is_recorded_again_counts_once(tmp_path: Path):
    run = WrittenRun(tmp_path)
    run.seal("meta", [born(0, n_tokens=1), born(0, n_tokens=2)])
    run.seal("meta", [born(0, n_tokens=3)])
    store = RolloutStore(tmp_path)

    store.refresh()

    with store.snapshot() as db:
        assert db.tuples("SELECT n_tokens FROM rollouts") == [(3,)]


@pytest.mark.parametrize("fate_first", [True, False])
def test_the_last_fate_counts_even_when_it_comes_before_its_rollout(
    tmp_path: Path, fate_first: bool
):
    run = WrittenRun(tmp_path)
    store = RolloutStore(tmp_path)

    def told(fate: str, step: int) -> None:
        run.seal("fate", [{"rollout_id": "000000.0.0", "fate": fate, "step": step}])

    if fate_first:
        told("stale", 1)
        store.refresh()
        run.seal("meta", [born(0), born(1, accepted=False, reason="wrong", verdict="wrong")])
    else:
        run.seal("meta", [born(0), born(1, accepted=False, reason="wrong", verdict="wrong")])
        store.refresh()
        told("stale", 1)
    store.refresh()
    assert fates(store) == {"000000.0.0": "stale", "000001.0.0": "rejected"}

    told("trained", 2)
    store.refresh()

    with store.snapshot() as db:
        assert db.tuples("SELECT fate::VARCHAR, step, stage FROM rollouts ORDER BY row") == [
            ("trained", 2, 7),
            ("rejected", None, 2),
        ]


def test_a_value_that_no_earlier_rollout_had_widens_its_column(tmp_path: Path):
    run = WrittenRun(tmp_path)
    store = RolloutStore(tmp_path)
    run.seal("meta", [born(0)])
    store.refresh()
    with store.snapshot() as before:
        run.seal("meta", [born(1, generator_id="engine'1\0‮")])
        store.refresh()
        assert before.one("SELECT count(*) FROM rollouts") == (1,)  # its moment

    with store.snapshot() as db:
        found = db.tuples("SELECT generator_id::VARCHAR FROM rollouts ORDER BY row")
    assert found == [("engine-0",), ("engine'1\0‮",)]


def test_a_torn_part_costs_only_its_own_rows(tmp_path: Path):
    run = WrittenRun(tmp_path)
    run.seal("meta", [born(0)])
    torn = run.seal("meta", [born(1)])
    run.seal("meta", [born(2)])
    path = tmp_path / torn
    path.write_bytes(path.read_bytes()[:-20])
    store = RolloutStore(tmp_path)

    store.refresh()

    assert ids(store) == ["000000.0.0", "000002.0.0"]
    assert list(store.damaged) == [torn]


def test_only_files_inside_the_run_are_opened(tmp_path: Path):
    outside = WrittenRun(tmp_path / "outside")
    secret = outside.seal("meta", [born(7)])
    run = WrittenRun(tmp_path / "run")
    for file in (f"../outside/{secret}", str(tmp_path / "outside" / secret)):
        run.list({"kind": "meta", "file": file, "rows": 1, "replaces": [], "boot": 1, "seq": 9})
    run.list({"kind": "nonsense", "file": "run.json"})
    run.seal("meta", [born(0)])
    store = RolloutStore(tmp_path / "run")

    store.refresh()

    assert ids(store) == ["000000.0.0"]


def test_a_folder_with_signs_of_a_pattern_in_its_name_is_read(tmp_path: Path):
    folder = tmp_path / "a=b [x]*?"
    run = WrittenRun(folder)
    run.seal("meta", [born(0)])
    store = RolloutStore(folder)

    store.refresh()

    assert ids(store) == ["000000.0.0"]


def test_a_run_that_is_made_anew_in_its_folder_is_read_anew(tmp_path: Path):
    run = WrittenRun(tmp_path / "run")
    run.seal("meta", [born(0), born(1)])
    store = RolloutStore(tmp_path / "run")
    store.refresh()
    shutil.rmtree(tmp_path / "run")
    WrittenRun(tmp_path / "run").seal("meta", [born(5)])

    store.refresh()

    assert ids(store) == ["000005.0.0"]


def test_a_half_written_line_waits_and_a_damaged_one_is_counted(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"b": "\\ud800"}\n{"c"')
    tail = LineTail(path)

    first = tail.read()
    with path.open("ab") as file:
        file.write(b": NaN}\n[1]\n")
    second = tail.read()

    assert [list(row) for row in first] == [["a"], ["b"]]
    assert first[1]["b"] == "?"
    assert [list(row) for row in second] == [["c"]]
    assert tail.damaged == 2
    assert tail.offset == path.stat().st_size


def test_a_torn_last_line_of_the_manifest_is_no_part_yet(tmp_path: Path):
    run = WrittenRun(tmp_path)
    run.seal("meta", [born(0)])
    manifest = tmp_path / MANIFEST
    whole = manifest.read_bytes()
    run.seal("meta", [born(1)])
    line = manifest.read_bytes()[len(whole) :]
    manifest.write_bytes(whole + line[:10])
    store = RolloutStore(tmp_path)
    store.refresh()
    assert len(ids(store)) == 1

    manifest.write_bytes(whole + line)
    store.refresh()

    assert len(ids(store)) == 2
    assert json.loads(line)["rows"] == 1
