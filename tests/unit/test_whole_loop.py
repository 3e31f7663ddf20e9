"""What the whole-loop benchmark makes of what its sides did."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import process_tree
from benchmarks.loop_job import Job, Log
from benchmarks.process_tree import MemoryWatch
from benchmarks.startup import TITLES, phases
from benchmarks.whole_loop import Seen, Step, best_plain, figures, seen_in, summary
from cluster.plan import with_types
from configs.load import load


def steps(number: int, *, seconds: float = 2.0) -> tuple[Step, ...]:
    """The first takes 50 s more, the last four twice as long as the others."""
    at, found = 150.0, []
    for index in range(1, number + 1):
        at += seconds * (2 if index > number - 4 else 1)
        found.append(
            Step(at=at, trained=100 * index, generated=400 * index, rollouts=8, accepted=index)
        )
    return tuple(found)


def test_tokens_are_counted_between_the_ends_of_warm_and_last_steps():
    found = figures(Seen(began=100.0, ready=130.0, steps=steps(10)), warm=2)

    assert found["trained_per_s"] == 800 / 24  # four steps of 2 s, four of 4 s
    assert found["generated_per_s"] == 3200 / 24
    assert found["trained_per_s_last"] == 400 / 16
    assert found["step_s"] == 3
    assert found["ready_s"] == 30
    assert found["first_step_s"] == 52
    assert found["accepted_share_last"] == (7 + 8 + 9 + 10) / 32


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="4 steps: more than 4 are needed"):
        figures(Seen(began=0.0, ready=1.0, steps=steps(4)), warm=1)


def row(trained: float, **others: float) -> dict:
    return {
        "trained_per_s": trained,
        "generated_per_s": 2 * trained,
        "trained_per_s_last": trained,
        "memory": {},
    } | others


def test_a_ratio_is_taken_within_each_round_and_against_the_better_number_of_threads():
    found = {
        "async": [row(20.0), row(60.0), row(30.0)],
        "plain 1": [row(10.0), row(20.0), row(10.0)],
        "plain 2": [row(1.0), row(2.0), row(3.0)],
        "trl": [row(5.0), row(5.0), row(5.0)],
    }

    result = summary(found)

    assert best_plain(found) == "plain 1"
    assert result["ratios"]["async_over_plain"] == {"median": 3.0, "q1": 2.5, "q3": 3.0}
    assert result["ratios"]["async_over_trl"]["median"] == 6.0
    assert not [name for name in result["ratios"] if "exact" in name or "published" in name]
    assert result["figures"]["plain_2"]["generated_per_s"]["median"] == 4.0


def made_run(folder: Path) -> Path:
    started = {
        "kind": "started",
        "at_us": 30_000_000,
        "phases": {name: 10_000_000 + n for n, name in enumerate(list(TITLES)[:8])},
    }
    (folder / "events.jsonl").write_text(json.dumps({"kind": "x"}) + "\n" + json.dumps(started))
    with (folder / "events.jsonl").open("a") as file:
        file.write("\n")
    (folder / "state.json").write_text(
        json.dumps({"engines": [{"began_us": None}, {"began_us": 31_000_000}]})
    )
    row = {
        "leased_us": 34_000_000, "stepped_us": 36_000_000, "published_us": 37_000_000,
        "trained_tokens": 5, "generated_tokens": 9, "rollouts": 4, "accepted": 3,
    }  # fmt: skip
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_a_run_directory_says_when_it_stepped_and_when_it_was_ready(tmp_path: Path):
    seen = seen_in(made_run(tmp_path), began=20.0)

    assert seen.ready == 30
    assert seen.steps == (Step(at=37.0, trained=5, generated=9, rollouts=4, accepted=3),)


def test_a_start_is_broken_down_from_the_run_directory(tmp_path: Path):
    found = phases(made_run(tmp_path), began=5.0)

    assert list(found) == list(TITLES)
    assert found["imports"] == 5
    assert found["started"] == 25
    assert (found["first_token"], found["first_batch"], found["first_step"]) == (26, 29, 31)


def job(tmp_path: Path) -> Job:
    problems = [{"prompt": str(n), "answer": str(n)} for n in range(3)]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in problems))
    config = with_types(load("tiny", ["steps=2", "batch.problems=2"]), "cpu", has_bfloat16=False)
    return Job.of(config, "model", str(train), tmp_path / "rows.jsonl")


def test_a_job_comes_back_from_its_text_and_deals_the_problems_in_the_order_of_the_file(
    tmp_path: Path,
):
    made = job(tmp_path)

    assert Job.read(made.text()) == made
    assert [[row["prompt"] for row in batch] for batch in made.batches()] == [
        ["0", "1"],
        ["2", "0"],
    ]


def test_a_jobs_judge_is_that_of_the_run(tmp_path: Path):
    made = job(tmp_path)

    assert made.is_right("7", r"<think>3</think>\boxed{7.0}")
    assert not made.is_right("3", r"<think>3</think>\boxed{7}")


def test_a_sides_rows_add_its_tokens_up(tmp_path: Path):
    log = Log(job(tmp_path))
    log.ready()
    for _ in range(2):
        log.step(generated=10, trained=4, rollouts=8, accepted=2)

    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]

    assert [(row["generated"], row["trained"]) for row in rows[1:]] == [(10, 4), (20, 8)]
    assert Step(**rows[1]).accepted == 2


@pytest.mark.filterwarnings("error")
def test_memory_is_that_of_all_descendants_even_when_their_parent_ended(
    monkeypatch: pytest.MonkeyPatch,
):
    """A child takes 100 MiB; its parent, which is the one that was started, ends before it."""
    monkeypatch.setattr(process_tree, "RSS_EVERY_S", 0.5)
    monkeypatch.setattr(process_tree, "PSS_EVERY_S", 1.0)
    child = "import time; x = b'1' * (100 << 20); time.sleep(6)"
    parent = (
        "import subprocess, sys, time; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(4)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    with MemoryWatch(process.pid) as peaks:
        process.wait()
        left = [p for p in psutil.process_iter() if p.pid in peaks.own and p.pid != process.pid]
        psutil.wait_procs(left, timeout=20)

    assert len(peaks.own) == 2
    assert 100 < peaks.largest < 200
    assert peaks.rss > peaks.largest
    assert 100 < peaks.pss <= peaks.rss
