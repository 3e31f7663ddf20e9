"""What ``test_staging`` runs: weights staged beside a real model of vLLM, in this process."""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # so that its objects can be counted

import torch
from vllm import LLM
from vllm.model_executor.model_loader.reload.layerwise import LAYERWISE_INFO


def main(folder: Path) -> None:
    llm = LLM(
        str(folder),
        dtype="float32",
        max_model_len=64,
        kv_cache_memory_bytes=2**26,
        enforce_eager=True,
        worker_extension_cls="actors.vllm_worker.WorkerExtension",
    )
    weights = [str(folder / "model.safetensors")]
    llm.collective_rpc("load_files", args=(weights,))  # what a complete load writes
    found = []
    for _ in range(4):
        found.append(swap(llm, weights) | counts())
    swap(llm, weights, stop_after=1)
    found.append(swap(llm, weights) | counts())
    print(json.dumps(found))


def swap(llm: LLM, weights: list[str], stop_after: int | None = None) -> dict[str, Any]:
    [can_be_done] = llm.collective_rpc("stage", args=(weights,))
    assert can_be_done
    done, steps = None, 0
    while done is None and steps != stop_after:
        [done] = llm.collective_rpc("stage_more")
        steps += 1
    if done is not None:
        assert llm.collective_rpc("load_files", args=(weights,)) == [done]
    return {"fingerprint": done}


def counts() -> dict[str, int]:
    """Without a collection: what only that frees stays for minutes."""
    alive = gc.get_objects()
    return {
        "books": len(LAYERWISE_INFO),
        "layers": sum(isinstance(one, torch.nn.Module) for one in alive),
        "parameters": sum(isinstance(one, torch.nn.Parameter) for one in alive),
    }


if __name__ == "__main__":
    gc.disable()
    main(Path(sys.argv[1]))
