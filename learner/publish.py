"""Weights out of the learner: gathered on rank 0, in buckets or all of them."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from learner.lora import Weight, plain_weights
from verifiers.fingerprint import Fingerprint

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine

GATHER_ELEMENTS = 100_000_000
"""Weights that are whole on every rank at the same time under ZeRO-3 (0.4 GB)."""

TYPE_NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float16: "F16"}

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")


def gather(engine: "Engine", model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The whole weights on rank 0's CPU, cast, adapters merged; empty elsewhere. Collective.

    A tied output matrix appears once, under the name of the embedding.
    """
    weights: dict[str, Tensor] = {}
    for bucket in buckets(model):
        weights |= gather_bucket(engine, bucket, dtype)
    return weights


def gather_bucket(engine: "Engine", bucket: list[Weight], dtype: torch.dtype) -> dict[str, Tensor]:
    is_first = torch.distributed.get_rank() == 0
    weights: dict[str, Tensor] = {}
    with engine.gathered([part for weight in bucket for part in weight.parts]):
        for weight in bucket:
            is_exact = len(weight.parts) == 1 and weight.parts[0].dtype == dtype
            parts = [p.detach() if is_exact else engine.master(p) for p in weight.parts]
            if is_first:
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


def write_model_folder(
    weights: dict[str, Tensor], model: PreTrainedModel, source: Path, directory: Path
) -> None:
    """A plain Hugging Face folder: the weights as given, everything else from ``source``."""
    directory.mkdir()
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith(WEIGHT_SUFFIXES):
            shutil.copyfile(file, directory / file.name)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(directory)
