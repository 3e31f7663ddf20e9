"""The recorder keeps every row exactly once, whatever kills it, and never stops the run."""

import asyncio
import json
import logging
import math
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import actors.compaction
import actors.journal
from actors.recorder import Recorder
from configs.run_files import (
    MANIFEST,
    Fate,
    Kind,
    latest_rollouts,
    read_jsonl,
    read_manifest,
    read_table,
)
from configs.schema import RecorderConfig
from verifiers.types import (
    Check,
    Completion,
    Decision,
    EvalSample,
    Group,
    JudgedGroup,
    Message,
    Problem,
    Ticket,
    Verdict,
)

NEVER = RecorderConfig(seal_s=3600.0, seal_rows=10**9)
"""Nothing is sealed unless a test asks for it."""


def problem(id: str = "p", content: str = "1+1?") -> Problem:
    return Problem(
        id=id,
        messages=(Message(role="user", content=content),),
        answer="2",
        source="sums",
        verifier="number",
        prompt_ids=(1, 2, 3),
    )


def judged(
    number: int, *, attempt: int = 0, texts: tuple[str, ...] = ("so </think>2</think>", "no")
):
    """A group whose first rollout is accepted and whose others are over budget."""
    ticket = Ticket(number=number, attempt=attempt, problem=problem(), size=len(texts), budget=9)
    completions = tuple(
        Completion(
            text=text,
            token_ids=tuple(range(5 + place)),
            finish_reason="stop",
            first_version=number,
            last_version=number + 1,
            start_us=1_000_000,
            end_us=1_002_500 + place,
        )
        for place, text in enumerate(texts)
    )
    group = Group(
        ticket=ticket,
        generator_id="engine-1",
        completions=completions,
        temperature=1.0,
        top_p=1.0,
        max_tokens=16,
    )
    over = Check(name="length", passed=False, value=math.nan, threshold=9.0)
    return JudgedGroup(
        group=group,
        verdicts=tuple(Verdict(status="correct", extracted="2", ms=0.5) for _ in texts),
        decisions=tuple(
            Decision(reason="over_budget" if place else None, checks=(over,))
            for place in range(len(texts))
        ),
    )


async def started(run: Path, config: RecorderConfig = NEVER) -> Recorder:
    recorder = Recorder(str(run), config)
    await recorder.start()
    return recorder


def ids(run: Path, kind: Kind = "meta") -> list[str]:
    return read_table(run, kind)["rollout_id"].to_pylist()


def wals(run: Path) -> list[Path]:
    return sorted((run / "rollouts").glob("wal-*"))


def dropped(run: Path) -> dict[str, int]:
    state = json.loads((run / "state.json").read_text())
    assert state["dropped"] == sum(state["dropped_by_kind"].values())
    return state["dropped_by_kind"]


@contextmanager
def full_disk(max_file_bytes: int) -> Iterator[None]:
    """The kernel refuses to let a file grow beyond the limit, in the middle of a write too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_rollout_is_recorded_with_its_decision_whether_accepted_or_not(tmp_path: Path):
    recorder = await started(tmp_path)

    await recorder.rollouts(judged(12, attempt=3))
    await recorder.flush()

    first, second = read_table(tmp_path, "meta").to_pylist()
    value = first.pop("filters")[0].pop("value")
    assert math.isnan(value)
    assert {k: v for k, v in first.items() if v is not None and k != "filters"} == {
        "rollout_id": "000012.3.0",
        "attempt": 3,
        "problem_id": "p",
        "is_expert": False,
        "group_id": "000012.3",
        "sample": 0,
        "source": "sums",
        "generator_id": "engine-1",
        "first_version": 12,
        "last_version": 13,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 16,
        "budget": 9,
        "start_us": 1_000_000,
        "end_us": 1_002_500,
        "gen_ms": 2.5,
        "verify_ms": 0.5,
        "n_prompt": 3,
        "n_tokens": 5,
        "repetition": 0.0,
        "finish_reason": "stop",
        "answer": "2",
        "verdict": "correct",
        "accepted": True,
        "text_seq": 0,
        "text_level": "all",
        "origin": "self",
        "propensity": 1.0,
        "explores": False,
        "seen": 0,
        "size": 2,
        "reward": 1.0,
    }
    assert (second["accepted"], second["reason"], second["sample"]) == (False, "over_budget", 1)
    assert second["filters"][0]["pass"] is False
    assert read_table(tmp_path, "text").to_pylist() == [
        {"rollout_id": "000012.3.0", "text": "so </think>2</think>", "answer_start": 11},
        {"rollout_id": "000012.3.1", "text": "no", "answer_start": None},
    ]
    await recorder.close()


async def test_means_over_the_tokens_are_recorded_where_there_are_some(tmp_path: Path):
    recorder = await started(tmp_path)
    group = judged(1)
    told, silent = group.group.completions
    told = replace(told, logprobs=(-1.0, -2.0), is_expert=True)
    group = replace(
        group,
        group=replace(group.group, completions=(told, silent)),
        weights=((1.0, 2.0, 2.0, 1.0, 1.5), ()),
    )

    await recorder.rollouts(group)
    await recorder.flush()

    rows = read_table(tmp_path, "meta").to_pylist()
    found = [(row["is_expert"], row["logp_mean"], row["weight_mean"]) for row in rows]
    assert found == [(True, -1.5, 1.5), (False, None, None)]
    await recorder.close()


async def test_what_was_decided_before_and_after_a_rollout_was_written_stands_beside_it(
    tmp_path: Path,
):
    recorder = await started(tmp_path)
    group = judged(1, texts=("so 2", "so 2", "so 3", ""))
    ticket = replace(
        group.group.ticket, template=0, level="short", propensity=0.5, explores=True, seen=7, size=9
    )
    first, *others, last = group.group.completions
    completions = (replace(first, origin="paraphrase", propensity=0.25), *others,
                   replace(last, finish_reason="abort"))  # fmt: skip
    group = replace(
        group,
        group=replace(group.group, ticket=ticket, completions=completions),
        rewards=({"a": 0.5, "b": 0.25}, {}, {"a": 2.0}, {}),
    )

    await recorder.rollouts(group)
    await recorder.flush()

    one, two, three, aborted = read_table(tmp_path, "meta").to_pylist()
    assert (one["template_id"], one["level"], one["explores"]) == ("0", "short", True)
    assert (one["seen"], one["size"], one["origin"]) == (7, 9, "paraphrase")
    assert [row["propensity"] for row in (one, two)] == [0.125, 0.5]
    assert [row["reward"] for row in (one, two, three, aborted)] == [0.75, 0.0, 2.0, None]
    assert [row["dup_of"] for row in (one, two, three)] == [None, "000001.0.0", None]
    await recorder.close()


async def test_the_manifest_says_what_a_part_holds(tmp_path: Path):
    recorder = await started(tmp_path)
    await recorder.rollouts(judged(4))
    await recorder.rollouts(judged(9))
    await recorder.fates([Fate(rollout_id="000004.0.0", fate="trained", version=None, at_us=70)])
    await recorder.close()

    entries = {entry["kind"]: entry for entry in read_manifest(tmp_path)}

    assert entries["meta"] == {
        "kind": "meta",
        "file": "rollouts/meta/part-1-0.parquet",
        "rows": 4,
        "versions": [4, 10],
        "times": [1_000_000, 1_002_501],
        "replaces": [],
        "boot": 1,
        "seq": 0,
    }
    assert (entries["fate"]["versions"], entries["fate"]["times"]) == (None, [70, 70])
    assert entries["text"]["versions"] is None


async def test_small_parts_are_merged_while_it_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(actors.compaction, "PARTS", 3)
    recorder = await started(tmp_path)
    for ticket in range(5):
        await recorder.rollouts(judged(ticket))
        await recorder.flush()
    await recorder.close()

    meta = [entry["rows"] for entry in read_manifest(tmp_path) if entry["kind"] == "meta"]
    assert meta == [10]
    assert ids(tmp_path) == [f"{ticket:06d}.0.{sample}" for ticket in range(5) for sample in (0, 1)]
    assert len(ids(tmp_path, "text")) == 10


async def test_a_part_that_was_damaged_stops_no_sealing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(actors.compaction, "PARTS", 2)
    recorder = await started(tmp_path, RecorderConfig(seal_s=3600.0, seal_rows=4))
    await recorder.rollouts(judged(0))
    await recorder.flush()
    part = tmp_path / "rollouts/meta/part-1-0.parquet"
    whole = part.read_bytes()
    part.write_bytes(b"PAR1" + b"?" * (len(whole) - 4))

    for ticket in range(1, 4):
        await recorder.rollouts(judged(ticket))
        await recorder.flush()
    await recorder.rollouts(judged(4))
    await recorder.rollouts(judged(5))  # sealed by the one who stays in the background
    async with asyncio.timeout(20):
        while len(wals(tmp_path)) > 1 or wals(tmp_path)[0].stat().st_size:
            await asyncio.sleep(0.005)
    await recorder.close()

    part.write_bytes(whole)
    assert ids(tmp_path) == [f"{ticket:06d}.0.{sample}" for ticket in range(6) for sample in (0, 1)]
    [event] = read_jsonl(tmp_path / "events.jsonl")
    assert event["kind"] == "not_merged" and "part-1-0.parquet" in event["why"]
    [line] = caplog.records
    assert line.levelname == "WARNING" and event["why"] in line.getMessage()


async def test_the_end_of_all_sealing_is_told_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise ValueError("a row of no known kind")

    recorder = await started(tmp_path, RecorderConfig(seal_s=3600.0, seal_rows=1))
    with monkeypatch.context() as patch:
        patch.setattr(actors.journal, "write_part", broken)
        await recorder.rollouts(judged(0))
        async with asyncio.timeout(20):
            while not read_jsonl(tmp_path / "events.jsonl"):
                await asyncio.sleep(0.005)
    await recorder.rollouts(judged(1))
    await recorder.close()

    [event] = read_jsonl(tmp_path / "events.jsonl")
    assert (event["kind"], event["why"]) == (
        "recorder_failed", "ValueError: a row of no known kind",
    )  # fmt: skip
    [line] = caplog.records
    assert line.levelname == "ERROR" and "a row of no known kind" in line.getMessage()
    assert len(ids(tmp_path)) == 4, "no row is lost"


async def test_the_newest_rollouts_are_read_back_with_their_texts(tmp_path: Path):
    recorder = await started(tmp_path)
    assert await recorder.newest(3) == []
    for ticket in range(3):
        await recorder.rollouts(judged(ticket))
    await recorder.flush()
    await recorder.rollouts(judged(3))

    newest = await recorder.newest(3)
    await recorder.close()

    assert [row["rollout_id"] for row in newest] == ["000000.0.0", "000001.0.0", "000002.0.0"]
    texts = {row["rollout_id"]: row["text"] for row in read_table(tmp_path, "text").to_pylist()}
    assert all(row["text"] == texts[row["rollout_id"]] and row["verdict"] for row in newest)


async def test_rows_of_a_killed_recorder_are_recovered_exactly_once(tmp_path: Path):
    killed = await started(tmp_path)
    await killed.rollouts(judged(0))
    await killed.flush()
    await killed.rollouts(judged(1))
    await killed.fates([Fate(rollout_id="000001.0.0", fate="stale", step=4, lag=2)])
    await killed.problems([problem()])

    again = Recorder(str(tmp_path), NEVER)
    assert await again.start() == 2
    third = Recorder(str(tmp_path), NEVER)
    assert await third.start() == 3

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1", "000001.0.0", "000001.0.1"]
    assert ids(tmp_path, "text") == ids(tmp_path)
    assert latest_rollouts(tmp_path)["fate"].to_pylist() == [None, None, "stale", None]
    assert read_table(tmp_path, "problems")["problem_id"].to_pylist() == ["p"]
    restarts = read_jsonl(tmp_path / "events.jsonl")
    assert [(e["kind"], e["boot"]) for e in restarts] == [
        ("recorder_restarted", 2),
        ("recorder_restarted", 3),
    ]


async def test_a_line_torn_by_the_crash_is_left_out_and_the_lines_before_it_are_kept(
    tmp_path: Path,
):
    killed = await started(tmp_path)
    await killed.rollouts(judged(0))
    await killed.rollouts(judged(1))
    wal = wals(tmp_path)[0]
    os.truncate(wal, wal.stat().st_size - 40)

    await started(tmp_path)

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1"]


@pytest.mark.parametrize("kept_lines", [0, 1, 2])
async def test_a_crash_between_manifest_and_deletion_of_the_segment_doubles_no_row(
    tmp_path: Path, kept_lines: int
):
    killed = await started(tmp_path)
    await killed.rollouts(judged(0))
    segment = wals(tmp_path)[0].read_bytes()
    await killed.flush()
    (tmp_path / "rollouts" / "wal-1-0.jsonl").write_bytes(segment)
    manifest = tmp_path / MANIFEST
    lines = manifest.read_bytes().splitlines(keepends=True)
    assert len(lines) == 2  # meta and text; the crash tears the first that was not kept
    torn = lines[kept_lines][:20] if kept_lines < 2 else b""
    manifest.write_bytes(b"".join(lines[:kept_lines]) + torn)

    recorder = await started(tmp_path)
    await recorder.rollouts(judged(1))
    await recorder.close()

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1", "000001.0.0", "000001.0.1"]
    assert ids(tmp_path, "text") == ids(tmp_path)
    assert wals(tmp_path) == []


async def test_a_torn_part_that_a_crash_left_is_written_again(tmp_path: Path):
    killed = await started(tmp_path)
    await killed.rollouts(judged(0))
    (tmp_path / "rollouts/meta/part-1-0.parquet").write_bytes(b"PAR1 torn")
    (tmp_path / "rollouts/text/part-1-5.parquet.tmp").write_bytes(b"PAR1 torn")

    await started(tmp_path)

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1"]
    assert list(tmp_path.rglob("*.tmp")) == []


async def test_the_boot_number_grows_even_when_nothing_was_recorded(tmp_path: Path):
    boots = []
    for _ in range(3):
        recorder = Recorder(str(tmp_path), NEVER)
        boots.append(await recorder.start())
        await recorder.close()

    assert boots == [1, 2, 3]


async def test_a_run_that_goes_on_after_a_clean_end_overwrites_nothing(tmp_path: Path):
    for number in range(3):
        recorder = await started(tmp_path)
        await recorder.rollouts(judged(number))
        await recorder.close()
        assert wals(tmp_path) == []

    assert ids(tmp_path) == [f"{n:06d}.0.{s}" for n in range(3) for s in range(2)]


async def test_a_segment_is_sealed_in_the_background_once_it_has_rows_enough(tmp_path: Path):
    recorder = await started(tmp_path, RecorderConfig(seal_s=3600.0, seal_rows=8))
    await recorder.rollouts(judged(0))
    assert not recorder._full.is_set()

    await recorder.rollouts(judged(1))

    await eventually_sealed(tmp_path, 4)
    await recorder.rollouts(judged(2))
    await recorder.close()
    assert read_table(tmp_path, "meta")["text_seq"].to_pylist() == [0, 0, 0, 0, 1, 1]


async def test_rows_are_sealed_after_a_while_however_few(tmp_path: Path):
    recorder = await started(tmp_path, RecorderConfig(seal_s=0.01))

    await recorder.rollouts(judged(0))

    await eventually_sealed(tmp_path, 2)
    await recorder.close()


async def eventually_sealed(run: Path, num_rows: int) -> None:
    async with asyncio.timeout(20):
        while read_table(run, "meta").num_rows < num_rows:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\ud800b", "a?b"),
        ("nul \0 esc \x1b[31m bell \a", "nul \0 esc \x1b[31m bell \a"),
        ("two\nlines\r\n\u2028\x85", "two\nlines\r\n\u2028\x85"),
        ("\u202eright to left \U0001f600", "\u202eright to left \U0001f600"),
        ("", ""),
        ("x" * 2**20, "x" * 2**20),
    ],
    ids=["surrogate", "control", "newlines", "rtl", "empty", "megabyte"],
)
async def test_text_is_kept_as_data_and_lone_surrogates_are_replaced(
    tmp_path: Path, text: str, kept: str
):
    recorder = await started(tmp_path)

    await recorder.rollouts(judged(0, texts=("fine", text)))
    await recorder.problems([problem("q\udfff", content=text)])
    await recorder.close()

    assert read_table(tmp_path, "text")["text"].to_pylist() == ["fine", kept]
    assert read_table(tmp_path, "problems").to_pylist()[0]["problem_id"] == "q?"
    assert read_table(tmp_path, "problems").to_pylist()[0]["text"] == kept


async def test_a_text_is_found_without_unpacking_its_whole_part(tmp_path: Path):
    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0, texts=("t",) * 300))
    await recorder.close()

    part = pq.ParquetFile(tmp_path / "rollouts/text/part-1-0.parquet").metadata

    assert [part.row_group(i).num_rows for i in range(part.num_row_groups)] == [128, 128, 44]
    assert part.row_group(0).column(1).compression == "ZSTD"


async def test_without_text_the_rows_say_so(tmp_path: Path):
    recorder = await started(tmp_path, NEVER.model_copy(update={"text": "none"}))
    await recorder.rollouts(judged(0))
    await recorder.state({})
    await recorder.close()

    meta = read_table(tmp_path, "meta")
    assert meta["text_level"].to_pylist() == ["none", "none"]
    assert meta["text_seq"].to_pylist() == [None, None]
    assert read_table(tmp_path, "text").num_rows == 0
    assert dropped(tmp_path) == {}


async def test_a_problem_is_recorded_once_and_boot(tmp_path: Path):
    recorder = await started(tmp_path)
    await recorder.problems([problem("a"), problem("b"), problem("a")])
    await recorder.problems([problem("b"), problem("c", content="other")])
    await recorder.close()

    rows = read_table(tmp_path, "problems").to_pylist()

    assert [row["problem_id"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["hash"] == rows[1]["hash"] != rows[2]["hash"]
    assert (rows[0]["source"], rows[0]["text"], rows[0]["gold"]) == ("sums", "1+1?", "2")


async def test_nothing_to_record_does_not_stand_in_the_way_of_what_follows(tmp_path: Path):
    recorder = await started(tmp_path)

    await recorder.problems([])
    await recorder.problems([problem()])
    await recorder.problems([problem()])
    await recorder.fates([])
    await recorder.rollouts(judged(1))
    await recorder.flush()

    assert ids(tmp_path) == ["000001.0.0", "000001.0.1"]


async def test_an_evaluation_is_recorded_per_problem_and_sample(tmp_path: Path):
    recorder = await started(tmp_path)
    sample = EvalSample(
        problem_id="p",
        sample=1,
        version=6,
        status="no_answer",
        finish_reason="length",
        num_tokens=640,
        text="\ud800",
        extracted=None,
        num_think=600,
        logprob_mean=-0.5,
    )
    await recorder.evals("after", 7, [sample])
    await recorder.close()

    (row,) = read_table(tmp_path, "evals").to_pylist()
    assert row.pop("at_us") > 0
    assert row == {
        "label": "after",
        "version": 7,
        "problem_id": "p",
        "sample": 1,
        "verdict": "no_answer",
        "finish_reason": "length",
        "n_tokens": 640,
        "answer": None,
        "text": "?",
        "n_think": 600,
        "n_answer": 40,
        "logp_mean": -0.5,
        "benchmark": None,
    }


async def test_a_number_that_json_cannot_hold_is_null_and_named(tmp_path: Path):
    recorder = await started(tmp_path)
    await recorder.step({"step": 1, "loss": math.nan, "norm": math.inf, "lr": 0.0, "x": None})
    await recorder.event("guardrail", change={"accuracy": -math.inf}, path=tmp_path)
    await recorder.state({"phase": "train", "rate": math.nan})
    await recorder.close()

    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 1, "loss": null, "norm": null, "lr": 0.0, "x": null, "nan": ["loss", "norm"]}\n'
    )
    (event,) = read_jsonl(tmp_path / "events.jsonl")
    assert list(event)[:2] == ["at_us", "kind"]
    assert (event["change"], event["nan"]) == ({"accuracy": None}, ["change.accuracy"])
    state = json.loads((tmp_path / "state.json").read_text())
    assert (state["phase"], state["rate"], state["nan"]) == ("train", None, ["rate"])
    assert (state["boot"], state["dropped"]) == (1, 0)


async def test_a_torn_metrics_line_is_cut_before_the_next_is_written(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    recorder = await started(tmp_path)

    await recorder.step({"step": 2})
    await recorder.close()

    assert read_jsonl(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 2}]


async def test_a_step_that_is_told_again_to_the_next_process_is_one_line(tmp_path: Path):
    first = await started(tmp_path)
    await first.step({"step": 1, "loss": 0.5})
    await first.step({"step": 2, "loss": math.nan})

    second = await started(tmp_path)  # the first was killed before it could answer
    await second.step({"step": 2, "loss": math.nan})
    await second.step({"step": 3, "loss": 0.5})
    await second.step({"step": 2, "loss": 0.25})

    steps = [row["step"] for row in read_jsonl(tmp_path / "metrics.jsonl")]
    assert steps == [1, 2, 3, 2], "steps that are taken again are lines of their own"


async def test_a_disk_that_is_full_for_a_while_loses_nothing_that_fits_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0))
    size = wals(tmp_path)[0].stat().st_size

    with full_disk(size + 100), caplog.at_level(logging.WARNING):
        for number in range(1, 4):
            await recorder.rollouts(judged(number))
        await recorder.flush()
        assert ids(tmp_path) == []
    await recorder.flush()
    await recorder.state({})

    assert ids(tmp_path) == [f"{n:06d}.0.{s}" for n in range(4) for s in range(2)]
    assert ids(tmp_path, "text") == ids(tmp_path)
    assert dropped(tmp_path) == {}
    assert len(caplog.records) == 1
    await recorder.close()


async def test_what_a_full_disk_refused_halfway_does_not_spoil_the_next_line(tmp_path: Path):
    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0))
    wal = wals(tmp_path)[0]
    with full_disk(wal.stat().st_size + 100):
        await recorder.rollouts(judged(1))
    await recorder.rollouts(judged(2))

    await started(tmp_path)  # from the write-ahead file alone

    assert ids(tmp_path) == [f"{n:06d}.0.{s}" for n in range(3) for s in range(2)]


async def test_when_memory_is_short_texts_go_first_then_the_oldest_rows_and_all_are_counted(
    tmp_path: Path,
):
    recorder = await started(tmp_path, RecorderConfig(seal_s=3600.0, seal_rows=2))  # 8 rows wait
    with full_disk(0):
        for number in range(6):
            await recorder.rollouts(judged(number))
            await recorder.step({"step": number})
        assert recorder._backlog._rows <= 8
    await recorder.flush()
    await recorder.state({})

    assert dropped(tmp_path)["text"] == 12
    assert dropped(tmp_path)["meta"] == 4
    assert dropped(tmp_path)["metrics"] == 6
    assert ids(tmp_path) == [f"{n:06d}.0.{s}" for n in range(2, 6) for s in range(2)]
    assert set(read_table(tmp_path, "meta")["text_level"].to_pylist()) == {"dropped"}
    await recorder.close()


async def test_huge_texts_do_not_fill_the_memory_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("actors.recorder.BACKLOG_CHARACTERS", 1000)
    recorder = await started(tmp_path)
    with full_disk(0):
        await recorder.rollouts(judged(0, texts=("x" * 600,)))
        await recorder.rollouts(judged(1, texts=("y" * 600,)))
    await recorder.flush()

    assert ids(tmp_path) == ["000000.0.0", "000001.0.0"]
    assert read_table(tmp_path, "text")["text"].to_pylist() == ["y" * 600]
    await recorder.close()


async def test_a_part_that_cannot_be_written_is_tried_again_and_its_rows_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    recorder = await started(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(actors.journal, "write_part", refuse)
        await recorder.rollouts(judged(0))
        await recorder.flush()
        await recorder.rollouts(judged(1))
        await recorder.flush()
        assert read_manifest(tmp_path) == []
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text

    await started(tmp_path)

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1", "000001.0.0", "000001.0.1"]


@pytest.mark.parametrize(
    ("free_bytes", "num_meta", "num_text"),
    [(3 * 2**30, 2, 2), (2**30, 2, 0), (2**20, 0, 0)],
)
async def test_the_last_room_on_the_disk_is_left_to_queue_and_checkpoints(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free_bytes: int,
    num_meta: int,
    num_text: int,
):
    usage = shutil._ntuple_diskusage(10**12, 0, free_bytes)
    monkeypatch.setattr("actors.recorder.shutil.disk_usage", lambda _: usage)
    recorder = await started(tmp_path)

    await recorder.rollouts(judged(0))
    await recorder.state({})
    await recorder.close()

    assert (len(ids(tmp_path)), len(ids(tmp_path, "text"))) == (num_meta, num_text)
    lost = {"meta": 2 - num_meta, "text": 2 - num_text}
    assert dropped(tmp_path) == {kind: count for kind, count in lost.items() if count}


async def test_closing_twice_or_without_a_row_is_fine(tmp_path: Path):
    recorder = await started(tmp_path)

    await recorder.close()
    await recorder.close()

    assert read_table(tmp_path, "meta").num_rows == 0


class SlowDisk:
    """Parts are written once ``let_go`` is set."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.num_waiting = 0
        self._write = actors.journal.write_part

    def write_part(self, table: pa.Table, path: Path, row_group: int | None = None) -> None:
        self.num_waiting += 1
        assert self.let_go.wait(20)
        self._write(table, path, row_group)

    async def holds(self, num_writers: int) -> None:
        while self.num_waiting < num_writers:
            await asyncio.sleep(0.001)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    disk = SlowDisk()
    monkeypatch.setattr(actors.journal, "write_part", disk.write_part)
    return disk


async def test_rows_may_arrive_while_older_ones_are_sealed(tmp_path: Path, slow_disk: SlowDisk):
    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0))

    flushing = [asyncio.create_task(recorder.flush()) for _ in range(2)]
    await slow_disk.holds(1)
    await recorder.rollouts(judged(1))
    slow_disk.let_go.set()
    await asyncio.gather(*flushing)
    await recorder.close()

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1", "000001.0.0", "000001.0.1"]


async def test_a_caller_that_gives_up_on_a_flush_does_not_make_two_of_it(
    tmp_path: Path, slow_disk: SlowDisk, caplog: pytest.LogCaptureFixture
):
    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0))
    flushing = asyncio.create_task(recorder.flush())
    await slow_disk.holds(1)
    flushing.cancel()

    closing = asyncio.create_task(recorder.close())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow_disk.holds(2), timeout=0.2)
    slow_disk.let_go.set()
    await closing

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1"]
    assert len(read_manifest(tmp_path)) == 2
    assert caplog.records == []


async def test_a_segment_that_cannot_be_deleted_is_not_sealed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        await recorder.flush()
    await recorder.close()

    assert ids(tmp_path) == ["000000.0.0", "000000.0.1"]
    assert wals(tmp_path) == []


async def test_a_part_is_durable_before_the_manifest_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    synced: list[tuple[str, int]] = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        synced.append((name, len(read_jsonl(tmp_path / MANIFEST))))
        sync(descriptor)

    recorder = await started(tmp_path)
    await recorder.rollouts(judged(0))
    monkeypatch.setattr(os, "fsync", watched)
    await recorder.flush()
    await recorder.close()

    assert synced[:6] == [
        ("part-1-0.parquet.tmp", 0),
        ("meta", 0),
        ("part-1-0.parquet.tmp", 0),
        ("text", 0),
        ("manifest.jsonl", 2),
        ("rollouts", 2),
    ]
