"""Weights out of the learner: gathered on rank 0, in buckets or all of them."""

import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PreTrainedModel

from learner.lora import Weight, plain_weights
from verifiers.fingerprint import Fingerprint
from verifiers.weights_file import layout

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine

GATHER_ELEMENTS = 100_000_000
"""Weights that are whole on every rank at the same time under ZeRO-3 (0.4 GB)."""

TYPE_NAMES = {
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
}

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")


def gather(engine: "Engine", model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The whole weights on rank 0's CPU, cast, adapters merged; empty elsewhere. Collective.

    A tied output matrix appears once, under the name of the embedding.
    """
    weights: dict[str, Tensor] = {}
    for bucket in buckets(model):
        weights |= gather_bucket(engine, bucket, dtype)
    return weights


def gather_bucket(
    engine: "Engine", bucket: list[Weight], dtype: torch.dtype, to: int = 0
) -> dict[str, Tensor]:
    """The same of some weights, on rank ``to``. Collective."""
    is_here = torch.distributed.get_rank() == to
    weights: dict[str, Tensor] = {}
    with engine.gathered([part for weight in bucket for part in weight.parts]):
        for weight in bucket:
            is_exact = len(weight.parts) == 1 and weight.parts[0].dtype == dtype
            parts = [p.detach() if is_exact else engine.master(p) for p in weight.parts]
            if is_here:
                copy = weight.merged(parts).to("cpu", dtype, copy=True)
                weights[weight.name] = copy.contiguous()
    return weights


def buckets(model: PreTrainedModel, max_elements: int = GATHER_ELEMENTS) -> Iterator[list[Weight]]:
    bucket: list[Weight] = []
    size = 0
    for weight in plain_weights(model):
        num_elements = sum(math.prod(whole_shape(part)) for part in weight.parts)
        if bucket and size + num_elements > max_elements:
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += num_elements
    yield bucket


def whole_shape(parameter: torch.nn.Parameter) -> tuple[int, ...]:
    """Under ZeRO-3 a parameter is empty here and keeps its real shape beside it."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def tensor_bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def fingerprint_of(weights: dict[str, Tensor]) -> str:
    result = Fingerprint()
    for name, tensor in weights.items():
        result.add(name, TYPE_NAMES[tensor.dtype], tuple(tensor.shape), tensor_bytes(tensor))
    return result.hexdigest()


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, on disk when this returns. Nothing is copied on the way."""
    header, _ = layout({n: (TYPE_NAMES[t.dtype], tuple(t.shape)) for n, t in tensors.items()})
    with path.open("wb") as file:
        file.write(header)
        for tensor in tensors.values():
            file.write(tensor_bytes(tensor))
        file.flush()
        os.fsync(file.fileno())


def copy_model_files(source: Path, folder: Path) -> None:
    """All that a model folder has beside its weights."""
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith(WEIGHT_SUFFIXES):
            shutil.copyfile(file, folder / file.name)
