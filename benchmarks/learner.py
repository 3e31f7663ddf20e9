"""One optimizer step, each way of doing it.

    python -m benchmarks.learner [--rounds 3] [--model FOLDER] [--trl] [--json FILE]

Sides take turns, each in a process of its own, on the same rollouts of a model of SmolLM2-135M's
shape: groups of four with a shared prompt, mean length 0.6 of the longest. tokens/s are tokens of
the rollouts, prompts included, however often or seldom a side computes them; AdamW's step is in the
time. ``--trl`` adds TRL's SFTTrainer, rows of similar length together and packed (`pip install
trl`). Gradients are compared in float32 on fewer layers.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from configs.schema import RunConfig
from learner import attention, head
from learner.examples import supervise
from learner.loss import StepLoss
from learner.objectives.base import Supervised
from learner.pack import Packing, build, plan
from learner.policy import SFT, Policy
from verifiers.types import Lease, Rollout

SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 2048,
}
LAYERS = 30
LONGEST = 512
PROMPT = 96
GROUP = 4
NUM_GROUPS = 4
PACK = 2048
ROWS = PACK // LONGEST

LACONIC = "Laconic's learner"
TRL, TRL_PACKED = "TRL SFTTrainer", "TRL SFTTrainer, packed"

SUM = StepLoss(objective=SFT, divisors={"all": 1.0})


def rollouts(seed: int = 0) -> list[Rollout]:
    """Lengths spread evenly from 0.2 to 1 of the longest: 0.6 on average."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(number: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, SHAPE["vocab_size"], (number,), generator=generator).tolist())

    number = GROUP * NUM_GROUPS
    lengths = torch.linspace(0.2 * LONGEST, LONGEST, number).long()
    order = torch.randperm(number, generator=generator)
    prompts = [tokens(PROMPT) for _ in range(NUM_GROUPS)]
    return [
        Rollout(
            id=f"{index:06d}.0.0",
            prompt_ids=prompts[index // GROUP],
            response_ids=tokens(max(1, int(lengths[order[index]]) - PROMPT)),
            first_version=0,
            last_version=0,
        )
        for index in range(number)
    ]


def sorted_rows(model: PreTrainedModel, batch: list[Rollout]) -> float:
    """What a careful person writes: rows of similar length together."""
    return padded(model, sorted(batch, key=lambda r: -len(r.response_ids)))


def padded(model: PreTrainedModel, batch: list[Rollout]) -> float:
    """What everybody writes: some rows at a time, padded to the longest, logits whole."""
    total = 0.0
    for start in range(0, len(batch), ROWS):
        rows = batch[start : start + ROWS]
        longest = max(len(r.prompt_ids) + len(r.response_ids) for r in rows)
        ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
        targets_BT = torch.full_like(ids_BT, -100)
        for row, rollout in enumerate(rows):
            end = len(rollout.prompt_ids) + len(rollout.response_ids)
            ids_BT[row, :end] = torch.tensor(rollout.prompt_ids + rollout.response_ids)
            targets_BT[row, len(rollout.prompt_ids) : end] = ids_BT[
                row, len(rollout.prompt_ids) : end
            ]
        with torch.autocast("cpu", torch.bfloat16, enabled=_bf16(model)):
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(
            logits_BTV.float().flatten(0, 1), targets_BT[:, 1:].flatten(), reduction="sum"
        )
        loss.backward()
        total += float(loss.detach())
    return total


def packed(model: PreTrainedModel, batch: list[Rollout], *, share: bool = True) -> float:
    policy = Policy(model, torch.bfloat16 if _bf16(model) else torch.float32)
    packing = Packing(
        pack_tokens=PACK, share_prompts=share, free_context=6.0 * SHAPE["hidden_size"]
    )
    tokens = supervise(batch, SFT, "global_tokens", "")
    total = 0.0
    for slot in plan(batch, 1, packing)[0]:
        loss = policy(build(batch, tokens, slot), SUM)[0]
        loss.backward()
        total += float(loss.detach())
    return total


def full_logits(model: PreTrainedModel, batch: list[Rollout]) -> float:
    chunked = head.CHUNK_ELEMENTS
    head.CHUNK_ELEMENTS = 2**40
    try:
        return packed(model, batch, share=False)
    finally:
        head.CHUNK_ELEMENTS = chunked


SIDES: dict[str, Callable[[PreTrainedModel, list[Rollout]], float]] = {
    "padded rows": padded,
    "padded rows, sorted": sorted_rows,
    "packed": lambda model, batch: packed(model, batch, share=False),
    "packed, whole logits": full_logits,
    "packed, prompts shared": packed,
}


def _bf16(model: PreTrainedModel) -> bool:
    return bool(getattr(model, "wants_bf16", True))


def made_model(folder: Path, layers: int) -> str:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE, num_hidden_layers=layers))
    model.save_pretrained(folder)
    return str(folder)


def run_side(side: str, model_dir: str) -> dict[str, float]:
    attention.register()
    rows = side.startswith("padded")
    model = AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=torch.float32, attn_implementation="sdpa" if rows else attention.NAME
    ).train()
    if not rows:
        head.take_over(model.get_output_embeddings())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> float:
        loss = SIDES[side](model, rollouts())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    step()  # shapes, kernels and moments are there now
    return _timed(step)


def run_laconic(model_dir: str) -> dict[str, float]:
    """The learner as a run has it."""
    from learner.trainer import LearnerRank  # noqa: PLC0415  it sets up the whole process

    config = RunConfig.model_validate(
        {
            "model": {"path": model_dir},
            "data": {"train": "made"},
            "filter": {"length_budget": LONGEST},
            "engine": {"dtype": "bfloat16"},
            "learner": {
                "zero_stage": 0,
                "dtype": "bfloat16",
                "micro_batch_tokens": PACK,
                "deterministic": False,
            },
            "cluster": {"threads": torch.get_num_threads()},
        }
    )

    class Queue:
        async def payload(self, step: int, epoch: int) -> list[Rollout]:
            return rollouts()

    loop = asyncio.new_event_loop()
    rank = LearnerRank(0, config, Queue(), model_dir)
    loop.run_until_complete(_started(rank))

    def step() -> float:
        metrics = loop.run_until_complete(rank.step(_lease()))
        return metrics.nll * metrics.num_tokens

    step()
    return _timed(step)


async def _started(rank: Any) -> None:
    await rank.start(await rank.address(), "cpu", 10)


def _lease() -> Lease:
    number = GROUP * NUM_GROUPS
    return Lease(
        step=0, epoch=0, is_ready=True, first_ticket=0, end_ticket=1, num_rollouts=number,
        num_tokens=0, num_stale=0, max_lag=0, num_written=number, written_tokens=0, reasons={},
    )  # fmt: skip


def _timed(step: Callable[[], float]) -> dict[str, float]:
    tokens = sum(len(r.prompt_ids) + len(r.response_ids) for r in rollouts())
    started = time.perf_counter()
    loss = step()
    seconds = time.perf_counter() - started
    return {"tokens_per_s": tokens / seconds, "peak_mib": _peak_mib(), "loss": loss}


def run_trl(side: str, model_dir: str) -> dict[str, float]:
    from datasets import Dataset  # noqa: PLC0415  only with --trl
    from transformers import TrainerCallback  # noqa: PLC0415
    from trl import SFTConfig, SFTTrainer  # noqa: PLC0415

    rows = [
        {
            "input_ids": list(r.prompt_ids + r.response_ids),
            "completion_mask": [0] * len(r.prompt_ids) + [1] * len(r.response_ids),
        }
        for r in rollouts()
    ]
    tokens = sum(len(row["input_ids"]) for row in rows)
    if side == TRL_PACKED:
        how = {"packing": True, "max_length": PACK, "per_device_train_batch_size": 1}
        steps = {"gradient_accumulation_steps": -(-tokens // PACK)}
    else:
        how = {"max_length": None, "train_sampling_strategy": "group_by_length"}
        how |= {"per_device_train_batch_size": ROWS}
        steps = {"gradient_accumulation_steps": len(rows) // ROWS}
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(), bf16=True, use_cpu=True, num_train_epochs=2, report_to=[],
        logging_steps=100, save_strategy="no", dataloader_pin_memory=False, learning_rate=1e-6,
        gradient_checkpointing=False, disable_tqdm=True, **how, **steps,
    )  # fmt: skip
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(-time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times[-1] += time.perf_counter()

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(),
        callbacks=[Clock()],
    )
    trainer.train()
    assert len(times) == 2, times  # an epoch is one step over all rows
    return {"tokens_per_s": tokens / times[1], "peak_mib": _peak_mib(), "loss": 0.0}


def _tokenizer() -> PreTrainedTokenizerFast:
    """TRL wants one; the rows are tokens already."""
    words = Tokenizer(WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")


def loss_memory(kind: str) -> float:
    """MiB that the head and the loss of one pack add to the process, forward and backward."""
    hidden = torch.randn(PACK, SHAPE["hidden_size"], requires_grad=True)
    linear = torch.nn.Linear(SHAPE["hidden_size"], SHAPE["vocab_size"], bias=False)
    targets = torch.randint(0, SHAPE["vocab_size"], (PACK,))
    linear.weight.grad = torch.zeros_like(linear.weight)
    before = _peak_mib()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        if kind == "chunked":
            loss = head.take_over(linear)(hidden, Supervised(targets_N=targets), SUM)[0]
        else:
            loss = F.cross_entropy(linear(hidden).float(), targets, reduction="sum")
    loss.backward()
    return _peak_mib() - before


def gradient_difference() -> float:
    """Packed with shared prompts against one rollout at a time, float32."""
    with tempfile.TemporaryDirectory() as folder:
        model_dir = made_model(Path(folder), layers=2)
        batch = rollouts()[: 2 * GROUP]
        gradients = []
        attention.register()
        for way, name in ((_one_by_one, "sdpa"), (packed, attention.NAME)):
            model = AutoModelForCausalLM.from_pretrained(
                model_dir, dtype=torch.float32, attn_implementation=name
            )
            model.wants_bf16 = False
            if way is packed:
                head.take_over(model.get_output_embeddings())
            way(model, batch)
            gradients.append(torch.cat([w.grad.flatten() for w in model.parameters()]))
    plain, ours = gradients
    return float((ours - plain).norm() / plain.norm())


def _one_by_one(model: PreTrainedModel, batch: list[Rollout]) -> float:
    return sum(padded(model, [rollout]) for rollout in batch)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_process(*arguments: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.learner", *arguments]
    # As the actors of a run: huge pages for tensors, for every side.
    environment = {"THP_MEM_ALLOC_ENABLE": "1"} | os.environ
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def compare(model_dir: str, rounds: int, with_trl: bool) -> dict[str, Any]:
    sides = [*SIDES, LACONIC, *((TRL, TRL_PACKED) if with_trl else ())]
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            seen[side].append(_in_process("--side", side, "--model", model_dir))
    rates = {s: statistics.median(r["tokens_per_s"] for r in runs) for s, runs in seen.items()}
    peaks = {s: statistics.median(r["peak_mib"] for r in runs) for s, runs in seen.items()}
    print(f"medians of {rounds}, {torch.get_num_threads()} threads, bf16")
    for side in sides:
        against = rates[side] / rates["padded rows"]
        rate = f"{rates[side]:7.0f} tokens/s  {against:5.2f} x"
        print(f"  {side:24} {rate}  peak {peaks[side]:6.0f} MiB")
    whole, chunked = (_in_process("--loss-memory", kind) for kind in ("whole", "chunked"))
    share = chunked / whole
    print(f"loss of {PACK} tokens: {whole:.0f} MiB whole, {chunked:.0f} chunked, {share:.2f} x")
    print(f"relative difference of gradients: {gradient_difference():.1e}")
    ratios = {f"{s}: tokens/s over padded rows": rates[s] / rates["padded rows"] for s in sides}
    ratios |= {f"{LACONIC} over {s}": rates[LACONIC] / rates[s] for s in sides if "TRL" in s}
    return {
        "figures": {"tokens_per_s": rates, "peak_mib": peaks, "loss_mib": [whole, chunked]},
        "ratios": ratios | {"loss memory whole over chunked": whole / chunked},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="a folder; none: made, with random weights")
    parser.add_argument("--trl", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--loss-memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.loss_memory:
        print(json.dumps(loss_memory(arguments.loss_memory)))
    elif arguments.side in (TRL, TRL_PACKED):
        print(json.dumps(run_trl(arguments.side, arguments.model)))
    elif arguments.side == LACONIC:
        print(json.dumps(run_laconic(arguments.model)))
    elif arguments.side:
        print(json.dumps(run_side(arguments.side, arguments.model)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            model = arguments.model or made_model(Path(folder), LAYERS)
            found = compare(model, arguments.rounds, arguments.trl)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
