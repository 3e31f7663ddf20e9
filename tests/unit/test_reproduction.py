"""The presets with published settings: they can be planned without a GPU and say what the papers
say; the benchmarks' files are read and asked as the method's are."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.problem_files import read_problem_file
from actors.problem_making import check_verifiers
from benchmarks.clean_problems import clean
from cluster.main import app
from cluster.nodes import parse_shape
from cluster.pipeline import compose
from cluster.plan import batch_arithmetic, fit, make_plan
from configs.load import ConfigError, load
from configs.pipeline import load_pipeline
from configs.schema import RunConfig
from learner.provided import bound_objective

NODES = {
    "r1-1.5b": ("1x2", 2),
    "single-gpu": ("1x1", 1),
    "r1-7b-multinode": ("2x8", 16),
    "raft-r1-1.5b": ("1x2", 2),
    "tldr-r1-7b": ("1x8", 8),
    "sft-qwen2.5-math-7b": ("1x8+1x1", 9),
    "rlvr-qwen2.5-math-7b": ("2x8", 16),
    "dft-qwen2.5-math-7b": ("1x8+1x1", 9),
    "curio-qwen2.5-math-7b": ("1x8+1x1", 9),
    "opsd-qwen3-1.7b": ("1x2", 2),
    "opsd-compress-qwen3-8b": ("1x4", 4),
    "crisp-qwen3-8b": ("1x4", 4),
    "dapo-qwen2.5-32b": ("8x8", 64),
}
"""The fewest nodes that carry each, and how many GPUs it takes of them."""


def published(name: str) -> RunConfig:
    return load(name, ["data.train=problems.parquet"])


@pytest.mark.parametrize("name", NODES)
def test_a_published_setting_is_planned_without_a_gpu(name: str):
    config, (shape, gpus) = published(name), NODES[name]
    nodes = parse_shape(shape)

    plan, layout = fit(make_plan(config, gpus_seen=nodes.gpus), config, nodes)

    assert (plan.device, plan.gpus, nodes.gpus) == ("cuda", gpus, gpus)
    assert list(layout.draw())
    bound_objective(config)
    assert batch_arithmetic(config)


def test_the_command_shows_the_plan_and_starts_nothing():
    shown = CliRunner().invoke(app, ["train", "r1-1.5b", "--dry-run", "--on", "1x2"])

    assert shown.exit_code == 0
    assert "# placement on cuda" in shown.stdout
    assert "8 problems x 32 rollouts = 256" in shown.stdout
    assert "path: deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B" in shown.stdout


def test_data_that_a_preset_cannot_know_is_asked_for():
    with pytest.raises(ConfigError, match=r"data\.train"):
        load("opsd-qwen3-1.7b", [])


PUBLISHED: dict[str, dict[str, Any]] = {
    "r1-1.5b": {
        "filter.length_budget": 3500, "sampling.group_size": 32, "learner.optimizer.lr": 1e-6,
        "learner.optimizer.weight_decay": 0.01, "learner.optimizer.warmup_steps": 5,
        "learner.optimizer.betas": (0.9, 0.999), "learner.optimizer.clip": 1.0,
        "data.max_prompt_tokens": 1024, "data.system_prompt": None, "batch.min_rollouts": 256,
        "learner.objective": "sft", "learner.normalizer": None, "sampling.temperature": 1.0,
    },
    "opsd-qwen3-1.7b": {
        "learner.optimizer.lr": 5e-6, "batch.problems": 32, "learner.lora.rank": 64,
        "learner.lora.alpha": 128, "filter.length_budget": 1024, "steps": 100,
        "learner.objective_settings": {"divergence": "clipped_forward_kl", "clip": 0.05},
        "learner.teacher.refresh_every": None,
    },
    "crisp-qwen3-8b": {
        "learner.optimizer.lr": 1e-6, "batch.problems": 32, "filter.length_budget": 8192,
        "learner.teacher.refresh_every": 50, "learner.optimizer.weight_decay": 0.01,
        "learner.objective_settings": {"divergence": "reverse_kl"}, "sampling.group_size": 1,
    },
    "opsd-compress-qwen3-8b": {"learner.teacher.refresh_every": None},
    "sft-qwen2.5-math-7b": {
        "batch.problems": 64, "learner.optimizer.lr": 5e-5, "data.epochs": 3,
        "filter.length_budget": 8192,
    },
    "rlvr-qwen2.5-math-7b": {
        "steps": 500, "learner.optimizer.lr": 1e-6, "sampling.group_size": 8,
        "learner.normalizer": "global_tokens", "learner.objective": "dr_grpo",
        "learner.objective_settings": {"clip_low": 0.2, "clip_high": 0.28},
    },
    "dapo-qwen2.5-32b": {
        "batch.drop_equal": True, "learner.objective": "dapo",
        "learner.objective_settings": {
            "max_length": 20480, "overlong_cache": 4096, "overlong_factor": 1.0,
        },
    },
    "dft-qwen2.5-math-7b": {"learner.optimizer.lr": 5e-5, "batch.problems": 256},
    "curio-qwen2.5-math-7b": {
        "learner.optimizer.lr": 1e-5, "batch.problems": 256, "learner.teacher.refresh_every": 5,
        "learner.teacher.refresh_share": 0.99,
    },
    "raft-r1-1.5b": {"max_lag": 3, "learner.objective": "raft"},
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_says_what_was_published(name: str):
    config: Any = published(name)
    for key, value in PUBLISHED[name].items():
        found = config
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value, key


def test_sft_then_rl_is_composed_of_the_two_presets():
    sft, rl = compose(load_pipeline("sft-then-rl-qwen2.5-math-7b", ["set.data.train=x.parquet"]))

    assert (sft.config.data.responses, rl.config.data.responses) == ("instead", "ignore")
    assert (sft.config.learner.objective, rl.config.learner.objective) == ("sft", "dr_grpo")
    assert rl.config.learner.optimizer.lr == 1e-6


# The shapes in which the five benchmarks come as verl-style Parquet files, with made questions.
BENCHMARKS: dict[str, list[dict[str, Any]]] = {
    "gsm8k": [{"data_source": "gsm8k", "question": "Ann has 3 pens and buys 4.", "gold": "7"}],
    "math500": [
        {"data_source": "math500", "question": "Half of $x$?", "gold": r"\frac{x}{2}"},
        {"data_source": "math500", "question": "A point?", "gold": r"\left( 3, \pi \right)"},
    ],
    "amc23": [{"data_source": "amc23", "question": "How many?", "gold": "27", "url": "u"}],
    "aime24": [{"data_source": "aime", "question": "What is $m+n$?", "gold": "204"}],
    "aime25": [{"data_source": "aime25", "question": "Find the sum.", "gold": "070"}],
}
JUDGES = {"gsm8k": "number"}


def benchmark_file(folder: Path, name: str) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": row["question"]}],
            "reward_model": {"ground_truth": row["gold"], "style": "rule"},
            "data_source": row["data_source"],
            "ability": "math",
            "id": f"test/{number}.json",
            **({"url": row["url"]} if "url" in row else {}),
        }
        for number, row in enumerate(BENCHMARKS[name])
    ]
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_is_read_and_judged_as_it_should_be(name: str, tmp_path: Path):
    file = read_problem_file(str(benchmark_file(tmp_path, name)))
    data = published("r1-1.5b").data

    check_verifiers(file, data)
    assert [row.answer for row in file.rows] == [row["gold"] for row in BENCHMARKS[name]]
    assert {row.verifier or data.verifier for row in file.rows} == {JUDGES.get(name, "math")}


def test_the_prompt_of_training_and_evaluation_is_the_published_one():
    data = published("r1-1.5b").data

    assert data.suffix == (
        "\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    assert data.system_prompt is None and data.templates == ()


def test_what_cannot_be_learned_from_or_is_asked_in_a_benchmark_is_left_out(tmp_path: Path):
    benchmark = benchmark_file(tmp_path, "math500")
    source = tmp_path / "train.json"
    rows = [
        {"problem": "1+1?", "answer": "2", "solution": "It is 2."},
        {"problem": "2+2?", "answer": ""},
        {"problem": "3+3?", "answer": None},
        {"problem": "Half  of $x$?", "answer": "x/2"},
        {"problem": "1+1?", "answer": "2"},
        {"problem": "1+1?", "answer": "3"},
    ]
    source.write_text(json.dumps(rows))

    counts = clean(source, tmp_path / "out.jsonl", [benchmark])

    assert counts == {
        "read": 6,
        "without an answer": 2,
        "asked in a benchmark": 1,
        "asked twice": 2,
        "written": 1,
    }
    [row] = read_problem_file(str(tmp_path / "out.jsonl"), with_responses=True).rows
    assert (row.messages[0].content, row.answer, row.response) == ("1+1?", "2", "It is 2.")
