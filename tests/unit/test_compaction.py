"""Merged parts hold the rows of the small ones, in their order, whenever the merging stops."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from actors import compaction
from actors.compaction import (
    PARTS,
    READERS_S,
    Compaction,
    NotMerged,
    remove_leftovers,
)
from actors.line_file import LineFile, encode
from actors.part_file import write_part
from actors.recorder_rows import fate_row
from configs.run_files import (
    FOLDERS,
    MANIFEST,
    SCHEMAS,
    Fate,
    read_jsonl,
    read_manifest,
    read_table,
)
from dashboard.server.store import RolloutStore
from tests.dashboard_runs import WrittenRun, born


@pytest.fixture
def merging(tmp_path: Path) -> Compaction:
    for folder in FOLDERS.values():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    return Compaction(run_dir=tmp_path, manifest=LineFile(tmp_path / MANIFEST))


def seal(merging: Compaction, boot: int, seq: int, rows: int = 2) -> None:
    """A part of fates, sealed as the journal does."""
    fates = [
        fate_row(Fate(rollout_id=f"{boot}.{seq}.{row}", fate="trained", version=seq), seq)
        for row in range(rows)
    ]
    file = f"{FOLDERS['fate']}/part-{boot}-{seq}.parquet"
    write_part(pa.Table.from_pylist(fates, SCHEMAS["fate"]), merging.run_dir / file)
    entry: dict[str, Any] = {
        "kind": "fate", "file": file, "rows": rows, "versions": [seq, seq], "times": [seq, seq],
        "replaces": [], "boot": boot, "seq": seq,
    }  # fmt: skip
    merging.manifest.append(encode(entry))
    merging.sealed(entry)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.monotonic()]
    monkeypatch.setattr(compaction.time, "monotonic", lambda: now[0])
    return now


def files(run: Path) -> set[str]:
    return {path.name for path in (run / FOLDERS["fate"]).iterdir()}


def rows(seqs: range) -> list[str]:
    """Of parts of the first boot."""
    return [f"1.{seq}.{row}" for seq in seqs for row in range(2)]


def rows_of(run: Path) -> list[str]:
    return read_table(run, "fate")["rollout_id"].to_pylist()


def test_many_small_parts_become_one_with_the_same_rows(merging: Compaction, tmp_path: Path):
    for seq in range(2 * PARTS):
        seal(merging, 1, seq)
        merging.run()

    entries = read_manifest(tmp_path)
    assert rows_of(tmp_path) == [f"1.{seq}.{row}" for seq in range(2 * PARTS) for row in range(2)]
    assert len(entries) < PARTS
    assert sum(entry["rows"] for entry in entries) == 4 * PARTS
    whole = max(entries, key=lambda entry: entry["rows"])
    assert whole["versions"] == whole["times"] == [0, whole["rows"] // 2 - 1]


def test_a_large_part_is_not_written_again(
    merging: Compaction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compaction, "LARGE", 10)
    for seq in range(15):
        seal(merging, 1, seq)
        merging.run()

    assert [entry["rows"] for entry in read_manifest(tmp_path)] == [10, 10, 10]
    assert rows_of(tmp_path) == [f"1.{seq}.{row}" for seq in range(15) for row in range(2)]


def test_parts_of_two_boots_are_not_mixed(merging: Compaction, tmp_path: Path):
    for boot in (1, 2):
        for seq in range(PARTS):
            seal(merging, boot, seq)
    merging.run()

    assert [(entry["boot"], entry["rows"]) for entry in read_manifest(tmp_path)] == [
        (1, 2 * PARTS), (2, 2 * PARTS),
    ]  # fmt: skip


def test_a_merge_that_dies_before_the_manifest_says_so_changes_nothing(
    merging: Compaction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for seq in range(PARTS):
        seal(merging, 1, seq)
    before = rows_of(tmp_path)

    def die(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(compaction, "failpoint", die)
    with pytest.raises(NotMerged, match=r"recorder\.compacted"):
        merging.run()
    assert rows_of(tmp_path) == before
    assert list((tmp_path / FOLDERS["fate"]).glob("merged-*"))

    remove_leftovers(tmp_path)
    assert not list((tmp_path / FOLDERS["fate"]).glob("merged-*"))
    monkeypatch.undo()
    merging.run()
    assert rows_of(tmp_path) == before
    assert len(read_manifest(tmp_path)) == PARTS, "they are not tried again"

    for seq in range(PARTS, 2 * PARTS):
        seal(merging, 1, seq)
    merging.run()
    assert rows_of(tmp_path) == [*before, *rows(range(PARTS, 2 * PARTS))]
    assert len(read_manifest(tmp_path)) == PARTS + 1


def spoil(part: Path) -> None:
    """Its end, where a reader begins."""
    part.write_bytes(part.read_bytes()[:-8] + b"8 bytes!")


def vanish(part: Path) -> None:
    part.unlink()


@pytest.mark.parametrize("damage", [spoil, vanish])
def test_a_damaged_part_stays_small_with_its_neighbours_and_others_are_merged(
    merging: Compaction, tmp_path: Path, damage: Callable[[Path], None]
):
    for boot in (1, 2):
        for seq in range(PARTS):
            seal(merging, boot, seq)
    damage(tmp_path / FOLDERS["fate"] / "part-1-3.parquet")

    with pytest.raises(NotMerged, match=r"^32 parts, .*/part-1-0\.parquet to .*31\.parquet: .+$"):
        merging.run()
    merging.run()

    merged = [entry["file"] for entry in read_manifest(tmp_path) if entry["replaces"]]
    assert merged == [f"{FOLDERS['fate']}/merged-2-0-{PARTS - 1}.parquet"]


def test_small_parts_stay_for_those_who_read_them(
    merging: Compaction, tmp_path: Path, clock: list[float]
):
    for seq in range(2 * PARTS):
        seal(merging, 1, seq)
        merging.run()
        clock[0] += 1

    clock[0] += READERS_S - PARTS - 2
    merging.run()
    assert files(tmp_path) >= {f"part-1-{seq}.parquet" for seq in range(2 * PARTS)}

    clock[0] += 2
    merging.run()
    assert files(tmp_path).isdisjoint(f"part-1-{seq}.parquet" for seq in range(PARTS))
    assert files(tmp_path) >= {f"part-1-{seq}.parquet" for seq in range(PARTS, 2 * PARTS)}

    clock[0] += PARTS
    merging.run()
    assert files(tmp_path) == {Path(entry["file"]).name for entry in read_manifest(tmp_path)}
    assert len(rows_of(tmp_path)) == 4 * PARTS


@pytest.mark.parametrize("age_s", [READERS_S + 1, READERS_S - 9, -3600])
def test_a_process_that_starts_again_removes_what_the_one_before_replaced(
    merging: Compaction, tmp_path: Path, clock: list[float], age_s: float
):
    """Not sooner, and not later even where a clock was set back."""
    for seq in range(PARTS):
        seal(merging, 1, seq)
    merging.run()
    [merged] = (tmp_path / FOLDERS["fate"]).glob("merged-*")
    os.utime(merged, (0, time.time() - age_s))

    again = Compaction(run_dir=tmp_path, manifest=merging.manifest)
    again.run()
    assert (files(tmp_path) == {merged.name}) == (age_s > READERS_S)

    clock[0] += 10 if age_s > 0 else READERS_S + 1
    again.run()
    assert files(tmp_path) == {merged.name}
    assert len(rows_of(tmp_path)) == 2 * PARTS


def test_the_manifest_is_read_where_a_process_starts_and_never_after(
    merging: Compaction, monkeypatch: pytest.MonkeyPatch, clock: list[float]
):
    removed: list[str] = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        removed.append(path.name)

    monkeypatch.setattr(compaction, "read_jsonl", None)
    monkeypatch.setattr(Path, "unlink", unlink)
    for seq in range(3 * PARTS):
        seal(merging, 1, seq)
        merging.run()
        clock[0] += READERS_S / 4

    assert len(removed) == 2 * PARTS
    assert len(removed) == len(set(removed)), "each file once"


def test_a_page_that_reads_meanwhile_sees_each_row_once(tmp_path: Path):
    run = WrittenRun(tmp_path)
    merging = Compaction(run_dir=tmp_path, manifest=LineFile(tmp_path / MANIFEST))
    page = RolloutStore(tmp_path)
    seen = []
    for number in range(3 * PARTS):
        run.seal("meta", [born(number, sample) for sample in range(2)])
        merging.sealed(read_jsonl(tmp_path / MANIFEST)[-1])
        merging.run()
        if number % 7 == 0:
            page.refresh()
            seen.append((2 * (number + 1), rollouts_on(page)))
    page.refresh()
    late = RolloutStore(tmp_path)
    late.refresh()

    assert len(read_manifest(tmp_path)) < PARTS
    assert all(sealed == shown for sealed, shown in seen)
    assert rollouts_on(page) == rollouts_on(late) == 6 * PARTS


def rollouts_on(page: RolloutStore) -> int:
    with page.snapshot() as snapshot:
        rows, different = snapshot.one("SELECT count(*), count(DISTINCT rollout_id) FROM rollouts")
    assert rows == different
    return rows
