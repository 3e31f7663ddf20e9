"""Weights out of the learner: gathered on rank 0, written as safetensors, fingerprinted."""

import os
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
from verifiers.types import PublishedWeights

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine

GATHER_ELEMENTS = 100_000_000
"""Weights that are whole on every rank at the same time under ZeRO-3 (0.4 GB)."""

NUM_KEPT = 2

FINGERPRINT_BYTES = 16

TYPE_NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.float16: "F16"}

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")


def gather(engine: "Engine", model: PreTrainedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """The whole weights on rank 0's CPU, cast, adapters merged; empty elsewhere. Collective.

    A tied output matrix appears once, under the name of the embedding.
    """
    is_first = torch.distributed.get_rank() == 0
    weights: dict[str, Tensor] = {}
    for bucket in buckets(model):
        with engine.gathered([part for weight in bucket for part in weight.parts]):
            for weight in bucket:
                is_exact = len(weight.parts) == 1 and weight.parts[0].dtype == dtype
                parts = [p.detach() if is_exact else engine.master(p) for p in weight.parts]
                if is_first:
                    copy = weight.merged(parts).to("cpu", dtype, copy=True)
                    weights[weight.name] = copy.contiguous()
    return weights


def buckets(model: PreTrainedModel) -> Iterator[list[Weight]]:
    bucket: list[Weight] = []
    size = 0
    for weight in plain_weights(model):
        # Under ZeRO-3 a parameter is empty here and keeps its real size beside it.
        num_elements = sum(getattr(part, "ds_numel", part.numel()) for part in weight.parts)
        if bucket and size + num_elements > GATHER_ELEMENTS:
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += num_elements
    yield bucket


def all_finite(weights: dict[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in weights.values())


def tensor_bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


def fingerprint_of(weights: dict[str, Tensor]) -> str:
    result = Fingerprint()
    for name, tensor in weights.items():
        result.add(name, TYPE_NAMES[tensor.dtype], tuple(tensor.shape), tensor_bytes(tensor))
    return result.hexdigest()


def weights_path(directory: Path, version: int) -> Path:
    return directory / f"v{version:06d}.safetensors"


def write(weights: dict[str, Tensor], directory: Path, version: int) -> PublishedWeights:
    """Write one version whole or not at all, and drop all but the newest two."""
    path = weights_path(directory, version)
    temporary = directory / f".{path.name}.tmp"
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, temporary)
    os.replace(temporary, path)
    older = sorted(
        (other for other in directory.glob("v*.safetensors") if other != path),
        key=lambda other: other.stat().st_mtime_ns,
    )
    for other in older[: 1 - NUM_KEPT]:
        other.unlink()
    return PublishedWeights(
        version=version,
        path=str(path),
        fingerprint=fingerprint_of(weights),
        num_tensors=len(weights),
        num_bytes=sum(weight.nbytes for weight in weights.values()),
    )


def share(
    published: PublishedWeights | None, directory: Path, version: int, device: torch.device
) -> PublishedWeights:
    """Tell every rank what rank 0 wrote; all raise when it wrote nothing. Collective."""
    header = torch.zeros(2 + FINGERPRINT_BYTES, dtype=torch.int64)
    if published is not None:
        digest = bytes.fromhex(published.fingerprint)
        header = torch.tensor([published.num_tensors, published.num_bytes, *digest])
    header = header.to(device)
    torch.distributed.broadcast(header, src=0)
    num_tensors, num_bytes, *digest = header.tolist()
    if num_tensors == 0:
        raise FloatingPointError(f"weights of version {version} are not finite: not published")
    return PublishedWeights(
        version=version,
        path=str(weights_path(directory, version)),
        fingerprint=bytes(digest).hex(),
        num_tensors=num_tensors,
        num_bytes=num_bytes,
    )


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
