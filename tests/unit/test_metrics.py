"""What Prometheus gets to see of a run, and that the board asks for nothing else."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.metrics import METRICS, STATES, Metrics, exported_names

BOARD = Path(__file__).parents[2] / "docker/watch/laconic.json"
QUERY = re.compile(r"(ray_laconic_\w+)\{([^}]*)\}")

ROW = {
    "step": 3, "steps": 9, "loss": 0.5, "grad_norm": 1.5, "lag_max": 1, "accepted": 30,
    "rollouts": 40, "mean_tokens": 80.0, "accepted_tokens_mean": 60.0, "wait_s": 1.0,
    "train_s": 2.0, "publish_s": 1.0, "generated_tokens_per_s": 500.0, "skipped": 0,
}  # fmt: skip


def engine(name: str, state: str) -> dict[str, Any]:
    return {
        "name": name, "state": state, "running": 5, "waiting": 2, "kv_use": 0.5,
        "preemptions": 1, "silent_s": 0.1,
    }  # fmt: skip


def state(generated: int, trained: int) -> dict[str, Any]:
    return {
        "counts": {
            "queued": 7, "running_groups": 4, "generated_tokens": generated,
            "trained_tokens": trained,
        },
        "judges": {"waiting": 3, "ms_p50": 1.0, "ms_p90": 2.0, "ms_p99": 9.0},
        "engines": [engine("generator-0", "serving"), engine("generator-1", "gone")],
    }  # fmt: skip


class Exporter:
    """What Ray's classes would have told Prometheus."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

    def make(self, kind: str, name: str, meaning: str, keys: tuple[str, ...]) -> Any:
        exporter = self

        class Series:
            def _note(self, value: float, tags: Mapping[str, str], *, adds: bool) -> None:
                assert set(tags) == set(keys)
                key = (name, frozenset(tags.items()))
                before = exporter.series.get(key, 0.0) if adds else 0.0
                exporter.series[key] = before + value

            def set(self, value: float, tags: Mapping[str, str]) -> None:
                assert kind == "gauge"
                self._note(value, tags, adds=False)

            def inc(self, value: float, tags: Mapping[str, str]) -> None:
                assert kind == "counter" and value > 0
                self._note(value, tags, adds=True)

            def observe(self, value: float, tags: Mapping[str, str]) -> None:
                assert kind == "histogram"
                self._note(value, tags, adds=True)

        return Series()

    def __call__(self, name: str, **labels: str) -> float:
        return self.series[name, frozenset({"run": "r", **labels}.items())]


@pytest.fixture
def seen() -> Exporter:
    """Of a run that has had one of everything."""
    exporter = Exporter()
    metrics = Metrics("r", exporter.make)
    metrics.step(ROW, {"wrong": 8, "truncated": 2})
    metrics.step(ROW | {"skipped": 1}, {"wrong": 10})
    for generated, trained in ((1000, 400), (1500, 300), (1600, 500)):
        metrics.state(state(generated, trained))
    metrics.synced(4, 0.2, 999)
    metrics.happened("engine_lost")
    metrics.evaluated("step-000010", {"accuracy": 0.7, "mean_tokens": 50.0})
    return exporter


def test_figures_are_those_of_the_run(seen: Exporter):
    assert seen("laconic_accept_ratio") == 0.75
    assert seen("laconic_learner_idle_ratio") == 0.25
    assert seen("laconic_step_seconds", phase="train") == 2.0
    assert seen("laconic_mean_tokens", of="accepted") == 60.0
    assert seen("laconic_rollouts", fate="accepted") == 60
    assert seen("laconic_rollouts", fate="wrong") == 18
    assert seen("laconic_skipped_steps") == 1
    assert [seen("laconic_engines", state=kind) for kind in STATES] == [0, 1, 0, 1]
    assert seen("laconic_engine_sequences", generator="generator-0", state="running") == 5
    assert seen("laconic_engine_sequences", generator="generator-1", state="running") == 0
    assert seen("laconic_eval_accuracy", label="latest") == 0.7


def test_an_engine_that_is_shown_no_more_ends_at_zero():
    exporter = Exporter()
    metrics = Metrics("r", exporter.make)
    metrics.state(state(1000, 400))

    metrics.state(state(1000, 400) | {"engines": [engine("generator-2", "serving")]})

    for name, running in (("generator-0", 0), ("generator-2", 5)):
        assert exporter("laconic_engine_sequences", generator=name, state="running") == running
        assert exporter("laconic_engine_kv_use", generator=name) == running / 10


def test_tokens_that_are_taken_back_are_not_counted_twice(seen: Exporter):
    assert seen("laconic_tokens", kind="generated") == 1600
    assert seen("laconic_tokens", kind="trained") == 500


def test_every_metric_is_given_a_value_and_no_label_names_a_rollout(seen: Exporter):
    assert {name for name, _ in seen.series} == set(METRICS)
    keys = {key for _, _, keys in METRICS.values() for key in keys}
    assert not keys & {"problem", "problem_id", "rollout", "rollout_id", "ticket"}


def test_a_metric_that_fails_ends_all_of_them_and_not_the_run(caplog: pytest.LogCaptureFixture):
    def broken(*_: Any) -> Any:
        raise RuntimeError("Ray is gone")

    metrics = Metrics("r", broken)
    metrics.step(ROW, {})
    metrics.state(state(1, 1))

    assert [record.message for record in caplog.records] == [
        "no metrics any more: RuntimeError: Ray is gone"
    ]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(BOARD.read_text())["panels"] if panel["type"] != "row"]


def test_every_query_of_the_board_names_what_is_exported_with_its_labels():
    names = exported_names()
    for panel in panels():
        for target in panel["targets"]:
            found = QUERY.findall(target["expr"])
            assert found, panel["title"]
            assert target["expr"].count("ray_laconic") == len(found)
            for name, matchers in found:
                labels = set(re.findall(r"(\w+)(?:=~|!=|=)", matchers))
                shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                grouped = set(re.findall(r"by \((\w+)\)", target["expr"])) - {"le"}
                assert name in names, panel["title"]
                assert labels | shown | grouped <= set(names[name]), panel["title"]
                assert "run" in labels


def test_the_board_shows_every_metric_once_loaded():
    shown = {
        name for panel in panels() for t in panel["targets"] for name, _ in QUERY.findall(t["expr"])
    }
    hidden = {"ray_laconic_steps"}
    wanted = {
        f"ray_{name}" + {"gauge": "", "counter": "_total", "histogram": "_bucket"}[kind]
        for name, (kind, _, _) in METRICS.items()
    }
    assert shown == wanted - hidden


def test_the_panels_do_not_overlap():
    board = json.loads(BOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    cells: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        mine = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not mine & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= mine
