"""The estimate of ``--dry-run`` against what a learner rank really takes.

    python -m benchmarks.memory [--only TEXT] [--json FILE]

One process for each setting: two optimizer steps, a publication, a checkpoint, a step before any of
its files is written, and the largest memory it ever had. The model has SmolLM2-135M's shape and
random weights.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from unittest import mock

SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
PROMPT, RESPONSE, GROUP, PROBLEMS = 64, 448, 4, 2

SETTINGS: dict[str, dict[str, Any]] = {
    "stage 0": {"zero_stage": 0, "micro_batch_tokens": 512},
    "stage 1": {"zero_stage": 1, "micro_batch_tokens": 512},
    "stage 1, checkpointing": {
        "zero_stage": 1,
        "micro_batch_tokens": 2048,
        "activation_checkpointing": True,
    },
    "stage 1, packs of 2048": {"zero_stage": 1, "micro_batch_tokens": 2048},
    "stage 1, float32": {"zero_stage": 1, "micro_batch_tokens": 1024, "dtype": "float32"},
    "stage 2, offloaded": {"zero_stage": 2, "micro_batch_tokens": 1024, "offload_optimizer": True},
    "stage 3": {"zero_stage": 3, "micro_batch_tokens": 1024},
    "stage 1, bfloat16 weights": {
        "zero_stage": 1,
        "micro_batch_tokens": 1024,
        "weights": "bfloat16",
    },
    "stage 0, adapters": {"zero_stage": 0, "micro_batch_tokens": 1024, "lora": {}},
}


def configuration(learner: dict[str, Any], batch: dict[str, int]) -> Any:
    from configs.load import validate  # noqa: PLC0415  the parent needs none of this

    sizes = {"problems": PROBLEMS, "group": GROUP, "prompt": PROMPT, "response": RESPONSE} | batch
    return validate(
        {
            "model": {"path": "made"},
            "data": {"train": "made", "max_prompt_tokens": sizes["prompt"]},
            "filter": {"length_budget": sizes["response"]},
            "batch": {"problems": sizes["problems"]},
            "sampling": {"group_size": sizes["group"]},
            "engine": {"dtype": "bfloat16"},
            "learner": {"dtype": "bfloat16"} | learner,
        }
    )


class Queue:
    """Random tokens; every rollout is as long as it may be."""

    def __init__(self, config: Any, num_words: int) -> None:
        self._config, self._num_words = config, num_words

    async def payload(self, step: int, epoch: int) -> list[Any]:
        import torch  # noqa: PLC0415

        from verifiers.types import Rollout  # noqa: PLC0415

        generator = torch.Generator().manual_seed(step)

        def tokens(number: int) -> tuple[int, ...]:
            return tuple(torch.randint(self._num_words, (number,), generator=generator).tolist())

        config = self._config
        prompts = [tokens(config.data.max_prompt_tokens) for _ in range(config.batch.problems)]
        return [
            Rollout(
                id=f"{problem}.{member}",
                prompt_ids=prompt,
                response_ids=tokens(config.filter.length_budget),
                first_version=0,
                last_version=0,
            )
            for problem, prompt in enumerate(prompts)
            for member in range(config.sampling.group_size)
        ]


async def train(model_dir: Path, case: dict[str, Any]) -> float:
    """Peak memory in MiB of steps, a publication and a checkpoint."""
    from learner import saver  # noqa: PLC0415
    from learner.trainer import LearnerRank  # noqa: PLC0415

    config = configuration(case["learner"], case.get("batch", {}))
    words = json.loads((model_dir / "config.json").read_text())["vocab_size"]
    rank = LearnerRank(0, config, Queue(config, words), str(model_dir))
    await rank.start(await rank.address(), "cpu", 2)
    written = threading.Event()
    with (
        tempfile.TemporaryDirectory(dir=model_dir.parent) as folder,
        mock.patch.object(saver, "failpoint", lambda _: written.wait()),
    ):
        await one_step(rank, 0)
        await one_step(rank, 1)
        await rank.publish(folder, 1)
        checkpoint = Path(folder) / "checkpoint"
        checkpoint.mkdir()
        await rank.save(str(checkpoint))
        await one_step(rank, 2)
        written.set()
        await rank.saved()
    peak = peak_mib()
    await rank.close()
    return peak


async def one_step(rank: Any, step: int) -> None:
    from verifiers.types import Lease  # noqa: PLC0415

    lease = Lease(
        step=step, epoch=0, is_ready=True, first_ticket=0, end_ticket=1, num_rollouts=1,
        num_tokens=1, num_stale=0, max_lag=0, num_written=1, written_tokens=1, reasons={},
    )  # fmt: skip
    metrics = await rank.step(lease)
    assert metrics.micro_batches > 1 and not metrics.skipped


def peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) / 1024


def make(model_dir: Path, shape: dict[str, Any]) -> None:
    import torch  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(model_dir)


def estimated(model_dir: Path, case: dict[str, Any]) -> dict[str, float]:
    from transformers import AutoConfig  # noqa: PLC0415

    from learner.memory import MIB, estimate  # noqa: PLC0415

    config = configuration(case["learner"], case.get("batch", {}))
    parts = estimate(config, AutoConfig.from_pretrained(model_dir), 1, "cpu")
    names = parts.__dataclass_fields__
    return {name: getattr(parts, name) / MIB for name in names} | {"total": parts.total / MIB}


def in_process(job: str, model_dir: Path, case: dict[str, Any]) -> Any:
    command = [sys.executable, "-m", "benchmarks.memory", job, str(model_dir), json.dumps(case)]
    # As the actors of a run: huge pages for tensors.
    environment = {"THP_MEM_ALLOC_ENABLE": "1"} | os.environ
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def compare(only: str) -> dict[str, dict[str, float]]:
    found = {}
    print(f"{'':24} {'estimate':>8} {'measured':>8}  ratio   MiB of one rank on a CPU")
    with tempfile.TemporaryDirectory() as folder:
        model_dir = Path(folder) / "model"
        in_process("make", model_dir, SHAPE)
        for name, learner in SETTINGS.items():
            if only not in name:
                continue
            guess = in_process("estimate", model_dir, {"learner": learner})
            peak = in_process("train", model_dir, {"learner": learner})
            ratio = guess.pop("total") / peak
            found[name] = {"estimate_mib": ratio * peak, "measured_mib": peak, "ratio": ratio}
            parts = ", ".join(f"{part} {mib:.0f}" for part, mib in guess.items() if mib)
            print(f"{name:24} {ratio * peak:8.0f} {peak:8.0f}  {ratio:5.2f}   {parts}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("job", nargs="?", choices=["make", "estimate", "train"])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("case", nargs="?", type=json.loads)
    parser.add_argument("--only", default="", help="settings with this in their name")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.job == "make":
        print(json.dumps(make(arguments.model, arguments.case)))
    elif arguments.job == "estimate":
        print(json.dumps(estimated(arguments.model, arguments.case)))
    elif arguments.job == "train":
        print(json.dumps(asyncio.run(train(arguments.model, arguments.case))))
    else:
        found = compare(arguments.only)
        if arguments.json is not None:
            ratios = {n: min(row["ratio"], 1 / row["ratio"]) for n, row in found.items()}
            arguments.json.write_text(json.dumps({"figures": found, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
