"""Whole runs of objectives that need more than accepted answers: what reached the learner is read
from the queue's log, and the first step's loss is computed once more, plainly, in float64."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from actors.replay_log import read_log
from actors.settlement_rows import decode_settlement
from configs.run_files import read_jsonl
from tests.integration.conftest import Laconic, World
from verifiers.types import Rollout


@pytest.fixture(scope="module")
def model(world: World) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(world.folder / "model", dtype=torch.float64)


def finished(laconic: Laconic, world: World, name: str, *settings: str) -> Path:
    done = laconic(
        "train", "tiny", *world.settings, f"name={name}", "steps=2", "max_lag=0",
        "batch.problems=2", "engine.dtype=float32", "learner.dtype=float32", *settings,
    )  # fmt: skip
    assert done.returncode == 0
    return world.run_dir(name)


def first_batch(run_dir: Path) -> list[Rollout]:
    records = list(read_log(run_dir / "queue"))
    [ack] = [r for r in records if r["kind"] == "ack" and r["step"] == 0]
    settled = [decode_settlement(r) for r in records if r["kind"] == "settle"]
    mine = sorted((s for s in settled if s.ticket < ack["end"]), key=lambda s: s.ticket)
    return [rollout for settlement in mine for rollout in settlement.rollouts]


def first_step(run_dir: Path) -> dict[str, Any]:
    return next(iter(read_jsonl(run_dir / "metrics.jsonl")))


@torch.no_grad()
def logprobs(model: PreTrainedModel, prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
    """At each token of the response, over all words."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)


def of_targets(model: PreTrainedModel, rollout: Rollout) -> Tensor:
    logp_NV = logprobs(model, rollout.prompt_ids, rollout.response_ids)
    return logp_NV[range(len(rollout.response_ids)), rollout.response_ids]


def test_grpo_learns_from_whole_groups(laconic: Laconic, world: World, model: PreTrainedModel):
    run_dir = finished(laconic, world, "grpo", "learner.objective=grpo")

    batch, row = first_batch(run_dir), first_step(run_dir)
    groups: dict[str, list[Rollout]] = {}
    for rollout in batch:
        groups.setdefault(rollout.id.rpartition(".")[0], []).append(rollout)
    assert {len(group) for group in groups.values()} == {8}
    assert {rollout.reward for rollout in batch} == {0.0, 1.0}
    means = []
    for group in groups.values():
        rewards = torch.tensor([rollout.reward for rollout in group], dtype=torch.float64)
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-6)
        for rollout, advantage in zip(group, advantages, strict=True):
            ratio = (of_targets(model, rollout) - torch.tensor(rollout.logprobs)).exp()
            bounded = ratio.clamp(0.8, 1.2)
            means.append(-torch.minimum(ratio * advantage, bounded * advantage).mean().item())
    # Advantages of a group sum to 0 and ratios are nearly 1: compared on the scale of one term.
    assert row["loss"] == pytest.approx(sum(means) / len(means), abs=1e-5)
    assert row["grad_norm"] > 0
    assert row["num_rollouts"] == len(batch)
    assert 0 < row["drift"] < 1e-4
    assert row["drift"] < row["worst_drift"] < 1e-3


@pytest.mark.long
def test_opsd_learns_from_a_teacher_that_sees_the_answer(
    laconic: Laconic, world: World, model: PreTrainedModel
):
    prompt = "learner.teacher.prompt={problem} The answer is {answer}. Be brief."
    run_dir = finished(laconic, world, "opsd", "learner.objective=opsd", prompt)

    total, count = 0.0, 0
    for rollout in first_batch(run_dir):
        assert len(rollout.teacher_prompt_ids) > len(rollout.prompt_ids)
        ours = logprobs(model, rollout.prompt_ids, rollout.response_ids)
        theirs = logprobs(model, rollout.teacher_prompt_ids, rollout.response_ids)
        total += (ours.exp() * (ours - theirs)).sum().item()
        count += len(rollout.response_ids)
    assert total > 0
    assert first_step(run_dir)["loss"] == pytest.approx(total / count, rel=1e-4)


def rows_with_responses(world: World) -> Path:
    file = world.folder / "given.jsonl"
    rows = (
        {"prompt": f"Count to {i}.", "answer": "x", "response": "one " * i} for i in range(1, 9)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.long
def test_given_responses_are_learnt_from_instead(
    laconic: Laconic, world: World, model: PreTrainedModel
):
    file = rows_with_responses(world)
    run_dir = finished(
        laconic, world, "given", f"data.train={file}", "data.responses=instead"
    )  # fmt: skip

    batch, row = first_batch(run_dir), first_step(run_dir)
    assert len(batch) == 2
    assert all(rollout.is_expert for rollout in batch)
    tokens = sum(len(rollout.response_ids) for rollout in batch)
    nll = -sum(of_targets(model, rollout).sum().item() for rollout in batch)
    assert row["loss"] == pytest.approx(nll / tokens, rel=1e-5)
    assert row["generated_tokens"] == 0
    assert row["drift"] == 0


@pytest.mark.long
def test_chord_learns_from_both_each_with_its_own_count(
    laconic: Laconic, world: World, model: PreTrainedModel
):
    file = rows_with_responses(world)
    run_dir = finished(
        laconic, world, "chord", f"data.train={file}", "data.responses=beside",
        "learner.objective=chord", "learner.objective_settings.mu=0.3",
        "learner.objective_settings.mu_valley=0.3",
    )  # fmt: skip

    batch = first_batch(run_dir)
    own = torch.cat([of_targets(model, rollout) for rollout in batch if not rollout.is_expert])
    expert = torch.cat([of_targets(model, rollout) for rollout in batch if rollout.is_expert])
    p = expert.exp()
    expected = -0.7 * own.mean() - 0.3 * (p * (1 - p) * expert).mean()
    assert sum(rollout.is_expert for rollout in batch) == 2
    assert first_step(run_dir)["loss"] == pytest.approx(expected.item(), rel=1e-5)
