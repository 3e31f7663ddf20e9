"""The part of the engine that runs inside vLLM's worker processes."""

import os
import select
import threading
from collections.abc import Iterator
from typing import Any

import torch
from safetensors import safe_open

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

    def settle(self, owner: int, cpu_cores: list[int]) -> None:
        """Pin this process, and see to it that it does not outlive the process ``owner``.

        vLLM's own processes stay behind when the one that started them is killed.
        """
        if cpu_cores:
            for thread in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(thread), cpu_cores)
        pidfd = os.pidfd_open(owner)
        threading.Thread(target=_exit_after, args=(pidfd,), daemon=True).start()

    def load_files(self, paths: list[str]) -> str:
        """Load the weights of these files in place; returns the fingerprint of what was loaded."""
        digest = Fingerprint()
        self.model_runner.reload_weights(weights_iterator=_tensors(paths, digest))
        return digest.hexdigest()


def _exit_after(pidfd: int) -> None:
    select.select([pidfd], [], [])
    os._exit(1)


def _tensors(paths: list[str], digest: Fingerprint) -> Iterator[tuple[str, torch.Tensor]]:
    for path in paths:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is no dict
                tensor = file.get_tensor(name).contiguous()
                data = memoryview(tensor.view(-1).view(torch.uint8).numpy())
                digest.add(name, SAFETENSORS_NAMES[tensor.dtype], tuple(tensor.shape), data)
                yield name, tensor
