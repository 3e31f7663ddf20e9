"""The loop that Laconic is measured against learns what it should."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.loop_job import Job
from cluster.plan import with_types
from configs.load import load

vllm = pytest.importorskip("vllm")
from benchmarks.plain_loop import (  # noqa: E402  needs vLLM
    Row,
    learn,
    learn_as_published,
    math_verify_says,
    micro_batches,
)

ROOT = Path(__file__).parents[2]


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2,
        )
    )  # fmt: skip


def job(**changes: int) -> Job:
    settings = ["learner.micro_batch_tokens=128", "filter.length_budget=90"]
    config = with_types(load("tiny", settings), "cpu", has_bfloat16=False)
    return Job.of(config, "model", "train", Path("rows"))


ROWS: list[Row] = [
    (torch.randint(1, 50, (length,), generator=torch.Generator().manual_seed(length)).tolist(), 4)
    for length in (9, 70, 31, 12, 44, 8, 25)
]


def gradient(network: LlamaForCausalLM) -> torch.Tensor:
    return torch.cat([w.grad.flatten() for w in network.parameters() if w.grad is not None])


def plainly(network: LlamaForCausalLM, rows: list[Row], weights: list[float]) -> torch.Tensor:
    for (ids, prompt), weight in zip(rows, weights, strict=True):
        logp = network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        places = torch.arange(prompt, len(ids))
        loss = -logp[places - 1, torch.tensor(ids)[places]].sum()
        (weight * loss).backward()
    return gradient(network)


def test_every_micro_batch_has_one_of_a_few_shapes_and_every_row_is_in_one():
    made = list(micro_batches(ROWS, 128))

    assert {ids.shape for ids, _ in made} == {(1, 128), (2, 64), (4, 32)}
    assert sum(int((targets != -100).sum()) for _, targets in made) == sum(
        len(ids) - prompt for ids, prompt in ROWS
    )
    assert all(((targets == ids) | (targets == -100)).all() for ids, targets in made)


def test_the_gradient_is_that_of_the_mean_over_all_response_tokens():
    network, other = model(), model()
    tokens = sum(len(ids) - prompt for ids, prompt in ROWS)

    learn(network, ROWS, job())

    expected = plainly(other, ROWS, [1 / tokens] * len(ROWS))
    torch.testing.assert_close(gradient(network), expected, rtol=1e-4, atol=1e-6)


def test_the_published_gradient_is_the_mean_of_the_means_of_four_rows():
    network, other = model(), model()
    lengths = [len(ids) - prompt for ids, prompt in ROWS]
    weights = [1 / sum(lengths[:4]) / 2] * 4 + [1 / sum(lengths[4:]) / 2] * 3

    learn_as_published(network, ROWS, job())

    torch.testing.assert_close(
        gradient(network), plainly(other, ROWS, weights), rtol=1e-4, atol=1e-6
    )


def test_the_published_judge_reads_what_follows_the_thinking():
    assert math_verify_says("7", r"<think>\boxed{3}</think>so \boxed{7}")
    assert not math_verify_says("3", r"<think>\boxed{3}</think>so \boxed{7}")


def test_a_trl_that_is_missing_is_one_line(tmp_path: Path):
    (tmp_path / "trl.py").write_text("raise ImportError('none')")

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.trl_loop", job().text()],
        cwd=ROOT, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "trl is missing (none): pip install trl, or give --trl FOLDER that holds it"
    ]
