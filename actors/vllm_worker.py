"""The part of the engine that runs inside vLLM's worker processes."""

import os
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import safe_open
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from actors.orphan import exit_with
from verifiers.fingerprint import Fingerprint

SAFETENSORS_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


class WorkerExtension:
    """vLLM makes its worker class inherit from this one (``worker_extension_cls``)."""

    model_runner: Any
    beyond_repair = False
    expected: dict[str, int | None] | None = None
    """What a complete load writes."""

    def settle(self, owner: int, cpu_cores: list[int]) -> None:
        """Pin this process, and see to it that it ends with the process ``owner``.

        vLLM's own processes stay behind when the one that started them is killed.
        """
        if cpu_cores:
            for thread in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(thread), cpu_cores)
        exit_with(owner)

    def load_files(self, paths: list[str]) -> str:
        """Load the weights of these files in place; returns the fingerprint of what was loaded.

        The first call must bring the model's own files: every later one must write as much of every
        layer. After a failure the model is a mixture, until a later call succeeds.
        """
        if self.beyond_repair:
            raise RuntimeError("an earlier load failed and could not be undone")
        self.beyond_repair = True
        model, config = self.model_runner.get_model(), self.model_runner.model_config
        digest = Fingerprint()
        initialize_layerwise_reload(model)
        try:
            model.load_weights(_tensors(paths, digest))
            written = _written(model)
            _require_as_much(written, self.expected or written)
        except Exception:
            _forget_unfinished(model, config)
            self.beyond_repair = False
            raise
        finalize_layerwise_reload(model, config)
        _repack_output_layer(model)
        self.beyond_repair, self.expected = False, written
        return digest.hexdigest()


def _written(model: torch.nn.Module) -> dict[str, int | None]:
    """Elements that were copied into each layer since the reload began; None: all that it has.

    vLLM counts them, and closes its book of a layer that has them all. Some never do: paddings of a
    vocabulary, scales that no file holds.
    """
    counts = {}
    for name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        counts[name] = info.load_numel if info.can_load() else None
    return counts


def _require_as_much(found: dict[str, int | None], expected: dict[str, int | None]) -> None:
    """vLLM fills what a layer lacks with anything, or leaves the old, without an error."""
    for name, count in found.items():
        if count != expected[name]:
            whole = "all" if expected[name] is None else expected[name]
            raise RuntimeError(
                f"weights for {name} are missing: {count} of {whole} elements were written"
            )


def _forget_unfinished(model: torch.nn.Module, model_config: Any) -> None:
    """vLLM keeps the tensors of layers that a failed load left incomplete; the next load would
    count them as its own, and leave out others without a word."""
    for layer in model.modules():
        info = get_layerwise_info(layer)
        info.loaded_weights.clear()
        info.load_numel = 0
    finalize_layerwise_reload(model, model_config)


def _repack_output_layer(model: torch.nn.Module) -> None:
    """On a CPU the output layer computes with a packed copy of its weights. When they are tied to
    the embeddings nothing loads them, and vLLM 0.32 goes on with the copy of the old ones."""
    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)


def _tensors(paths: list[str], digest: Fingerprint) -> Iterator[tuple[str, torch.Tensor]]:
    for path in paths:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is no dict
                tensor = file.get_tensor(name).contiguous()
                data = memoryview(tensor.view(-1).view(torch.uint8).numpy())
                digest.add(name, SAFETENSORS_NAMES[tensor.dtype], tuple(tensor.shape), data)
                yield name, tensor
