"""The part of the engine that runs inside vLLM's worker processes."""

import copy
import multiprocessing
import os
import weakref
from collections.abc import Iterable, Iterator
from types import MethodType
from typing import Any

import torch
from safetensors import safe_open
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.layerwise import (
    LAYERWISE_INFO,
    _layerwise_process,
    get_layerwise_info,
    initialize_online_processing,
)
from vllm.model_executor.model_loader.reload.meta import restore_layer_on_meta, to_meta_tensor
from vllm.platforms import current_platform

from actors.orphan import exit_with
from verifiers.fingerprint import Fingerprint

if (_starter := multiprocessing.parent_process()) is not None and _starter.pid is not None:
    # vLLM imports this before it loads the model: an engine may be killed while it still starts.
    exit_with(_starter.pid)

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

STAGE_BYTES = 8 << 20
"""Weights that are staged between two steps."""

OWN = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
"""What a likeness of a layer has for itself."""


class WorkerExtension:
    """vLLM makes its worker class inherit from this one (``worker_extension_cls``)."""

    model_runner: Any
    beyond_repair = False
    expected: dict[str, int | None] | None = None
    """What a complete load writes."""
    staged: "Staged | None" = None

    def settle(self, owner: int, cpu_cores: list[int]) -> None:
        """Pin this process, and see to it that it ends with the process ``owner``.

        vLLM's own processes stay behind when the one that started them is killed.
        """
        if cpu_cores:
            for thread in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(thread), cpu_cores)
        exit_with(owner)

    def stage(self, paths: list[str]) -> bool:
        """Begin to load these files beside the model, or say that this cannot be done here."""
        self.staged = None
        model = self.model_runner.get_model()
        if not can_be_staged(model) or self.expected is None:
            return False
        self.staged = Staged(model, paths)
        return True

    def stage_more(self) -> str | None:
        """Load a little more of them, between two steps of the engine; at the end, the fingerprint
        of what was loaded. A failure ends it, and the model was not touched."""
        staged, self.staged = self.staged, None
        assert staged is not None, "stage said that it can be done"
        assert self.expected is not None, "and that a whole load was seen"
        if staged.is_there_more():
            self.staged = staged
            return None
        staged.finish(self.expected)
        self.staged = staged
        return staged.digest.hexdigest()

    def load_files(self, paths: list[str]) -> str:
        """Load the weights of these files in place, or take those that were staged from them;
        returns the fingerprint of what was loaded.

        The first call must bring the model's own files: every later one must write as much of every
        layer. After a failure the model is a mixture, until a later call succeeds.
        """
        if self.beyond_repair:
            raise RuntimeError("an earlier load failed and could not be undone")
        staged, self.staged = self.staged, None
        if staged is not None and staged.paths == paths:
            staged.take_over()
            return staged.digest.hexdigest()
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


def can_be_staged(model: torch.nn.Module) -> bool:
    """On a CPU, where what a layer computes with is made anew by every load and nothing has its
    address; a GPU would need the memory twice. And only where all parts are of kinds that are known
    to be no more than their parameters and what they were packed into."""
    return current_platform.is_cpu() and all(
        isinstance(layer, (LinearBase, VocabParallelEmbedding))
        or not hasattr(layer, "quant_method")
        for layer in model.modules()
        if any(True for _ in layer.parameters(recurse=False))
    )


class Staged:
    """Weights that are loaded, and packed for the CPU's kernels, in a likeness of the model: the
    same layers with parameters of their own. Between two steps a few at a time, so that the engine
    never stands still for it; taking over is then a matter of pointers."""

    def __init__(self, model: torch.nn.Module, paths: list[str]) -> None:
        self.paths = paths
        self.digest = Fingerprint()
        self._tensors = _tensors(paths, self.digest)
        self._likeness: dict[torch.nn.Module, torch.nn.Module] = {}
        self._model = self._like(model)
        weakref.finalize(self, _let_go_of, list(self._likeness.values()))
        for layer, likeness in self._likeness.items():
            info = get_layerwise_info(likeness)
            known = get_layerwise_info(layer)
            parameters, buffers = known.restore_metadata
            info.restore_metadata = (
                {name: _apart(tensor, layer, likeness) for name, tensor in parameters.items()},
                {name: _apart(tensor, layer, likeness) for name, tensor in buffers.items()},
            )
            info.restore_device = known.restore_device
            restore_layer_on_meta(likeness, info)
            initialize_online_processing(likeness)

    def _like(self, layer: torch.nn.Module) -> torch.nn.Module:
        if layer not in self._likeness:
            likeness = self._likeness[layer] = copy.copy(layer)
            likeness.__dict__ |= {name: layer.__dict__[name].copy() for name in OWN}
            for name, child in layer._modules.items():
                likeness._modules[name] = None if child is None else self._like(child)
        return self._likeness[layer]

    def is_there_more(self) -> bool:
        """Load the next few tensors."""
        chunk, size = [], 0
        for name, tensor in self._tensors:
            chunk.append((name, tensor))
            size += tensor.nbytes
            if size >= STAGE_BYTES:
                break
        self._load_weights(chunk)
        return bool(chunk)

    def _load_weights(self, chunk: list[tuple[str, torch.Tensor]]) -> None:
        model: Any = self._model
        model.load_weights(chunk)

    def finish(self, expected: dict[str, int | None]) -> None:
        _require_as_much(_written(self._model), expected)
        owners: dict[int, tuple[torch.nn.Module, str]] = {}
        for layer, likeness in self._likeness.items():
            info = get_layerwise_info(likeness)
            if info.can_load() and info.load_numel > 0:  # all but a padding came
                _layerwise_process(likeness, info)
            for name, parameter in layer.named_parameters(recurse=False):
                owner, own_name = owners.setdefault(id(parameter), (likeness, name))
                if owner is not likeness:  # a tied one: nothing was loaded here
                    likeness.register_parameter(name, getattr(owner, own_name))
                    _pack(likeness)

    def take_over(self) -> None:
        for layer, likeness in self._likeness.items():
            for name, parameter in likeness.named_parameters(recurse=False):
                getattr(layer, name).data = parameter.data
            made = {name: value for name, value in likeness.__dict__.items() if name not in OWN}
            layer.__dict__.update(made)


def _let_go_of(likenesses: Iterable[torch.nn.Module]) -> None:
    """vLLM's book of a likeness, and the loaders of its parameters, refer back to both: they would
    stay, with weights that the model has long replaced."""
    for likeness in likenesses:
        book = LAYERWISE_INFO.pop(likeness)
        book.restore_metadata = ({}, {})
        book.reset()
        for name in OWN:
            likeness.__dict__[name].clear()


def _apart(tensor: torch.Tensor, layer: torch.nn.Module, likeness: torch.nn.Module) -> torch.Tensor:
    """What vLLM knows of a parameter, for the likeness: its loader must not write the layer's."""
    own: Any = to_meta_tensor(tensor)
    for name, value in own.__dict__.items():
        while getattr(value, "__name__", "") == "online_process_loader":
            value = value.__wrapped__
        if isinstance(value, MethodType) and value.__self__ is layer:
            value = MethodType(value.__func__, likeness)
        own.__dict__[name] = value
    return own


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
            _pack(layer)


def _pack(layer: Any) -> None:
    if hasattr(layer, "quant_method"):
        layer.quant_method.process_weights_after_loading(layer)


def _tensors(paths: list[str], digest: Fingerprint) -> Iterator[tuple[str, torch.Tensor]]:
    for path in paths:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is no dict
                tensor = file.get_tensor(name).contiguous()
                data = memoryview(tensor.view(-1).view(torch.uint8).numpy())
                digest.add(name, SAFETENSORS_NAMES[tensor.dtype], tuple(tensor.shape), data)
                yield name, tensor
