"""``max_lag=0`` is a plain single-process loop, whatever the sharding and the number of ranks."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from actors.replay_log import read_log
from actors.settlement_rows import decode_settlement
from configs.load import load_resolved
from configs.run_files import read_jsonl
from configs.schema import RunConfig
from tests.integration.conftest import Laconic, World
from verifiers.types import Rollout

STEPS = 3


def batches_of(run_dir: Path) -> list[list[Rollout]]:
    """The rollouts of every optimizer step, as the queue's log has them."""
    settled: dict[int, tuple[Rollout, ...]] = {}
    batches = []
    for record in read_log(run_dir / "queue"):
        if record["kind"] == "settle":
            settled[record["ticket"]] = decode_settlement(record).rollouts
        elif record["kind"] == "ack":
            tickets = range(record["first"], record["end"])
            batches.append([rollout for ticket in tickets for rollout in settled[ticket]])
    return batches


def plain_loop(
    model_dir: Path, config: RunConfig, batches: list[list[Rollout]]
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """What a person would write: one sequence at a time, one process, torch's own AdamW."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    settings = config.learner.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )
    losses = []
    for step, rollouts in enumerate(batches):
        num_tokens = sum(len(rollout.response_ids) for rollout in rollouts)
        optimizer.zero_grad()
        total = 0.0
        for rollout in rollouts:
            ids = torch.tensor([[*rollout.prompt_ids, *rollout.response_ids]])
            logprobs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            start = len(rollout.prompt_ids) - 1
            picked = logprobs[start:].gather(1, ids[0, start + 1 :, None])
            loss = -picked.sum() / num_tokens
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * min(1.0, (step + 1) / settings.warmup_steps)
        optimizer.step()
        losses.append(total)
    return losses, dict(model.named_parameters())


@pytest.mark.parametrize(
    ("zero_stage", "world_size"),
    [(0, 1), (0, 2), pytest.param(3, 1, marks=pytest.mark.long), (3, 2)],
)
def test_losses_and_weights_equal_those_of_a_plain_loop(
    laconic: Laconic, world: World, zero_stage: int, world_size: int
):
    name = f"exact-{zero_stage}-{world_size}"

    done = laconic(
        "train", "tiny", *world.settings, f"name={name}", "max_lag=0", f"steps={STEPS}",
        f"learner.zero_stage={zero_stage}", f"learner.world_size={world_size}",
        "learner.dtype=float32", "engine.dtype=float32", "learner.optimizer.warmup_steps=2",
    )  # fmt: skip

    assert done.returncode == 0
    run_dir = world.run_dir(name)
    batches = batches_of(run_dir)
    assert len(batches) == STEPS
    for step, rollouts in enumerate(batches):
        assert rollouts
        assert {(r.first_version, r.last_version) for r in rollouts} == {(step, step)}
    config = load_resolved(run_dir / "resolved.yaml")
    losses, weights = plain_loop(world.folder / "model", config, batches)
    steps = list(read_jsonl(run_dir / "metrics.jsonl"))
    assert [row["num_tokens"] for row in steps] == [
        sum(len(r.response_ids) for r in batch) for batch in batches
    ]
    for row, loss in zip(steps, losses, strict=True):
        assert math.isclose(row["loss"], loss, rel_tol=1e-5)
    trained = load_file(run_dir / "checkpoints" / f"step-{STEPS:06d}" / "model/model.safetensors")
    start = load_file(world.folder / "model" / "model.safetensors")
    assert trained.keys() == start.keys()
    for key, weight in trained.items():
        assert not torch.equal(weight, start[key])
        assert (weight - weights[key]).norm() <= 1e-5 * weights[key].norm(), key


def test_the_published_file_is_the_version_that_the_engine_says_it_loaded(world: World):
    """Uses the run of the test above: every version was published once, in order."""
    run_dir = world.run_dir("exact-3-2")
    events = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]

    published = [event for event in events if event["kind"] == "published"]

    assert [event["version"] for event in published] == list(range(1, STEPS + 1))
    assert len({event["fingerprint"] for event in published}) == STEPS
