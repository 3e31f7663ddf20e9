"""How long training stands still for a checkpoint.

    python -m benchmarks.checkpoint [--rounds 3] [--json FILE]

One rank with a model of SmolLM2-135M's shape and random weights. Two ways take turns: written from
a copy while the next step is taken (``checkpoint.background``), and written at once. A stall is the
time until ``save`` is back; the step beside the writing may be slower than others, so both are
timed. Medians.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.memory import SHAPE, Queue, configuration, in_process, one_step
from configs.schema import RunConfig

LEARNER = {"zero_stage": 1, "micro_batch_tokens": 512}
BATCH = {"response": 192}
WAYS = {"in the background": True, "at once": False}


def with_background(config: RunConfig, background: bool) -> RunConfig:
    checkpoint = config.checkpoint.model_copy(update={"background": background})
    return config.model_copy(update={"checkpoint": checkpoint})


async def measure(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    from learner.trainer import LearnerRank  # noqa: PLC0415  heavy

    config = configuration(LEARNER, BATCH)
    model_dir = str(folder / "model")
    rank = LearnerRank(0, config, Queue(config, SHAPE["vocab_size"]), model_dir)
    await rank.start(await rank.address(), "cpu", 1)
    times: Any = defaultdict(lambda: defaultdict(list))
    await one_step(rank, 0)  # the optimizer has its moments from here on
    for number in range(rounds):
        for way, background in WAYS.items():
            rank._config = with_background(config, background)
            with tempfile.TemporaryDirectory(dir=folder) as directory:
                began = time.perf_counter()
                await rank.save(directory)
                stalled = time.perf_counter()
                await one_step(rank, 1 + number)
                stepped = time.perf_counter()
                await rank.saved()
                times[way]["stall"].append(stalled - began)
                times[way]["step beside it"].append(stepped - stalled)
                num_bytes = sum(f.stat().st_size for f in Path(directory).rglob("*"))
    print(f"a checkpoint of {num_bytes / 2**20:.0f} MiB")
    await rank.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        in_process("make", Path(folder) / "model", SHAPE)
        times = asyncio.run(measure(Path(folder), given.rounds))
    for way, measured in times.items():
        medians = ", ".join(f"{k} {statistics.median(v):.2f} s" for k, v in measured.items())
        print(f"{way:18} {medians}")
    quick, slow = (statistics.median(times[way]["stall"]) for way in WAYS)
    print(f"stall at once / in the background: {slow / quick:.1f}")
    if given.json is not None:
        ratios = {"stall_at_once_over_background": slow / quick}
        given.json.write_text(json.dumps({"figures": times, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
