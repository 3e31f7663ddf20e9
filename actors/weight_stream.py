"""Weights that a learner streams, received into memory of this process while the engine writes."""

from datetime import timedelta
from typing import Any

import torch
from torch.distributed import (
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    ProcessGroupGloo,  # pyright: ignore[reportPrivateImportUsage]
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)

from verifiers.mapped_file import MappedFile
from verifiers.types import PublishedWeights
from verifiers.weight_line import JOINED, here, line
from verifiers.weights_file import WeightsRefused


def receive(weights: PublishedWeights, bucket_bytes: int, timeout_s: float) -> MappedFile:
    """The file as it was sent, not yet checked. ``bucket_bytes`` must be the learner's."""
    assert weights.address is not None, "streamed weights say where they come from"
    host, port = weights.address
    file = MappedFile.anonymous(weights.num_bytes)
    try:
        store = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=timeout_s))
        place = store.add(JOINED, 1) - 1
        store.set(here(place), "yes")
        pair: Any = ProcessGroupGloo(
            PrefixStore(line(place), store), 1, 2, timeout=timedelta(seconds=timeout_s)
        )
        data = torch.frombuffer(file.view, dtype=torch.uint8)
        for bucket in data.split(bucket_bytes):
            pair.recv([bucket], 0, 0).wait()
    except RuntimeError as error:  # torch knows no narrower one for what a network can do
        file.close()
        words = " ".join(str(error).split())[:200]
        raise WeightsRefused(
            f"weights version {weights.version} refused: the stream from {host}:{port} broke: "
            f"{words}"
        ) from error
    return file
