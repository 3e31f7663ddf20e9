"""The made models, as a new user meets them: the demo's effect, and a real pretrained model."""

import json
import math
from pathlib import Path

import pytest

from tests.integration.conftest import Laconic


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_the_demo_shortens_by_three_fifths_and_keeps_the_accuracy(
    laconic: Laconic, runs: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LACONIC__RUNS_DIR", str(runs))

    done = laconic("demo", timeout_s=900)

    assert done.returncode == 0
    [run_dir] = runs.glob("demo-*")
    assert str(run_dir) in done.stdout
    summary = json.loads((run_dir / "summary.json").read_text())
    before, after = summary["before"], summary["after"]
    assert 0.5 <= before["accuracy"] <= 0.8
    assert after["mean_tokens"] <= 0.4 * before["mean_tokens"]
    assert after["accuracy"] >= before["accuracy_ci"][0]
    for word in ("before", "after", f"{after['mean_tokens']:.1f}"):
        assert word in done.stdout


def test_a_pretrained_model_takes_three_steps_and_is_exported(laconic: Laconic, runs: Path):
    done = laconic(
        "train", "smollm2", "steps=3", "name=smol", f"runs_dir={runs}",
        "batch.problems=4", "eval.problems=4", timeout_s=600,
    )  # fmt: skip
    assert done.returncode == 0
    rows = [json.loads(line) for line in (runs / "smol/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    assert all(math.isfinite(row["loss"]) and row["num_tokens"] > 0 for row in rows)

    exported = laconic("export", str(runs / "smol"), str(runs / "exported"))

    assert exported.returncode == 0
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415  heavy

    model = AutoModelForCausalLM.from_pretrained(runs / "exported")
    tokenizer = AutoTokenizer.from_pretrained(runs / "exported")
    assert model.num_parameters() > 130e6
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)

    judged = laconic(
        "eval", str(runs / "exported"), "--preset", "smollm2", "eval.problems=3",
        "eval.max_tokens=32", "--json",
    )  # fmt: skip
    assert judged.returncode == 0
    assert json.loads(judged.stdout)["problems"] == 3
