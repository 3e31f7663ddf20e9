"""Weights on their way from the learner to an engine: what is sent, and who waits how long.

    python -m benchmarks.sync [--publications 4] [--json FILE]

A model of SmolLM2-135M's shape with random weights, trained in float32 and published in bfloat16.
Random weights spread over fewer exponents than trained ones, so a share of unchanged elements says
something of the learning rate, and little of your model.

First, what AdamW changes at two learning rates: the learner steps on random tokens, publishes, and
an engine's own code makes the next weights from the delta. Then a real vLLM engine with requests in
flight loads what a learner in another process publishes. Medians; learner and engine have one
thread each. The first publication of each run is complete whatever the transport: it is left out.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.learner import LAYERS, SHAPE, made_model
from configs.economy import SyncConfig
from configs.load import validate
from verifiers.types import Lease, PublishedWeights, Rollout, Sampling, WeightsFile

if TYPE_CHECKING:
    from actors.engine import Engine

RATES = (1e-6, 1e-5)

SIDES: dict[str, dict[str, Any]] = {
    "file, full": {"transport": "file", "delta": False},
    "file, delta": {"transport": "file"},
    "shm, full": {"transport": "shm", "delta": False},
    "shm, delta": {"transport": "shm"},
    "gloo": {"transport": "gloo"},
}

IN_FLIGHT = 8

Row = dict[str, float]


class Queue:
    """Four rollouts of random tokens."""

    async def payload(self, step: int, epoch: int) -> list[Rollout]:
        import torch  # noqa: PLC0415

        generator = torch.Generator().manual_seed(step)

        def tokens(number: int) -> tuple[int, ...]:
            words = torch.randint(3, SHAPE["vocab_size"], (number,), generator=generator)
            return tuple(words.tolist())

        return [
            Rollout(
                id=str(index),
                prompt_ids=tokens(16),
                response_ids=tokens(48),
                first_version=0,
                last_version=0,
            )
            for index in range(4)
        ]


def lease(step: int) -> Lease:
    return Lease(
        step=step, epoch=0, is_ready=True, first_ticket=0, end_ticket=1, num_rollouts=4,
        num_tokens=192, num_stale=0, max_lag=0, num_written=4, written_tokens=192, reasons={},
    )  # fmt: skip


async def started_learner(model_dir: str, rate: float, sync: dict[str, Any]) -> Any:
    from learner.trainer import LearnerRank  # noqa: PLC0415  it sets up the whole process

    config = validate(
        {
            "model": {"path": model_dir},
            "data": {"train": "made"},
            "filter": {"length_budget": 64},
            "learner": {
                "zero_stage": 0,
                "micro_batch_tokens": 512,
                "deterministic": False,
                "optimizer": {"lr": rate, "warmup_steps": 0},
            },
            "cluster": {"threads": 1},
            "sync": sync,
        }
    )
    rank = LearnerRank(0, config, Queue(), model_dir)
    await rank.start(await rank.address(), "cpu", 100)
    return rank


async def changes(model_dir: str, rate: float, publications: int) -> list[Row]:
    """What one learning rate changes, and what it costs to say it and to follow it."""
    import torch  # noqa: PLC0415

    from actors.weight_image import ImageMaker  # noqa: PLC0415
    from learner.publish import fingerprint_of, gather  # noqa: PLC0415
    from verifiers.weights_file import folder_shapes  # noqa: PLC0415

    rank = await started_learner(model_dir, rate, {})
    make = ImageMaker(folder_shapes(model_dir), tied=True, receive=_never)
    rows, image, before = [], None, {}
    full_bytes = 0
    with tempfile.TemporaryDirectory() as folder:
        for version in range(1, publications + 2):
            await rank.step(lease(version))
            peak, started = _peak_mib(), time.perf_counter()
            weights = await rank.publish(folder, version)
            published = time.perf_counter()
            image = make(weights, image)
            applied = time.perf_counter()
            grown = _peak_mib() - peak
            truth = gather(rank._engine, rank._model, torch.bfloat16)
            if version == 1:
                full_bytes = weights.num_bytes
            else:
                same = sum(int((truth[name] == old).sum()) for name, old in before.items())
                rows.append(
                    {
                        "full_mib": full_bytes / 2**20,
                        "delta_mib": weights.num_bytes / 2**20,
                        "ratio": full_bytes / weights.num_bytes,
                        "unchanged": same / sum(old.numel() for old in before.values()),
                        "publish_ms": 1000 * (published - started),
                        "apply_ms": 1000 * (applied - published),
                        "bit_equal": float(image.file.fingerprint == fingerprint_of(truth)),
                        "peak_grew_mib": grown,
                    }
                )
            before = truth
    await rank.close()
    return rows


def _never(weights: PublishedWeights) -> Any:
    raise AssertionError("nothing is streamed here")


async def serve(model_dir: str, folder: str, sync: dict[str, Any]) -> None:
    """A learner for ``side``: each line of its input is a version to step to and to publish."""
    rank = await started_learner(model_dir, 1e-6, sync)
    print("ready", flush=True)
    for line in sys.stdin:
        version = int(line)
        await rank.step(lease(version))
        started = time.perf_counter()
        weights = await rank.publish(folder, version)
        seconds = time.perf_counter() - started
        print(json.dumps({"weights": asdict(weights), "publish_s": seconds}), flush=True)
        if weights.is_streamed:
            await rank.send(1)
    await rank.close()


class Learner:
    """One that serves in another process."""

    def __init__(self, model_dir: str, folder: str, sync: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sync", "--serve", json.dumps(sync),
             "--model", model_dir, "--folder", folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(),
        )  # fmt: skip
        assert self._process.stdout is not None
        while self._process.stdout.readline() != "ready\n":
            if self._process.poll() is not None:
                raise RuntimeError("the learner ended before it began")

    def publish(self, version: int) -> tuple[PublishedWeights, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(version, file=self._process.stdin, flush=True)
        told = json.loads(self._process.stdout.readline())
        weights, address = told["weights"], told["weights"]["address"]
        files = tuple(WeightsFile(**file) for file in weights["files"])
        weights |= {"files": files, "address": address and tuple(address)}
        return PublishedWeights(**weights), told["publish_s"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


async def swaps(model_dir: str, publications: int) -> dict[str, list[Row]]:
    """One engine takes the publications of every side in turn, while it writes."""
    from actors.engine import make_vllm_engine  # noqa: PLC0415
    from configs.schema import EngineConfig  # noqa: PLC0415

    engine = make_vllm_engine(
        EngineConfig(dtype="bfloat16", max_model_len=2048, max_num_seqs=IN_FLIGHT),
        model_dir=model_dir, device="cpu", threads=1, seed=0, sync=SyncConfig(),
        cpu_cores=(max(os.sched_getaffinity(0)),),
    )  # fmt: skip
    await engine.start()
    writing = [asyncio.create_task(_write_on(engine)) for _ in range(IN_FLIGHT)]
    version, rows = 0, {}
    try:
        for side, sync in SIDES.items():
            with tempfile.TemporaryDirectory() as folder:
                learner = await asyncio.to_thread(Learner, model_dir, folder, sync)
                rows[side] = []
                for number in range(publications + 1):
                    version += 1
                    weights, publish_s = await asyncio.to_thread(learner.publish, version)
                    report = await engine.load_weights(weights)
                    first_token_ms = await _first_token_ms(engine)
                    if number:
                        rows[side].append(
                            {
                                "sent_mib": weights.num_bytes / 2**20,
                                "publish_ms": 1000 * publish_s,
                                "prepare_ms": 1000 * report.prepare_s,
                                "stall_ms": 1000 * report.stall_s,
                                "first_token_ms": first_token_ms,
                                "in_flight": report.in_flight,
                            }
                        )
                await asyncio.to_thread(learner.close)
    finally:
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await engine.close()
    return rows


async def _write_on(engine: "Engine") -> None:
    sampling = Sampling(
        temperature=1.0, top_p=1.0, top_k=-1, min_p=0.0, repetition_penalty=1.0, max_tokens=1500,
        logprobs=False,
    )  # fmt: skip
    while True:
        await engine.sample((5, 6, 7), sampling)


async def _first_token_ms(engine: "Engine") -> float:
    async with asyncio.timeout(60):
        while (first := (await engine.stats()).first_token_ms) is None:
            await asyncio.sleep(0.005)
    return first


def medians(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) / 1024


def _environment() -> dict[str, str]:
    # As the actors of a run: huge pages for tensors.
    return {"THP_MEM_ALLOC_ENABLE": "1", "VLLM_LOGGING_LEVEL": "ERROR"} | os.environ


def _in_process(*arguments: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.sync", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment())
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def make(folder: Path) -> str:
    from tokenizers import Tokenizer  # noqa: PLC0415
    from tokenizers.models import WordLevel  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    words = Tokenizer(WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>"
    )
    tokenizer.save_pretrained(folder)
    return made_model(folder, LAYERS)


def compare(publications: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        model_dir, number = make(Path(folder)), str(publications)
        common = ("--model", model_dir, "--publications", number)
        found: dict[str, Any] = {"load": os.getloadavg()[0]}
        for rate in RATES:
            rows = _in_process("--rate", str(rate), *common)
            found[f"lr {rate:g}"] = row = medians(rows)
            row["bit_equal"] = min(each["bit_equal"] for each in rows)
            print(
                f"lr {rate:g}: {row['full_mib']:.0f} MiB full, {row['delta_mib']:.2f} delta, "
                f"{row['ratio']:.1f} x smaller, {100 * row['unchanged']:.2f} % unchanged, "
                f"publish {row['publish_ms']:.0f} ms, check and apply {row['apply_ms']:.0f} ms, "
                f"{'bit-equal' if row['bit_equal'] else 'DIFFERENT BITS'}"
            )
        sides = _in_process("--swaps", *common)
    print(f"{'':12}   sent MiB  publish  prepare    stall  first token   stall/that  (ms)")
    for side, rows in sides.items():
        found[side] = row = medians(rows)
        row["stall_share"] = row["stall_ms"] / row["first_token_ms"]
        print(
            f"{side:12} {row['sent_mib']:10.2f} {row['publish_ms']:8.0f} {row['prepare_ms']:8.0f}"
            f" {row['stall_ms']:8.0f} {row['first_token_ms']:12.0f} {row['stall_share']:12.2f}"
        )
    slow = found[f"lr {RATES[0]:g}"]
    small = slow["ratio"] >= 10 and slow["bit_equal"] == 1
    short = max(found[side]["stall_share"] for side in SIDES) <= 0.1
    print(f"delta at least 10 x smaller at lr {RATES[0]:g}, bit-equal: {_word(small)}")
    print(f"stall at most 0.1 of publish to first token: {_word(short)}")
    return found


def _word(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--publications", type=int, default=4)
    parser.add_argument("--json", type=Path)
    for hidden in ("--model", "--rate", "--serve", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--swaps", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rate:
        print(json.dumps(asyncio.run(changes(given.model, float(given.rate), given.publications))))
    elif given.serve:
        asyncio.run(serve(given.model, given.folder, json.loads(given.serve)))
    elif given.swaps:
        print(json.dumps(asyncio.run(swaps(given.model, given.publications))))
    else:
        found = compare(given.publications)
        if given.json:
            ratios = {f"smaller_at_{rate:g}": found[f"lr {rate:g}"]["ratio"] for rate in RATES}
            for side in SIDES:
                ratios[f"{side}: first token over stall"] = 1 / found[side]["stall_share"]
            given.json.write_text(json.dumps({"figures": found, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
