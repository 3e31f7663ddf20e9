"""The figures of every view, against DuckDB's own count of the files or against brute force."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cluster.replay import Replay, replay
from configs.run_files import latest_rollouts, read_table
from dashboard.server.views.pareto import crossing, frontier
from dashboard.server.views.pipeline import learner_seconds, quantile
from tests.dashboard_runs import WrittenRun, asking, born, demo

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo(tmp_path_factory.mktemp("runs") / "demo", 3000)


@pytest.fixture(scope="module")
def ask(folder: Path) -> Ask:
    return asking(folder)


@pytest.fixture(scope="module")
def truth(folder: Path) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Questions about ``rollouts`` as the run directory's own readers give them."""
    connection = duckdb.connect()
    connection.register("rollouts", latest_rollouts(folder))
    connection.register("evals", read_table(folder, "evals"))
    yield lambda sql: connection.execute(sql).fetchall()
    connection.close()


def test_the_funnel_counts_what_the_files_hold(ask: Ask, truth: Any):
    found = ask("funnel")
    by_name = {row["stage"]: row for row in found["stages"]}

    [(num, finished, correct, short, accepted, trained, tokens)] = truth(
        """SELECT count(*), count(*) FILTER (finish_reason = 'stop'),
            count(*) FILTER (finish_reason = 'stop' AND verdict = 'correct'),
            count(*) FILTER (finish_reason = 'stop' AND verdict = 'correct'
                AND n_tokens <= budget),
            count(*) FILTER (accepted), count(*) FILTER (accepted AND fate = 'trained'),
            sum(n_tokens) FROM rollouts"""
    )

    assert by_name["generated"]["rollouts"] == num
    assert by_name["generated"]["tokens"] == tokens
    assert by_name["finished"]["rollouts"] == finished
    assert by_name["correct"]["rollouts"] == correct
    assert by_name["within_budget"]["rollouts"] == short
    assert by_name["accepted"]["rollouts"] == accepted
    assert by_name["trained"]["rollouts"] == trained
    assert found["counts"]["issued"] == num
    assert found["counts"]["unaccounted"] == 0


def test_every_count_of_the_funnel_is_that_of_the_list_behind_it(ask: Ask):
    found = ask("funnel")
    stages = found["stages"]

    for before, row in zip([None, *stages], stages, strict=False):
        assert ask("rollouts", limit=1, **row["filters"])["total"] == row["rollouts"]
        if before is not None:
            lost = ask("rollouts", limit=1, **row["lost_filters"])["total"]
            assert lost == row["lost"]["rollouts"] == before["rollouts"] - row["rollouts"]
    for row in found["reasons"]:
        assert ask("rollouts", limit=1, **row["filters"])["total"] == row["rollouts"]
        assert sum(row["by_version"]) == row["rollouts"]
    assert sum(found["version_rows"]) == stages[0]["rollouts"]


def test_seconds_of_engines_add_up_to_the_time_in_which_they_wrote(ask: Ask, truth: Any):
    seconds = ask("funnel")["stages"][0]["gpu_seconds"]
    [(written,)] = truth("SELECT sum(gen_ms) / 1000 FROM rollouts")
    spans = truth(
        "SELECT generator_id, (max(end_us) - min(start_us)) / 1e6 FROM rollouts GROUP BY 1"
    )

    assert 0 < seconds < written
    assert seconds <= 1.02 * sum(span for _, span in spans) + 2 * len(spans)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"verdict": ["wrong", "no_answer"]},
        {"reason": ["accepted", "over_budget"]},
        {"population": "trained", "tokens_max": "200"},
        {"failed": ["length", "branchy"]},
        {"accepted": "false", "version_min": "2", "version_max": "6"},
        {"stage": "correct"},
        {"lost_at": "trained"},
    ],
)
def test_facets_and_list_agree_with_brute_force_under_filters(
    ask: Ask, folder: Path, filters: dict[str, Any]
):
    rows = [row for row in latest_rollouts(folder).to_pylist() if _fits(row, filters)]

    assert ask("rollouts", limit=1, **filters)["total"] == len(rows)
    found = ask("facets", facet=["verdict", "fate", "finish_reason"], **filters)
    assert found["total"] == len(rows)
    for name, choices in found["facets"].items():
        if name not in filters:
            assert sum(choice["count"] for choice in choices) == len(rows), name


def _fits(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    right = row["finish_reason"] == "stop" and row["verdict"] == "correct"
    tests = {
        "verdict": lambda v: row["verdict"] in v,
        "reason": lambda v: (row["reason"] or "accepted") in v,
        "population": lambda v: row["fate"] == "trained",
        "tokens_max": lambda v: row["n_tokens"] <= int(v),
        "failed": lambda v: any(not c["pass"] and c["name"] in v for c in row["filters"]),
        "accepted": lambda v: not row["accepted"],
        "version_min": lambda v: row["last_version"] >= int(v),
        "version_max": lambda v: row["last_version"] <= int(v),
        "stage": lambda v: right,
        "lost_at": lambda v: row["accepted"] and row["fate"] is None,
    }
    return all(tests[name](value) for name, value in filters.items())


@pytest.mark.parametrize("sort", ["-n_tokens", "n_tokens", "reason", "-step", "end_us"])
def test_pages_and_neighbours_walk_the_same_list(ask: Ask, sort: str):
    filters = {"sort": sort, "verdict": ["correct", "no_answer"], "version_max": 3}
    total = ask("rollouts", limit=1, **filters)["total"]
    walked: list[str] = []
    while len(walked) < total:
        page = ask("rollouts", limit=500, offset=len(walked), **filters)["rows"]
        walked += [row["rollout_id"] for row in page]
    assert len(set(walked)) == total

    for place in (0, 1, total // 2, total - 2, total - 1):
        found = ask("rollout", id=walked[place], **filters)
        assert found["previous"] == (walked[place - 1] if place else None)
        assert found["next"] == (walked[place + 1] if place + 1 < total else None)


def test_a_rollout_is_shown_as_it_was_recorded(ask: Ask, folder: Path):
    row = next(row for row in latest_rollouts(folder).to_pylist() if row["fate"] == "trained")
    texts = read_table(folder, "text")
    place = texts["rollout_id"].to_pylist().index(row["rollout_id"])
    whole = texts["text"][place].as_py()

    found = ask("rollout", id=row["rollout_id"])

    assert found["filters"] == row["filters"]
    assert found["rollout"]["fate"] == "trained"
    assert found["text"]["characters"] == len(whole)
    assert ask("rollout/text", id=row["rollout_id"])["text"] == whole
    assert [other["sample"] for other in found["siblings"]] == list(range(row["size"]))
    assert found["learner_logp_mean"] == pytest.approx(row["learner_logp_mean"], rel=1e-5)
    assert set(found["missing"].values()) <= {"not_recorded", "not_applicable", "not_yet"}


def test_lengths_count_every_rollout_once(ask: Ask, truth: Any):
    for log in (0, 1):
        found = ask("lengths", log=log, bins=30)
        rows = {
            row[0]: row[1:]
            for row in truth(
                """SELECT last_version, count(*), count(*) FILTER (finish_reason = 'length'),
                median(n_tokens) FROM rollouts GROUP BY 1"""
            )
        }
        assert found["edges"] == sorted(set(found["edges"]))
        assert sum(found["rows"]) == found["total"]
        for at, (first, last) in enumerate(found["versions"]):
            if first == last and first in rows:
                num, cut, median = rows[first]
                assert (found["rows"][at], found["truncated"][at]) == (num, cut)
                assert sum(found["counts"][at]) == num - cut
                assert found["p50"][at] == pytest.approx(median)


def test_a_length_stands_in_its_own_bin(tmp_path: Path):
    run = WrittenRun(tmp_path)
    run.seal("meta", [born(n, n_tokens=tokens) for n, tokens in enumerate((1, 9, 10, 19, 20))])

    found = asking(tmp_path)("lengths", bins=4)

    bins = list(zip(found["edges"], found["edges"][1:], found["counts"][0], strict=False))
    for low, high, num in bins:
        assert num == sum(low <= tokens < high for tokens in (1, 9, 10, 19, 20))
    assert sum(num for _, _, num in bins) == 5


@pytest.mark.parametrize("length", [50, 150, 250, 10_000])
def test_what_if_is_what_replay_decides(ask: Ask, folder: Path, length: int):
    settings = [f"filter.length_budget={length}", "budget.kind=fixed"]
    expected = replay(folder, settings)

    found = ask("whatif/apply", length=length, **_replayed(expected))["kept"]

    assert found["kept"] == expected.after.kept
    assert found["reasons"] == expected.after.reasons
    assert found["problems_without"] == expected.after.problems_without
    assert found["not_observed"] == expected.not_observed
    assert found["mean_tokens"] == pytest.approx(expected.after.mean_tokens)
    assert found["pass_rate"] == pytest.approx(expected.after.pass_rate)


def test_the_slider_needs_no_further_question(ask: Ask):
    sent = ask("whatif")
    by = sent["by_tokens"]

    for length in (40, 120, 333):
        kept = sum(
            num for tokens, num in zip(by["tokens"], by["count"], strict=True) if tokens <= length
        )
        exact = ask("whatif/apply", length=length)["kept"]
        assert kept == exact["kept"]
        with_any = sum(tokens <= length for tokens in sent["shortest_tokens"])
        assert sent["problems"] - with_any == exact["problems_without"]
        unknown = sum(
            num for cap, num in zip(*sent["cut_off"].values(), strict=True) if cap < length
        )
        assert unknown == exact["not_observed"]
    funnel = {row["stage"]: row for row in ask("funnel")["stages"]}
    assert sent["current"]["kept"] == funnel["accepted"]["rollouts"]


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.8, 1.0, 1.7])
def test_a_factor_on_budgets_keeps_what_is_short_enough(tmp_path: Path, factor: float):
    run = WrittenRun(tmp_path)
    lengths = [(tokens, budget) for tokens in range(1, 60, 3) for budget in (10, 21, 35)]
    run.seal("meta", [born(n, n_tokens=t, budget=b) for n, (t, b) in enumerate(lengths)])
    ask = asking(tmp_path)
    expected = sum(tokens <= factor * budget + 1e-9 for tokens, budget in lengths)

    by = ask("whatif")["by_factor"]
    exact = ask("whatif/apply", factor=factor)["kept"]

    assert exact["kept"] == expected
    pairs = zip(by["factor"], by["count"], strict=True)
    assert sum(num for at, num in pairs if at <= factor) == expected


def test_a_moved_limit_is_what_replay_decides(ask: Ask, folder: Path):
    config = json.dumps([{"use": "branchy", "settings": {"max": 4.0}}])
    expected = replay(folder, [f"filter.steps={config}"])

    found = ask("whatif/apply", set="branchy:4.0", drop="duplicate", **_replayed(expected))

    assert found["kept"]["kept"] == expected.after.kept
    assert found["kept"]["reasons"] == expected.after.reasons
    assert replay(folder, _settings(found["override"])).after.kept == expected.after.kept


def _replayed(found: Replay) -> dict[str, list[str]]:
    """Filters that leave what was replayed: groups without all of their texts were not."""
    return {"group_id": sorted({name.rpartition(".")[0] for name in found.decisions})}


def _settings(override: str) -> list[str]:
    return [setting.strip("'") for setting in override.split("' '")]


def test_flips_add_up_to_the_change_of_accuracy(ask: Ask, truth: Any):
    labels = [row["label"] for row in ask("evals")["rows"]]

    found = ask("evals/flips", a=labels[0], b=labels[-1])

    change = found["accuracy_b"] - found["accuracy_a"]
    assert found["gained"] - found["lost"] == pytest.approx(change)
    parts = ("changed", "same_right", "same_wrong", "mixed")
    assert sum(found[name] for name in parts) == found["problems"]
    expected = dict(
        truth(
            """SELECT label, avg(share) FROM (SELECT label, problem_id,
            avg((verdict = 'correct' AND finish_reason = 'stop')::INT) AS share
            FROM evals GROUP BY ALL) GROUP BY label"""
        )
    )
    assert found["accuracy_a"] == pytest.approx(expected[labels[0]])
    for row in ask("evals")["rows"]:
        assert row["pass_at_1"] == pytest.approx(expected[row["label"]])
        assert row["pass_low"] <= row["pass_at_1"] <= row["pass_high"]
        assert all(k["value"] >= row["pass_at_1"] for k in row["pass_at_k"])


def test_the_frontier_holds_what_nothing_beats():
    points = [
        {"benchmark": "b", "tokens": tokens, "accuracy": accuracy}
        for tokens, accuracy in ((10, 0.5), (20, 0.4), (20, 0.7), (5, 0.1), (30, 0.7), (40, 0.9))
    ]

    assert frontier(points, "b") == [3, 0, 2, 5]


def test_nothing_is_said_of_what_was_not_measured():
    curve = [(0.4, 100.0), (0.6, 200.0)]

    assert crossing(curve, 0.5) == pytest.approx(150)
    assert crossing(curve, 0.6) == 200
    assert crossing(curve, 0.61) is None
    assert crossing(curve, 0.39) is None
    assert crossing([], 0.5) is None


def test_shares_of_the_learners_time_sum_to_one(ask: Ask):
    found = ask("pipeline")

    assert sum(part["share"] for part in found["learner_time"]) == pytest.approx(1)
    assert found["lag_violations"] == sum(
        row["rollouts"] for row in found["lag"] if row["lag"] > found["max_lag"]
    )
    for row in [*found["lag"], *found["drops"]]:
        assert ask("rollouts", limit=1, **row["filters"])["total"] == row["rollouts"]


def test_time_between_two_steps_is_neither_lost_nor_counted_twice():
    second = 1_000_000
    rows = [
        {"wait_s": 1.0, "train_s": 4.0, "fetch_s": 1.0, "compute_s": 2.0, "publish_s": 1.0,
         "asked_us": 0, "published_us": 6 * second},
        {"wait_s": 2.0, "train_s": 3.0, "fetch_s": 0.0, "compute_s": 3.0, "publish_s": 0.0,
         "asked_us": 8 * second, "published_us": 13 * second},
    ]  # fmt: skip

    assert learner_seconds(rows) == {
        "wait": 3.0, "fetch": 1.0, "compute": 5.0, "other_step": 1.0, "publish": 1.0,
        "between": 2.0,
    }  # fmt: skip


@pytest.mark.parametrize("share", [0.01, 0.5, 0.51, 0.95, 1.0])
def test_a_quantile_of_counts_is_that_of_the_values(share: float):
    counts = {0: 5, 1: 3, 7: 2}
    values = sorted(value for value, num in counts.items() for _ in range(num))

    [(expected,)] = duckdb.execute(
        f"SELECT quantile_disc(v, {share}) FROM (SELECT unnest({values}) AS v)"
    ).fetchall()

    assert quantile(counts, share) == expected
    assert quantile({}, share) is None


def test_a_search_finds_what_a_loop_over_the_texts_finds(ask: Ask, folder: Path):
    texts = read_table(folder, "text")
    there = set(latest_rollouts(folder)["rollout_id"].to_pylist())
    expected = {
        name
        for name, text in zip(
            texts["rollout_id"].to_pylist(), texts["text"].to_pylist(), strict=True
        )
        if "Wait" in text and name in there
    }
    found = ask("rollouts", q=r"\bWait\b|Wait", limit=500)
    while found["incomplete"]:
        found = ask("rollouts", q=r"\bWait\b|Wait", limit=500)

    assert found["total"] == len(expected) > 0
    assert {row["rollout_id"] for row in found["rows"]} <= expected


def test_problems_count_what_their_rollouts_are(ask: Ask, truth: Any):
    rows = ask("problems", sort="problem_id", limit=500)["rows"]
    expected = {
        row[0]: row[1:]
        for row in truth(
            """SELECT problem_id, count(*), count(*) FILTER (verdict = 'correct'),
            count(*) FILTER (accepted) FROM rollouts GROUP BY 1"""
        )
    }

    assert [row["problem_id"] for row in rows] == sorted(expected)
    for row in rows:
        counted = (row["rollouts"], row["correct"], row["accepted"])
        assert counted == expected[row["problem_id"]]
    one = ask("problem", id=rows[1]["problem_id"], sort="problem_id")
    assert (one["previous"], one["next"]) == (rows[0]["problem_id"], rows[2]["problem_id"])
    assert len(one["rollouts"]) == rows[1]["rollouts"]


def test_configuration_shows_every_key_and_what_is_not_its_default(ask: Ask):
    entries = {row["key"]: row for row in ask("config")["entries"]}

    assert entries["learner.optimizer.clip"]["is_default"] is True
    assert entries["filter.length_budget"]["default"] is None
    assert entries["max_lag"]["description"].startswith("Optimizer steps")


def test_nan_is_named_and_a_step_taken_again_stands_once(tmp_path: Path):
    rows = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": None, "nan": ["loss"]},
            {"step": 1, "loss": 3.0}]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    [series] = asking(tmp_path)("metrics")["series"]

    assert series["step"] == [1, 2]
    assert series["columns"]["loss"] == [3.0, None]
    assert series["nan"] == {"loss": [1]}


def test_rollouts_that_the_recorder_lacks_are_told(tmp_path: Path):
    run = WrittenRun(tmp_path)
    run.seal("meta", [born(0), born(1)])
    state = {"phase": "finished", "counts": {"settled": 5, "running_groups": 0}}
    (tmp_path / "state.json").write_text(json.dumps(state))

    counts = asking(tmp_path)("funnel")["counts"]

    assert counts["unaccounted"] == 3
    assert counts["issued"] == 5


def test_runs_are_compared_in_words(folder: Path, tmp_path: Path):
    WrittenRun(tmp_path / "other").seal("meta", [born(0, n_tokens=1)])
    ask = asking(folder, tmp_path / "other")

    found = ask("compare", run=["demo", "other"])

    tokens = next(row for row in found["outcome"] if row["key"] == "mean_tokens")
    assert tokens["words"] == ["same", "better"]
    assert [row["differs"] for row in found["config"]] == sorted(
        (row["differs"] for row in found["config"]), reverse=True
    )


def test_logs_are_read_by_bytes_and_followed(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "a.log"
    lines = [f"2026-01-01 00:00:{n % 60:02d},000 {'INFO' if n % 10 else 'ERROR'} line {n}\n"
             for n in range(5000)]  # fmt: skip
    path.write_text("".join(lines))
    ask = asking(tmp_path)

    last = ask("log", file="a.log", bytes=4096)
    assert last["lines"][-1]["text"].endswith("line 4999")
    before = ask("log", file="a.log", bytes=4096, to=last["previous"])
    assert before["next"] == last["from"]
    with path.open("a") as file:
        file.write("half")
    assert ask("log", file="a.log", **{"from": last["next"]})["lines"] == []
    errors = ask("log", file="a.log", level="ERROR", **{"from": 0})
    assert len(errors["lines"]) == 500 and errors["done"]
    assert len(ask("log", file="a.log", q="line 49$", **{"from": 0})["lines"]) == 1


def test_a_log_that_ends_with_a_line_of_a_megabyte_shows_its_end_and_reads_on_before_it(
    tmp_path: Path,
):
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "a.log"
    path.write_text("first\n" + "x" * 300_000 + "end\n")
    ask = asking(tmp_path)

    pieces = [ask("log", file="a.log", bytes=65536)]
    while (to := pieces[-1]["previous"]) is not None:
        assert len(pieces) < 10, "it does not come nearer to the beginning"
        pieces.append(ask("log", file="a.log", bytes=65536, to=to))

    assert pieces[0]["lines"][-1]["text"].endswith("end")
    assert pieces[-1]["lines"][0]["text"] == "first"
    assert sum(piece["searched"] for piece in pieces) == path.stat().st_size
