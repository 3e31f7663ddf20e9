"""Streaming a published file to engines: a gloo group of two for each of them.

A store at ``address`` is where they meet. It stands for one publication, so nobody has to know
which engines were there at the last one; and since every engine has a group of its own, one that
dies or is slow costs the others nothing.
"""

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import (
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    ProcessGroupGloo,  # pyright: ignore[reportPrivateImportUsage]
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)

from verifiers.mapped_file import MappedFile
from verifiers.weight_line import here, line

logger = logging.getLogger(__name__)


class WeightStream:
    def __init__(self, bucket_bytes: int, timeout_s: float) -> None:
        self._bucket_bytes = bucket_bytes
        self._timeout = timedelta(seconds=timeout_s)
        host = own_address()
        self._store: TCPStore | None = TCPStore(
            host, 0, is_master=True, timeout=self._timeout, wait_for_workers=False
        )
        self.address = (host, int(self._store.port))

    def send(self, file: MappedFile, engines: int) -> None:
        """Returns when all of them were served, or failed, or the time is up.

        An engine that was not served says so itself; here it is a line in the log.
        """
        deadline = time.monotonic() + self._timeout.total_seconds()
        with ThreadPoolExecutor(max_workers=max(1, engines)) as lines:
            for place in range(engines):
                lines.submit(self._serve, file, place, deadline)

    def _serve(self, file: MappedFile, place: int, deadline: float) -> None:
        assert self._store is not None, "a closed stream serves nobody"
        try:
            # A line of its own to the store: on a shared one, waiting for an engine that never
            # comes would hold up the others.
            store = TCPStore(*self.address, is_master=False, timeout=self._timeout)
            store.wait([here(place)], self._timeout)
            left = timedelta(seconds=max(1.0, deadline - time.monotonic()))
            pair: Any = ProcessGroupGloo(PrefixStore(line(place), store), 0, 2, timeout=left)
            data = torch.frombuffer(file.view, dtype=torch.uint8)
            for bucket in data.split(self._bucket_bytes):
                pair.send([bucket], 1, 0).wait()
        except RuntimeError as error:  # torch knows no narrower one for what a network can do
            words = " ".join(str(error).split())[:200]
            logger.warning("engine %d of this publication was not served: %s", place, words)

    def close(self) -> None:
        self._store = None


def own_address() -> str:
    """Where other machines reach this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; asks which interface leads out
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
