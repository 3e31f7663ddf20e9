"""The only file that knows DeepSpeed: joining the group, one sharded optimizer step, its state.

The process must have ``DS_ACCELERATOR`` set before this module is imported.
"""

import contextlib
import importlib
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Literal
from unittest import mock

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.utils import logger as deepspeed_logger
from torch import Tensor

from configs.schema import OptimizerConfig
from learner.optimizer_shards import OptimizerShards

VERSION: str = deepspeed.__version__
OLDEST = (0, 19, 4)

Weights = Literal["float32", "bfloat16"]
"""Type of the weights that compute; gradients and optimizer state are float32 either way."""

BUCKET_ELEMENTS = 50_000_000
"""Gradients or weights moved in one collective (0.2 GB); DeepSpeed's default buffers take 2 GB."""

PERSISTENT_ELEMENTS = 8192
"""ZeRO-3 leaves parameters up to this size (norms, biases) on every rank."""


class GatedAdamW(torch.optim.AdamW):
    """AdamW whose ``step`` does nothing while ``gate()`` is false.

    DeepSpeed then runs its whole bookkeeping (norm, clearing of its buffers) for a step that must
    not happen, in every ZeRO stage, and the weights keep their bits.
    """

    gate: Callable[[], bool] = staticmethod(lambda: True)

    def step(self, closure: Any = None) -> Any:
        return super().step(closure) if self.gate() else None


def adamw(parameters: Iterable[torch.nn.Parameter], settings: OptimizerConfig) -> GatedAdamW:
    return GatedAdamW(
        [parameter for parameter in parameters if parameter.requires_grad],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,  # one pass over memory instead of ten
    )


def require_version(version: str = VERSION) -> None:
    """Older ones lose gradients of some micro-batches without an error (METHODS §5.2)."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ValueError(f"DeepSpeed {version} can lose gradients: install deepspeed>={oldest}")


def connect(
    rank: int,
    world_size: int,
    store: torch.distributed.TCPStore,  # pyright: ignore[reportPrivateImportUsage]
    device: Literal["cpu", "cuda"],
    timeout_s: float,
) -> None:
    """Join the ranks, who meet in ``store``; returns when all of them are there."""
    _quiet()
    accelerator: Any = get_accelerator()
    if accelerator.device_name() != device:
        raise RuntimeError(
            f"DeepSpeed was imported for {accelerator.device_name()}, not {device}: "
            f"DS_ACCELERATOR={device} must be set before anything imports it"
        )
    _import_without_compiling("deepspeed.runtime.zero.muon.muon_optimizer")
    # A shared-memory kernel for tensor-parallel inference: training never calls it, and building
    # it with a C++ compiler would delay the first start by most of a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "gloo" if device == "cpu" else "nccl"
    torch.distributed.init_process_group(
        backend,
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout_s),
    )
    deepspeed.init_distributed(dist_backend=backend, verbose=False)


def engine_config(
    zero_stage: int, clip: float, offload_optimizer: bool, weights: Weights
) -> dict[str, Any]:
    """All that changes numbers is said: DeepSpeed's defaults have changed before (METHODS D9)."""
    return {
        # The optimizer's gate decides alone: DeepSpeed's own skip leaves the gradients of a bad
        # step in the offloaded sum of stages 1 and 2, and every later step is bad as well.
        "bf16": {"enabled": weights == "bfloat16", "check_grad_overflow": False},
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,  # the boundary is set by hand, see ``Engine.backward``
        # Stage 0 is clipped by ``Engine.step``: DeepSpeed would keep the norm to itself.
        "gradient_clipping": clip if zero_stage > 0 else 0.0,
        # Gradients in bfloat16 are added, and reduced over the ranks, in float32.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_optimization": {
            "stage": zero_stage,
            "reduce_bucket_size": BUCKET_ELEMENTS,
            "allgather_bucket_size": BUCKET_ELEMENTS,
            "stage3_prefetch_bucket_size": BUCKET_ELEMENTS,
            "stage3_param_persistence_threshold": PERSISTENT_ELEMENTS,
            **({"offload_optimizer": {"device": "cpu"}} if offload_optimizer else {}),
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }


def _import_without_compiling(name: str) -> None:
    """DeepSpeed imports its Muon optimizer, used or not, and that calls ``torch.compile``, which
    loads the whole compiler: seconds and 50 MB in every rank."""

    def leave_as_is(function: Any = None, **_: Any) -> Any:
        return function if function is not None else leave_as_is

    with contextlib.suppress(ImportError), mock.patch.object(torch, "compile", leave_as_is):
        importlib.import_module(name)


def _quiet() -> None:
    deepspeed_logger.setLevel(logging.ERROR)
    # Raised once per collective, about names that DeepSpeed uses.
    warnings.filterwarnings(
        "ignore", message="`torch.distributed.*is deprecated", category=FutureWarning
    )


class Engine:
    """A module whose gradients and optimizer state DeepSpeed shards over the ranks.

    Gradients and optimizer state are float32, and with ``weights="bfloat16"`` so is the master that
    the optimizer updates. One optimizer step is
    ``backward(…, last=False)``, …, ``backward(…, last=True)``, ``step()``, and every rank calls
    ``backward`` equally often.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        zero_stage: int,
        clip: float,
        offload_optimizer: bool = False,
        weights: Weights = "float32",
    ) -> None:
        self.zero_stage = zero_stage
        self._clip = clip
        self._norm = 0.0
        self._world_size = torch.distributed.get_world_size()
        with contextlib.redirect_stdout(None):  # the bfloat16 optimizer prints memory statistics
            self._engine: Any = deepspeed.initialize(
                model=module,
                optimizer=optimizer,
                config=engine_config(zero_stage, clip, offload_optimizer, weights),
            )[0]
        self.shards = OptimizerShards(self._engine.optimizer, zero_stage)

    @property
    def device(self) -> torch.device:
        return self._engine.device

    @property
    def module(self) -> torch.nn.Module:
        return self._engine.module

    def __call__(self, *inputs: Any) -> Tensor:
        return self._engine(*inputs)

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of ``loss``, one term of a sum over all micro-batches and ranks."""
        # Without the boundary call ZeRO-1 and 2 deliver the last micro-batch alone (METHODS D8).
        self._engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages over the ranks; the factor makes it a sum.
        self._engine.backward(loss * self._world_size, scale_wrt_gas=False)

    def step(self, lr: float | None = None) -> None:
        """Clip and apply what was accumulated, unless the optimizer's gate is closed."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = group["lr"] if lr is None else lr
        if self.zero_stage == 0:
            self._norm = self._clip_whole()
        self._engine.step()

    def _clip_whole(self) -> float:
        norm = torch.nn.utils.clip_grad_norm_(
            self._engine.module.parameters(), self._clip or float("inf")
        )
        return float(norm)

    @property
    def grad_norm(self) -> float:
        """Global norm before clipping, also readable from the optimizer's gate."""
        if self.zero_stage == 0:
            return self._norm
        norm = self._engine.optimizer._global_grad_norm
        return float("nan") if norm is None else float(norm)

    @contextlib.contextmanager
    def gathered(self, parameters: list[torch.nn.Parameter]) -> Iterator[None]:
        """Inside, ``parameters`` hold their full values on every rank. Collective."""
        with deepspeed.zero.GatheredParameters(parameters, enabled=self.zero_stage == 3):
            yield

    def master(self, parameter: torch.nn.Parameter) -> Tensor:
        """What the optimizer updates, whole on every rank, of a gathered parameter. Collective."""
        if parameter.dtype == torch.float32:
            return parameter.detach()
        master = deepspeed.utils.safe_get_full_fp32_param(parameter)
        return parameter.detach() if master is None else master.detach()  # None: it is frozen

    def destroy(self) -> None:
        """Free what DeepSpeed holds for the module; the ranks stay connected."""
        self._engine.destroy()

    @staticmethod
    def leave() -> None:
        """Undo ``connect``."""
        deepspeed.comm.destroy_process_group()
