"""One rank of the learner: a lease in, one optimizer step out.

Every rank fetches the same payload, computes the same plan and takes its own share of it; what they
exchange is the count of tokens, the gradients, and the sum of losses.
"""

import asyncio
import logging
import os
import random
import resource
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from configs.failpoints import failpoint
from configs.schema import RunConfig
from learner.checkpoint import LearnerState
from learner.loss import is_finite, learning_rate
from learner.policy import Policy, accumulate, load_policy, packing_of
from learner.provided import bound_objective, needs_teacher
from learner.publisher import Publisher
from learner.saver import Saver
from learner.weight_stream import own_address
from learner.work import Work, plan_work
from verifiers.types import Lease, PublishedWeights, Rollout

if TYPE_CHECKING:
    from learner.teacher import Teacher

logger = logging.getLogger(__name__)

Device = Literal["cpu", "cuda"]


class Payloads(Protocol):
    async def payload(self, step: int, epoch: int) -> list[Rollout]:
        """The rollouts of one lease, in ticket order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerInfo:
    world_size: int
    device: str
    dtype: str
    num_parameters: int
    deepspeed_version: str
    canary_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMetrics:
    """One optimizer step. Counts and sums are over all ranks, times and memory this rank's own."""

    step: int
    loss: float
    """The objective, each of its sums over the denominator of ``learner.normalizer``."""
    nll: float
    """Mean negative log-likelihood of the supervised tokens, whatever the objective."""
    drift: float
    """Mean difference, in nats and without sign, between the log-probabilities that the learner and
    the engine gave a token: rounding, and the steps that lie between. 0: nobody knows."""
    drift_kl: float
    """The same as a divergence: an estimate of KL(engine || learner)."""
    worst_drift: float
    """The largest difference of one token."""
    num_tokens: int
    """Supervised tokens."""
    num_rollouts: int
    grad_norm: float
    """Before clipping; NaN when nothing was computed."""
    lr: float
    skipped: bool
    """The weights, the optimizer and the rate stayed as they were."""
    diverged: bool
    """Skipped since the loss or the gradient was not finite, not for lack of tokens."""
    seconds: float
    fetch_s: float
    compute_s: float
    padded_tokens: int
    """Positions that were computed, padding included."""
    micro_batches: int
    """Per rank."""
    peak_rss_mib: float


class LearnerRank:
    """One process and one device of the learner. Methods marked collective return when every rank
    has called them; a failed one leaves the group unusable and the process should be replaced."""

    def __init__(
        self,
        rank: int,
        config: RunConfig,
        queue: Payloads,
        model_dir: str,
        teacher_dir: str | None = None,
    ) -> None:
        """``teacher_dir``: of ``learner.teacher.model``. None: the teacher starts as the policy."""
        self._rank = rank
        self._config = config
        self._model_dir = model_dir
        self._queue = queue
        self._teacher_dir = teacher_dir or model_dir
        self._objective = bound_objective(config)
        self._meeting: TCPStore | None = None
        self._num_applied = 0
        self._loss = 0.0
        self._measured = Measured()
        self._saver = Saver()

    async def address(self) -> tuple[str, int]:
        """Where rank 0 waits for the others, from now on: nobody else can take the port."""
        host = own_address()
        port = self._config.cluster.learner_port or 0
        self._meeting = TCPStore(host, port, is_master=True, wait_for_workers=False)
        return host, int(self._meeting.port)

    def _meet(self, address: tuple[str, int]) -> TCPStore:
        if self._meeting is not None:
            return self._meeting
        limit = timedelta(seconds=self._config.cluster.wait_timeout_s)
        return TCPStore(*address, is_master=False, timeout=limit)

    async def start(
        self, address: tuple[str, int], device: Device, total_steps: int
    ) -> LearnerInfo:
        """Join the other ranks, prove that gradients arrive, load the model. Collective."""
        settings = self._config.learner
        _prepare_process(device, self._config)
        # DeepSpeed decides for CPU or GPU when it is imported.
        from learner import canary, deepspeed_engine  # noqa: PLC0415

        deepspeed_engine.require_version()
        timeout_s = self._config.cluster.wait_timeout_s
        deepspeed_engine.connect(
            self._rank, settings.world_size, self._meet(address), device, timeout_s
        )
        started = time.perf_counter()
        canary.require_all_delivered(
            settings.zero_stage, settings.offload_optimizer, settings.weights
        )
        canary_s = time.perf_counter() - started
        self._model = load_policy(self._model_dir, self._config)
        num_parameters = sum(parameter.numel() for parameter in self._model.parameters())
        optimizer = deepspeed_engine.adamw(self._model.parameters(), settings.optimizer)
        optimizer.gate = lambda: is_finite(self._loss, self._engine.grad_norm)
        self._engine = deepspeed_engine.Engine(
            Policy(self._model, getattr(torch, settings.dtype)),
            optimizer,
            zero_stage=settings.zero_stage,
            clip=settings.optimizer.clip,
            offload_optimizer=settings.offload_optimizer,
            weights=settings.weights,
        )
        self._publisher = Publisher(
            self._engine,
            self._model,
            getattr(torch, self._config.engine.dtype),
            self._config.sync,
        )
        self._teacher = self._load_teacher()
        self._state = LearnerState(
            self._engine,
            self._model,
            self._teacher,
            model_dir=self._model_dir,
            seed=self._config.seed,
        )
        self._warn_of_short_run(total_steps)
        return LearnerInfo(
            world_size=settings.world_size,
            device=str(self._engine.device),
            dtype=settings.dtype,
            num_parameters=num_parameters,
            deepspeed_version=deepspeed_engine.VERSION,
            canary_s=canary_s,
        )

    async def step(self, lease: Lease) -> StepMetrics:
        """One optimizer step on the rollouts of ``lease``. Collective.

        Nothing to learn from, or a loss or gradient that is not finite: all ranks skip together.
        """
        started = time.perf_counter()
        rollouts = await self._queue.payload(lease.step, lease.epoch)
        fetched = time.perf_counter()
        packing = packing_of(self._config, self._model)
        work = plan_work(rollouts, lease.step, self._config, self._objective, packing)
        self._agree(work)
        if self._teacher is not None and self._teacher.is_due(lease.step):
            self._teacher.refresh(self._engine, self._model)
        lr = self._learning_rate()
        self._loss, self._measured = 0.0, Measured()
        if not work.is_empty:
            self._update(work, lr)
        applied = not work.is_empty and is_finite(self._loss, self._engine.grad_norm)
        self._num_applied += applied
        failpoint("learner.stepped")
        finished = time.perf_counter()
        return StepMetrics(
            step=lease.step,
            loss=self._loss,
            nll=self._measured.nll / max(work.totals.num_tokens, 1),
            drift=self._measured.drift / max(self._measured.num_compared, 1),
            drift_kl=self._measured.drift_kl / max(self._measured.num_compared, 1),
            worst_drift=self._measured.worst_drift,
            num_tokens=work.totals.num_tokens,
            num_rollouts=work.totals.num_rollouts,
            grad_norm=0.0 if work.is_empty else self._engine.grad_norm,
            lr=lr,
            skipped=not applied,
            diverged=not (work.is_empty or applied),
            seconds=finished - started,
            fetch_s=fetched - started,
            compute_s=finished - fetched,
            padded_tokens=work.padded_tokens,
            micro_batches=len(work.ranks[self._rank]),
            peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        )

    def _load_teacher(self) -> "Teacher | None":
        if not needs_teacher(self._objective):
            return None
        from learner.teacher import Teacher  # noqa: PLC0415  most objectives have none

        objective = self._objective.objective
        teacher = Teacher(self._teacher_dir, self._config, objective, self._model)
        teacher.to(self._engine.device)
        return teacher

    def _agree(self, work: Work) -> None:
        """Sum what the ranks really hold; another sum than the payload's is a fault of ours."""
        mine = work.held_by(self._rank)
        together = self._all_reduce([mine.num_tokens, mine.num_rollouts])
        if together != [work.totals.num_tokens, work.totals.num_rollouts]:
            raise RuntimeError(
                f"the ranks hold {together} tokens and rollouts together, but the payload has "
                f"{work.totals}: they read different payloads"
            )

    def _warn_of_short_run(self, total_steps: int) -> None:
        optimizer = self._config.learner.optimizer
        if self._rank == 0 and optimizer.warmup_steps > total_steps:
            logger.warning(
                "learner.optimizer.warmup_steps %d is more than the run's %d steps: "
                "the rate stays below learner.optimizer.lr %g",
                optimizer.warmup_steps,
                total_steps,
                optimizer.lr,
            )

    def _learning_rate(self) -> float:
        optimizer = self._config.learner.optimizer
        return learning_rate(optimizer.lr, optimizer.warmup_steps, self._num_applied)

    def _update(self, work: Work, lr: float) -> None:
        with_teacher = self._teacher is not None
        micro_batches = work.micro_batches(self._rank, with_teacher=with_teacher)
        loss, measures = accumulate(self._engine, micro_batches, work.loss, self._teacher)
        *sums, worst = measures.tolist()
        [self._loss, *sums] = self._all_reduce([float(loss), *sums])
        worst = self._all_reduce([worst], torch.distributed.ReduceOp.MAX)
        self._measured = Measured(*sums, *worst)
        self._engine.step(lr)

    def _all_reduce(
        self, values: list[float], how: Any = torch.distributed.ReduceOp.SUM
    ) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64, device=self._engine.device)
        torch.distributed.all_reduce(tensor, op=how)
        return tensor.tolist()

    async def publish(
        self, directory: str, version: int, *, whole: bool = False
    ) -> PublishedWeights:
        """Give the weights, in the engines' type, to ``sync.transport``; ``whole``: as one complete
        file, whatever the transport. Collective; all ranks get the same.

        Raises ``FloatingPointError``, and publishes nothing, when a weight is not finite.
        """
        failpoint("learner.publishing")
        return self._publisher.publish(Path(directory), version, whole=whole)

    async def send(self, engines: int) -> None:
        """Stream what was published last to that many engines. Not collective: rank 0 has it."""
        await asyncio.to_thread(self._publisher.send, engines)

    async def save(self, directory: str) -> None:
        """Copy all that decides what the next step does into host memory. Collective.

        A thread then fills the existing, empty directory with ``learner/`` and ``model/``, and
        ``saved`` waits for it; with ``checkpoint.background=false`` this does.
        """
        await self._saver.idle()
        self._saver.start(self._state.snapshot(self._num_applied), Path(directory))
        if not self._config.checkpoint.background:
            await self._saver.finish()

    async def saved(self) -> None:
        """Wait until this rank's files of the last ``save`` are on disk. Not collective.

        Raises what went wrong; the learner goes on, and may save into another directory.
        """
        await self._saver.finish()
        if self._rank == 0:
            failpoint("learner.saved")

    async def load(self, directory: str) -> None:
        """Continue exactly where ``save`` was called, with any number of ranks. Collective."""
        self._num_applied = self._state.load(Path(directory))

    async def close(self) -> None:
        """Leave the group. Collective."""
        await self._saver.idle()
        self._publisher.close()
        self._engine.destroy()
        self._engine.leave()


@dataclass(frozen=True, slots=True)
class Measured:
    """``learner.head.MEASURES`` over all ranks."""

    nll: float = 0.0
    drift: float = 0.0
    drift_kl: float = 0.0
    num_compared: float = 0.0
    worst_drift: float = 0.0


def _prepare_process(device: Device, config: RunConfig) -> None:
    """What must stand before torch or DeepSpeed first touch the device."""
    os.environ["DS_ACCELERATOR"] = device
    os.environ["LOCAL_RANK"] = "0"  # the process sees one device
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if device == "cpu":
        torch.set_num_threads(config.cluster.threads)
    torch.use_deterministic_algorithms(config.learner.deterministic)
    # Filling memory that is written to anyway costs time and changes no result.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    random.seed(config.seed)
    torch.manual_seed(config.seed)
