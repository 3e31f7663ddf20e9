"""The experiments' arms are configurations that could run, and their table is right by hand."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import arms as work
from benchmarks import results_page
from benchmarks.ablations import ablations
from benchmarks.arms import Arm, ArmFailed, Data, Outcome, experiment, line_of, row_of, verdicts
from benchmarks.methods import methods
from configs.load import load
from learner.provided import bound_objective
from verifiers.hooks import bind_hooks


@pytest.mark.parametrize("arm", [*methods(), *ablations()], ids=lambda arm: arm.name)
def test_every_arm_is_a_configuration(arm: Arm):
    if arm.kind == "evaluate":
        load("tiny", list(arm.settings))
        return
    config = load("tiny", [s.format(gold="g.jsonl", base_samples="b.jsonl") for s in arm.settings])
    bound_objective(config)
    bind_hooks(config.filter)


def test_names_are_told_apart():
    for found in (methods(), ablations()):
        names = [work.slug(arm.name) for arm in found]
        assert len(names) == len(set(names))


def outcome(arm: str, seed: int, accuracy: Sequence[float], tokens: Sequence[float]) -> Outcome:
    return Outcome(
        arm=arm, seed=seed, command="c", accuracy=list(accuracy), tokens=list(tokens),
        truncated=0.0, seconds=10.0 + seed, trained_tokens=100,
    )  # fmt: skip


def test_a_row_is_the_mean_over_seeds():
    arm = Arm(name="x", kind="train")
    found = row_of(arm, [outcome("x", 0, [1, 0], [10, 20]), outcome("x", 1, [1, 1], [30, 40])])

    assert (found["accuracy"], found["tokens"], found["seconds"]) == (0.75, 25, 10.5)
    assert found["accuracy_of_seeds"] == [0.5, 1.0]
    low, high = found["accuracy_ci"]
    assert low < 0.75 < high
    assert "75.0" in line_of(found)


def test_intervals_grow_with_what_seeds_differ_by():
    rng = np.random.default_rng(0)
    alike = (rng.random((1, 300)) < 0.5).astype(float).repeat(3, axis=0)
    apart = alike.copy()
    apart[0], apart[2] = 0, 1

    (low, high), (least, most) = work.two_level(alike), work.two_level(apart)

    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 300) ** 0.5, rel=0.15)
    assert most - least > 3 * (high - low)


def row(arm: str, accuracy: float, tokens: float) -> dict[str, Any]:
    return {
        "arm": arm, "accuracy": accuracy, "accuracy_ci": [accuracy - 0.05, accuracy + 0.05],
        "tokens": tokens, "tokens_ci": [tokens - 5, tokens + 5],
    }  # fmt: skip


def test_what_wins_is_read_from_the_intervals():
    rows = [
        row("base", 0.5, 200),
        row("good", 0.8, 80),
        row("hasty", 0.2, 40),
        row("idle", 0.52, 199),
    ]

    said = verdicts(rows)

    assert said == [
        "Nothing here is more accurate with fewer tokens than: hasty, good.",
        "More accurate than the base, intervals apart: good.",
        "Less accurate than the base, intervals apart: hasty.",
        "Not told apart from the base in accuracy: idle.",
        "No shorter than the base: idle.",
    ]


def options(out: Path, **changes: Any) -> argparse.Namespace:
    values = {"seeds": 2, "steps": 1, "problems": 2, "only": "", "list": False, "extra": []}
    return argparse.Namespace(out=out, **(values | changes))


def test_an_experiment_keeps_what_it_has_and_goes_on_behind_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked: list[str] = []

    def run_arm(lab: work.Lab, arm: Arm, seeds: int) -> list[Outcome]:
        asked.append(arm.name)
        if arm.name == "broken":
            raise ArmFailed("exit 1: laconic: no")
        return [outcome(arm.name, seed, [1, 0], [5, 6]) for seed in range(seeds)]

    monkeypatch.setattr(work, "run_arm", run_arm)
    found = [Arm(name=name, kind="train") for name in ("base", "broken", "good")]

    assert experiment("e", found, options(tmp_path)) == 1
    assert asked == ["base", "broken", "good"]
    assert "broken" in capsys.readouterr().out
    experiment("e", found, options(tmp_path, only="good", seeds=1))
    kept = json.loads((tmp_path / "e.json").read_text())
    assert [(r["arm"], r["seeds"]) for r in kept["rows"]] == [("base", 2), ("good", 1)]
    assert (tmp_path / "e-pareto.svg").is_file()


def test_a_command_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ran: list[tuple[str, ...]] = []

    def laconic(*arguments: str) -> float:
        ran.append(arguments)
        [name] = [a.removeprefix("name=") for a in arguments if a.startswith("name=")]
        folder = tmp_path / name
        folder.mkdir()
        summary = {"seconds": 9.0, "trained_tokens": 50, "generated_tokens": 70, "steps": 1}
        (folder / "summary.json").write_text(json.dumps(summary))
        return 1.0

    monkeypatch.setattr(work, "laconic", laconic)
    monkeypatch.setattr(work, "samples_of", lambda folder: {"after": []})
    monkeypatch.setattr(work, "_outcome", lambda *a: outcome("x", 0, [1.0], [5.0]))
    arm = Arm(name="x", kind="train", settings=("data.train={gold}",))
    made = Data(path=Path("/g"), settings=("batch.problems=3",), generated_tokens=7)
    lab = work.Lab(out=tmp_path, steps=1, problems=2, make=lambda lab, name, seed: made)

    first, again = work.run_arm(lab, arm, 1), work.run_arm(lab, arm, 1)

    assert first == again
    assert len(ran) == 1
    assert {"data.train=/g", "batch.problems=3", f"runs_dir={tmp_path}"} <= set(ran[0])
    assert first[0].generated_tokens == 77
    work.run_arm(replace(lab, steps=2), arm, 1)
    assert len(ran) == 2


def test_the_results_page_has_what_was_found_and_says_what_was_not(tmp_path: Path):
    arm = Arm(name="GRPO", kind="train")
    base = Arm(name="base", kind="evaluate")
    order = ["base", "GRPO"]
    for each, right in ((base, [1, 0]), (arm, [1, 1])):
        found = row_of(each, [outcome(each.name, 0, right, [10, 20])])
        work.write(tmp_path / "methods.json", found, order, options(tmp_path, seeds=1))

    text = results_page.page([tmp_path / "methods.json", tmp_path / "ablations.json"])

    assert "| base | 50.0 [0.0, 100.0] | 15.0 [10.0, 20.0] | 0.0 | 10 | – | – |" in text
    assert "| GRPO | 100.0 [100.0, 100.0] | 15.0 [10.0, 20.0] | 0.0 | 10 | 100 | 0 |" in text
    assert "`python -m benchmarks.methods --seeds 1 --steps 1 --problems 2`" in text
    assert "Not run: greedy, concise prompt," in text
    assert "Not run yet: `python -m benchmarks.ablations --seeds 3`." in text
