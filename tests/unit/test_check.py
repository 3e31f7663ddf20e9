"""``laconic check``: a run as it should be passes, and every corruption is found with its name."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.check import check, lines
from configs.errors import UserError
from configs.run_files import MANIFEST, read_manifest
from tests.made_run import Record, make_run, rewrite
from tests.said import Laconic

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    asyncio.run(make_run(folder))
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_run_as_it_should_be_passes_and_every_sample_is_accounted_for(run: Path):
    found = check(run)

    assert found.violations == []
    tally = found.tally
    assert (tally.steps, tally.taken_back) == (5, 1)
    assert (tally.issued_groups, tally.settled_groups, tally.recovered) == (10, 10, 1)
    assert (tally.attempted, tally.acked, tally.ok, tally.pending) == (22, 20, 20, 0)
    assert (tally.trained, tally.dropped, tally.rejected) == (9, {"stale": 1}, {"wrong": 10})
    assert (tally.lost, tally.unexpected, tally.duplicated, tally.over_stale) == (0, 0, 0, 0)
    assert found.unrecorded == {"births": 0, "fates": 0, "metrics": 0}
    assert list(lines(found))[-1] == "ok"


def edit(kind: str, change: Callable[[Record], Record | None], *, boot: int = 2, **where: int):
    """A corruption: the records of this kind with these values become something else, or go."""

    def corrupt(run: Path) -> None:
        def changed(records: list[Record]) -> list[Record]:
            hits = [r for r in records if r["kind"] == kind and where.items() <= r.items()]
            assert hits
            kept = ((change(r) if r in hits else r) for r in records)
            return [record for record in kept if record is not None]

        rewrite(run / "queue", boot, changed)

    return corrupt


def twice(kind: str, *, boot: int = 2, **where: int):
    def corrupt(run: Path) -> None:
        def doubled(records: list[Record]) -> list[Record]:
            [hit] = [r for r in records if r["kind"] == kind and where.items() <= r.items()]
            place = records.index(hit)
            return [*records[: place + 1], hit, *records[place + 1 :]]

        rewrite(run / "queue", boot, doubled)

    return corrupt


def flip(file: str, place: float):
    def corrupt(run: Path) -> None:
        content = bytearray((run / file).read_bytes())
        content[int(place * len(content))] ^= 1
        (run / file).write_bytes(content)

    return corrupt


def without_line(file: str, number: int):
    def corrupt(run: Path) -> None:
        found = (run / file).read_text().splitlines(keepends=True)
        (run / file).write_text("".join(found[: number - 1] + found[number:]))

    return corrupt


def line_twice(file: str, number: int):
    def corrupt(run: Path) -> None:
        found = (run / file).read_text().splitlines(keepends=True)
        (run / file).write_text("".join([*found[:number], *found[number - 1 :]]))

    return corrupt


def replaced(file: str, old: str, new: str):
    def corrupt(run: Path) -> None:
        text = (run / file).read_text()
        assert old in text
        (run / file).write_text(text.replace(old, new))

    return corrupt


def removed(file: str):
    return lambda run: (run / file).unlink()


def cut(kind: str):
    def corrupt(run: Path) -> None:
        part = next(entry for entry in read_manifest(run) if entry["kind"] == kind)
        content = (run / part["file"]).read_bytes()
        (run / part["file"]).write_bytes(content[: len(content) // 2])

    return corrupt


def without_end(run: Path) -> None:
    """The last acknowledgement and what follows it."""
    rewrite(run / "queue", 2, lambda records: records[:-3])


def row(kind: str, **values: object):
    """One more row that nobody wrote."""

    def corrupt(run: Path) -> None:
        file = f"rollouts/{kind}/part-9-0.parquet"
        pq.write_table(pa.Table.from_pylist([values]), run / file)
        entry = {"kind": kind, "file": file, "rows": 1, "replaces": []}
        with (run / MANIFEST).open("a") as manifest:
            manifest.write(json.dumps(entry) + "\n")

    return corrupt


def as_of(version: int) -> Callable[[Record], Record]:
    """The group of a settlement, written with the weights of this version."""

    def change(record: Record) -> Record:
        return record | {
            "outcomes": [[*o[:4], version, version] for o in record["outcomes"]],
            "rollouts": [[*r[:3], version, version, r[5]] for r in record["rollouts"]],
        }

    return change


def begun_with(version: int) -> Callable[[Record], Record]:
    """Only their first tokens."""

    def change(record: Record) -> Record:
        return record | {
            "outcomes": [[*o[:4], version, o[5]] for o in record["outcomes"]],
            "rollouts": [[*r[:3], version, *r[4:]] for r in record["rollouts"]],
        }

    return change


def kept(**changes: object) -> Callable[[Record], Record]:
    """The group's one rollout for the learner, otherwise than it was."""

    def change(record: Record) -> Record:
        [[name, prompt, response, first, last, rare]] = record["rollouts"]
        row = {"name": name, "response": response, "rare": rare} | changes
        return record | {
            "rollouts": [[row["name"], prompt, row["response"], first, last, row["rare"]]]
        }

    return change


def at_the_end(kind: str, change: Callable[[Record], Record], **where: int):
    """One more record, made from one that is there."""

    def corrupt(run: Path) -> None:
        def longer(records: list[Record]) -> list[Record]:
            [hit] = [r for r in records if r["kind"] == kind and where.items() <= r.items()]
            return [*records, change(hit)]

        rewrite(run / "queue", 2, longer)

    return corrupt


def fate(name: str, what: str, step: int):
    return row("fate", rollout_id=name, fate=what, step=step)


CORRUPTIONS = {
    "a bit in the middle of a log": (
        flip("queue/log-0001.jsonl", 0.5),
        r"queue/log-0001.jsonl line \d+ fails its checksum",
    ),
    "a line of a log is gone": (
        without_line("queue/log-0001.jsonl", 7),
        "log-0001.jsonl line 7: record 8 stands where 7 was to be",
    ),
    "a line of a log stands twice": (
        line_twice("queue/log-0001.jsonl", 7),
        "log-0001.jsonl line 8: record 7 stands where 8 was to be",
    ),
    "a log is gone": (removed("queue/log-0001.jsonl"), "queue/log-0001.jsonl is missing"),
    "a settlement is gone": (
        edit("settle", lambda r: None, boot=1, ticket=3),
        "step 1 takes ticket 3, which nobody settled",
    ),
    "a settlement stands twice": (
        twice("settle", ticket=9),
        "ticket 9 is settled a second time",
    ),
    "a settlement of nothing that was issued": (
        edit("settle", lambda r: r | {"ticket": 11}, ticket=9),
        "ticket 11 is settled, and was never issued",
    ),
    "a late attempt is settled": (
        edit("settle", lambda r: r | {"attempt": 0}, ticket=8),
        "ticket 8 is settled by attempt 0, when attempt 1 was out",
    ),
    "an accepted rollout is not kept": (
        edit("settle", lambda r: r | {"rollouts": []}, ticket=9),
        "000009.0.0 was accepted and is not kept for the learner",
    ),
    "a sample of another group": (
        edit(
            "settle",
            lambda r: r | {"outcomes": [r["outcomes"][0], ["000008.1.1", *r["outcomes"][1][1:]]]},
            ticket=9,
        ),
        "ticket 9 is settled with a foreign sample, 000008.1.1",
    ),
    "other tokens kept than were judged": (
        edit("settle", kept(response=[7]), ticket=9),
        "000009.0.0 is kept for the learner otherwise than it was judged",
    ),
    "accepted and rejected": (
        edit("settle", kept(rare={"is_accepted": False}), ticket=9),
        "000009.0.0 is accepted in one place and rejected in another",
    ),
    "kept and never judged": (
        edit("settle", kept(name="000009.0.2"), ticket=9),
        "000009.0.0 was accepted and is not kept",
    ),
    "acknowledgements overlap": (
        edit("ack", lambda r: r | {"first": 5}, step=3),
        "step 3 takes tickets 5 to 5 once more",
    ),
    "an acknowledgement passes over a group": (
        edit("ack", lambda r: r | {"first": 7}, step=3),
        "step 3 passes over tickets 6 to 6",
    ),
    "an acknowledgement is gone": (
        edit("ack", lambda r: None, step=3),
        "the engines are given version 4 after 3 steps",
    ),
    "an acknowledgement stands twice": (
        twice("ack", step=3),
        "step 3 is acknowledged where step 4 was to be",
    ),
    "more trained than there are": (
        edit("ack", lambda r: r | {"trained": 3}, step=3),
        "step 3 counts 3 trained rollouts, and there are 2",
    ),
    "other tokens trained than there are": (
        edit("ack", lambda r: r | {"tokens": 1}, step=3),
        "step 3 counts 1 trained tokens, and there are 19",
    ),
    "trained above the bound": (
        edit("settle", as_of(0), boot=1, ticket=6),
        "step 3 trains 000006.0.0 with lag 3, above max_lag 1",
    ),
    "trained above the bound, if only its beginning": (
        edit("settle", begun_with(0), boot=1, ticket=6),
        "step 3 trains 000006.0.0 with lag 3, above max_lag 1",
    ),
    "left out for two reasons": (
        edit(
            "ack",
            lambda r: (
                r
                | {
                    "dropped": {"stale": 1, "equal": 1},
                    "left_out": {"stale": ["000008.1.0"], "equal": ["000008.1.0"]},
                }
            ),
            step=4,
        ),
        "step 4 leaves out 000008.1.0, which it does not have",
    ),
    "more left out than are named": (
        edit("ack", lambda r: r | {"dropped": {"stale": 2}}, step=4),
        r"step 4 counts {'stale': 2} rollouts left out, and names {'stale': 1}",
    ),
    "left out for what is not so": (
        edit(
            "ack",
            lambda r: (
                r
                | {
                    "trained": 1,
                    "tokens": 10,
                    "dropped": {"stale": 1},
                    "left_out": {"stale": ["000006.0.0"]},
                }
            ),
            step=3,
        ),
        "step 3 leaves out 000006.0.0 as stale, which it is not",
    ),
    "left out though it was never there": (
        edit("ack", lambda r: r | {"left_out": {"stale": ["000002.0.0"]}}, step=4),
        "step 4 leaves out 000002.0.0, which it does not have",
    ),
    "written by weights that were not there": (
        edit("settle", as_of(5), ticket=9),
        "000009.0.0 was written by version 5 after 4 steps",
    ),
    "a ticket is missing": (
        edit("issue", lambda r: None, boot=1, ticket=5),
        "ticket 6 is issued, and ticket 5 never was",
    ),
    "a ticket begins with a later attempt": (
        edit("issue", lambda r: r | {"attempt": 1}, ticket=9),
        "ticket 9 begins with attempt 1",
    ),
    "an attempt is missing": (
        edit("issue", lambda r: r | {"attempt": 2}, ticket=8),
        "attempt 2 at ticket 8 follows attempt 0",
    ),
    "a settled ticket is issued again": (
        at_the_end("issue", lambda r: r | {"attempt": 1}, ticket=9),
        "ticket 9 is issued again, though it was settled",
    ),
    "the data goes back": (
        edit("issue", lambda r: r | {"cursor": 5 - r["ticket"]}, boot=1, ticket=3),
        "ticket 4 goes back in the data",
    ),
    "a problem is another one the second time": (
        edit("issue", lambda r: r | {"problem": "p-1"}, ticket=8),
        "ticket 8 is issued again for another problem or draw",
    ),
    "a restart at a step that was not taken": (
        edit("resume", lambda r: r | {"step": 4}),
        "the run goes on from step 4, and 3 were acknowledged",
    ),
    "a checkpoint of steps that were not taken": (
        edit("commit", lambda r: r | {"step": 9}, step=4),
        "a checkpoint of step 9 is committed after 4 steps",
    ),
    "groups are forgotten that may be asked for": (
        edit("commit", lambda r: r | {"oldest_ticket": 9}, step=4),
        "tickets below 9 are forgotten, and 8 was not taken",
    ),
    "a byte of a checkpoint": (
        flip("checkpoints/step-000005/shard", 0.3),
        "checkpoints/step-000005 is damaged: shard has changed",
    ),
    "a checkpoint of other tickets than the log": (
        replaced("checkpoints/step-000004/manifest.json", '"end_ticket": 8', '"end_ticket": 7'),
        "checkpoints/step-000004 says that tickets below 7 are trained, the log 8",
    ),
    "a checkpoint that the log does not lead to": (
        without_end,
        "checkpoints/step-000005 is of a step that the log does not acknowledge",
    ),
    "a checkpoint under another name": (
        lambda run: (run / "checkpoints/step-000004").rename(run / "checkpoints/step-000003"),
        "checkpoints/step-000003 says that it is of step 4",
    ),
    "LATEST names nothing": (
        replaced("checkpoints/LATEST", "step-000005", "step-000006"),
        "checkpoints/LATEST names step-000006, which is not there",
    ),
    "no LATEST": (removed("checkpoints/LATEST"), "checkpoints/LATEST is missing"),
    "a step is missing in the metrics": (
        without_line("metrics.jsonl", 5),
        "metrics.jsonl has no row of step 4",
    ),
    "the last step is missing in the metrics of a finished run": (
        without_line("metrics.jsonl", 6),
        "metrics.jsonl has no row of step 5",
    ),
    "a step stands twice in the metrics": (
        line_twice("metrics.jsonl", 5),
        "step 4 is there more often than in the log, or out of order",
    ),
    "the metrics count otherwise": (
        replaced("metrics.jsonl", '"stale": 1', '"stale": 0'),
        "metrics.jsonl line 6: step 5 has stale 0, the log 1",
    ),
    "trained though rejected": (
        fate("000006.0.1", "trained", 3),
        "rollouts/fate has 000006.0.1 as trained at step 3, and that was rejected as wrong",
    ),
    "trained though left out": (
        fate("000008.1.0", "trained", 4),
        "has 000008.1.0 as trained at step 4, the log as stale at step 4",
    ),
    "trained twice in a step": (
        fate("000006.0.0", "trained", 3),
        "has 000006.0.0 as trained at step 3 2 times, the log as trained at step 3",
    ),
    "trained though nobody wrote it": (
        fate("000012.0.0", "trained", 3),
        "000012.0.0 as trained at step 3, and that was never settled",
    ),
    "a row of what was never issued": (
        row("meta", rollout_id="000008.2.0"),
        "rollouts/meta has 000008.2.0, and that was never issued",
    ),
    "a row of a group that was settled without it": (
        row("meta", rollout_id="000007.0.2"),
        "rollouts/meta has 000007.0.2, and its group was settled without it",
    ),
    "other rows than the manifest says": (
        replaced(
            MANIFEST,
            '"kind": "meta", "file": "rollouts/meta/part-1-0.parquet", "rows": 16',
            '"kind": "meta", "file": "rollouts/meta/part-1-0.parquet", "rows": 17',
        ),
        r"part-1-0.parquet has 16 rows, rollouts/manifest.jsonl says 17",
    ),
    "half a file of births": (cut("meta"), r"rollouts/meta/part-1-0.parquet cannot be read"),
    "half a file of texts": (cut("text"), r"rollouts/text/part-1-0.parquet cannot be read"),
    "the summary counts otherwise": (
        replaced("summary.json", '"trained": 9', '"trained": 10'),
        "summary.json counts trained 10, the log 9",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_found_and_named(run: Path, name: str):
    corrupt, words = CORRUPTIONS[name]
    corrupt(run)

    found = check(run)

    assert re.search(words, found.violations[0]), found.violations
    assert list(lines(found))[-1] != "ok"


def test_a_torn_last_line_and_a_run_without_its_end_are_fine(run: Path):
    """As a kill leaves it, with the last step acknowledged and not yet in the metrics."""
    for name in ("summary.json", "state.json"):
        (run / name).unlink()
    log = run / "queue/log-0002.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    without_line("metrics.jsonl", 6)(run)

    found = check(run)

    assert found.violations == []
    assert (found.torn, found.unrecorded["metrics"]) == (1, 1)


def test_a_first_checkpoint_may_lack_its_latest(run: Path):
    """The process died between the two."""
    (run / "checkpoints/LATEST").unlink()
    shutil.rmtree(run / "checkpoints/step-000004")

    assert check(run).violations == []


def test_a_checkpoint_after_the_last_groups_of_the_data_counts_them(run: Path):
    """They held nothing to train, so no step was taken, and there is no row of one."""

    def longer(records: list[Record]) -> list[Record]:
        issue = next(r for r in records if r["kind"] == "issue" and r["ticket"] == 9)
        wrong = ["000010.0.0", "wrong", "wrong", 3, 4, 4]
        settle = {"kind": "settle", "ticket": 10, "attempt": 0, "outcomes": [wrong], "rollouts": []}
        ack = {"kind": "ack", "step": 5, "first": 10, "end": 11, "trained": 0, "tokens": 0}
        nothing = {"dropped": {}, "left_out": {}}
        return [*records, issue | {"ticket": 10}, settle, ack | nothing]

    rewrite(run / "queue", 2, longer)
    (run / "summary.json").unlink()
    assert check(run).violations == []

    replaced("checkpoints/step-000005/manifest.json", '"end_ticket": 10', '"end_ticket": 11')(run)
    assert check(run).violations == []


def test_rows_that_the_recorder_lacks_are_counted_and_no_violation(run: Path):
    manifest = run / MANIFEST
    entries = [line for line in manifest.read_text().splitlines() if '"boot": 1' not in line]
    manifest.write_text("".join(f"{line}\n" for line in entries))

    found = check(run)

    assert found.violations == []
    assert found.unrecorded["births"] == 16
    assert found.unrecorded["fates"] == 4


@pytest.mark.parametrize("is_alive", [True, False])
def test_of_a_run_that_is_over_only_the_newest_step_may_have_no_row(run: Path, is_alive: bool):
    """One that goes on may take further steps while it is read."""
    (run / "summary.json").unlink()
    heartbeat_us = int((time.time() - (0 if is_alive else 60)) * 1e6)
    state = {"phase": "training", "heartbeat_us": heartbeat_us}
    (run / "state.json").write_text(json.dumps(state))
    for line in (6, 5):
        without_line("metrics.jsonl", line)(run)

    found = check(run)

    assert found.violations == ([] if is_alive else ["metrics.jsonl has no row of step 4"])
    assert found.unrecorded["metrics"] == 2


def test_metrics_that_the_recorder_says_it_dropped_are_no_violation(run: Path):
    without_line("metrics.jsonl", 5)(run)
    state = {"heartbeat_us": time.time_ns() // 1000, "dropped_by_kind": {"metrics": 1}}
    (run / "state.json").write_text(json.dumps(state))

    assert check(run).violations == []


def test_a_log_that_only_counts_what_was_left_out_is_still_read(run: Path):
    for boot in (1, 2):
        edit("ack", lambda r: {k: v for k, v in r.items() if k != "left_out"}, boot=boot)(run)

    assert check(run).violations == []

    edit("ack", lambda r: r | {"trained": 2, "dropped": {}}, step=4)(run)
    text = " ".join(check(run).violations)
    assert "step 4 trains 000008.1.0 with lag 2, above max_lag 1" in text


def test_a_log_that_only_counts_may_not_train_more_than_is_fresh(run: Path):
    """One of two is left out as stale; both are."""
    edit("ack", lambda r: {k: v for k, v in r.items() if k != "left_out"}, step=4)(run)
    edit("settle", as_of(2), ticket=9)(run)

    assert "step 4 trains 1 rollouts, and 0 are within max_lag 1" in check(run).violations[0]


def test_what_was_kept_and_never_judged_is_named_too(run: Path):
    CORRUPTIONS["kept and never judged"][0](run)

    assert "000009.0.2 is kept for the learner, and nobody judged it" in check(run).violations[1]


def test_what_was_written_counts_as_attempted_and_not_what_was_asked_for(run: Path):
    edit("issue", lambda r: r | {"size": 5}, ticket=9)(run)

    found = check(run)

    assert (found.violations, found.tally.attempted) == ([], 22)


def test_a_summary_may_be_of_what_the_run_was_before_it_went_on(run: Path):
    counts = {"trained": 4, "dropped": {"skipped": 2}}
    (run / "summary.json").write_text(json.dumps({"steps": 3, "counts": counts}))
    assert check(run).violations == []

    counts["trained"] = 3
    (run / "summary.json").write_text(json.dumps({"steps": 3, "counts": counts}))
    assert check(run).violations == ["summary.json counts trained 3, the log 9"]


def test_a_dead_letter_is_listed_and_settled_with_nothing(run: Path):
    dead = {"kind": "dead", "ticket": 9, "attempt": 0, "why": "no engine survives it"}
    edit("settle", lambda r: dead, ticket=9)(run)
    edit("ack", lambda r: r | {"trained": 0, "tokens": 0}, step=4)(run)

    found = check(run)

    assert found.dead_letters == [{"ticket": 9, "problem": "p-9", "why": "no engine survives it"}]
    assert (found.tally.dead_groups, found.tally.acked, found.tally.attempted) == (1, 18, 20)
    assert not [text for text in found.violations if text.startswith("queue/")]


def test_what_the_engines_are_given_has_to_be_there(run: Path):
    edit("published", lambda r: r | {"version": 6}, version=5)(run)

    assert "the engines are given version 6 after 5 steps" in check(run).violations[0]


def test_what_is_no_run_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="holds no run"):
        check(tmp_path)


def test_the_command_says_ok_or_names_the_first_violation_and_fails(
    run: Path, tmp_path: Path, laconic: Laconic
):
    whole = laconic("check", str(run), "--json")
    assert (whole.code, json.loads(whole.stdout)["ok"]) == (0, True)

    flip("checkpoints/step-000005/shard", 0.3)(run)
    broken = laconic("check", str(run))
    assert broken.code == 1
    assert broken.stderr == "laconic: checkpoints/step-000005 is damaged: shard has changed\n"
    assert laconic("check", str(tmp_path)).code == 2
