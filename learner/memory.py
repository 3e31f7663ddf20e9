"""What one learner rank will need, before anything is loaded.

The model is built and one pack goes forward and backward through it with tensors that have shapes
and no contents, so weights and activations are counted and not guessed, whatever the architecture.
What DeepSpeed holds beside them is arithmetic that measurements gave.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from configs.schema import RunConfig
from learner import attention
from learner.examples import supervise
from learner.head import CHUNK_ELEMENTS, take_over
from learner.loss import StepLoss
from learner.pack import Pack, build, plan
from learner.policy import SFT, Policy, packing_of
from learner.provided import bound_objective, needs_teacher
from verifiers.types import Rollout

Device = Literal["cpu", "cuda"]

MIB = 2**20

PROCESS = 455 * MIB
"""Python with torch, transformers and DeepSpeed, in a group, before a model is loaded; measured
with torch 2.13 for CPUs."""

BUCKET_ELEMENTS = 50_000_000
"""``deepspeed_engine.BUCKET_ELEMENTS``, which cannot be imported before the device is chosen."""

LIVE_ELEMENTS = 1_000_000_000
"""Weights that DeepSpeed's ZeRO-3 lets stand whole between their uses."""

HEAP_WASTE_OF_PACKS = 0.33
HEAP_WASTE_OF_GRADIENTS = {0: 0.6, 1: 1.5, 2: 1.5, 3: 3.5}
"""What a CPU's allocator (glibc's) can neither reuse nor give back: shares of the blocks below
``HEAP_BLOCK``, which it keeps on its heap, that a pack brings and takes, and, by ZeRO stage, of the
gradients that are made between them. Measured; forbidding it to keep them costs a third of the
time."""

HEAP_BLOCK = 32 * MIB

ELEMENT_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counted bytes, on which the arithmetic stands."""

    weights: int
    """In float32, tied ones once."""
    trained: int
    """The part of them that is no frozen base of adapters."""
    activations: int
    """Of one pack, from the forward pass until the backward pass."""
    loss: int
    """The most that lives beside them at any moment of the loss and the backward pass."""
    small: int = 0
    """In blocks below ``HEAP_BLOCK``, what comes and goes with a pack, recomputed or not."""
    small_gradients: int = 0
    teacher: int = 0
    moving_teacher: int = 0
    """The same, where a checkpoint must keep it."""
    published: int = 0
    """What was published last, where it is kept: in the engines' type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Bytes of one rank."""

    process: float
    weights: float
    optimizer: float
    teacher: float
    published: float
    gradients: float
    activations: float
    loss: float
    heap: float
    copy: float
    """A copy of the weights for the engines or a checkpoint, made when no pack is computed."""
    saved: float
    """The copy that a checkpoint is written from while packs are computed."""

    @property
    def total(self) -> float:
        always = self.process + self.weights + self.optimizer + self.teacher + self.published
        always += self.saved
        packs = self.gradients + self.activations + self.loss + self.heap
        return always + max(packs, self.copy)


class Shaped(Protocol):
    """The settings that the arithmetic needs: ``configs.schema.LearnerConfig`` has them."""

    zero_stage: Any
    offload_optimizer: bool
    weights: Any


def estimate(
    config: RunConfig,
    model_config: PreTrainedConfig,
    world_size: int,
    device: Device,
    teacher_config: PreTrainedConfig | None = None,
) -> Parts:
    """``teacher_config``: of ``learner.teacher.model``. None: the teacher is of the policy's kind.

    Of a rank whose packs are full: prompts and responses as long as they may be.
    """
    sizes = count(config, model_config, world_size, teacher_config)
    background = config.checkpoint.background
    return arithmetic(sizes, config.learner, world_size, device, background=background)


def arithmetic(
    sizes: Sizes, settings: Shaped, world_size: int, device: Device, *, background: bool = False
) -> Parts:
    """``background``: checkpoints are written while packs are computed."""
    stage, trained, share = settings.zero_stage, sizes.trained, sizes.trained / world_size
    weights = sizes.weights / (2 if settings.weights == "bfloat16" else 1)
    on_cpu = device == "cpu"
    # The moments, and from stage 1 on another copy of the weights that the optimizer steps.
    optimizer = 2 * trained if stage == 0 else 3 * share
    bucket = 4 * BUCKET_ELEMENTS
    if on_cpu:  # memory that nobody touched is not there
        bucket = min(bucket, trained) if stage == 3 else 0
    gradients = (trained if stage < 2 else share) + (bucket if stage else 0)
    if settings.offload_optimizer and on_cpu:
        gradients += share  # the sum, beside the part of it that is being made
    gathered = min(weights, 4 * LIVE_ELEMENTS) if stage == 3 and world_size > 1 else 0
    offloaded = settings.offload_optimizer and not on_cpu
    # Master and moments of what is trained, and a frozen base that goes into the model's folder.
    saved = (2 * trained + sizes.weights) / world_size + sizes.moving_teacher if on_cpu else 0
    return Parts(
        process=PROCESS if on_cpu else 0,
        weights=(weights / world_size if stage == 3 else weights) + gathered,
        optimizer=0 if offloaded else optimizer,
        teacher=sizes.teacher,
        published=sizes.published if on_cpu else 0,
        gradients=gradients,
        activations=sizes.activations,
        loss=sizes.loss,
        heap=_heap_waste(sizes, stage) if on_cpu else 0,
        copy=max(sizes.weights, 0 if background else saved) if on_cpu else 0,
        saved=saved if background else 0,
    )


def _heap_waste(sizes: Sizes, stage: int) -> float:
    of_gradients = HEAP_WASTE_OF_GRADIENTS[stage] * sizes.small_gradients
    return HEAP_WASTE_OF_PACKS * sizes.small + of_gradients


def count(
    config: RunConfig,
    model_config: PreTrainedConfig,
    world_size: int,
    teacher_config: PreTrainedConfig | None = None,
) -> Sizes:
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = _model(config, model_config)
        weights = _in_float32(model.parameters())
        adapters = _adapters(model, config)
        teacher = teacher_logits = 0
        if needs_teacher(bound_objective(config)):
            frozen = model if teacher_config is None else _model(config, teacher_config)
            teacher = _in_float32(frozen.parameters()) // _teacher_shrinks(config)
            teacher_logits = 3 * 4 * CHUNK_ELEMENTS  # as computed, in float32, their softmax
        live = _one_pack(model, config, world_size)
        small = live.small_peak
        if config.learner.activation_checkpointing:
            model.gradient_checkpointing_disable()
            small = _one_pack(model, config, world_size).small_peak
    sync, element_bytes = config.sync, ELEMENT_BYTES[config.engine.dtype]
    keeps = sync.delta or sync.transport == "gloo"
    return Sizes(
        published=weights * element_bytes // 4 if keeps else 0,
        weights=weights + adapters,
        trained=adapters or weights,
        activations=live.activations,
        loss=live.peak - live.activations + teacher_logits,
        small=small,
        small_gradients=adapters
        or _in_float32(p for p in model.parameters() if p.nbytes < HEAP_BLOCK),
        teacher=teacher,
        moving_teacher=teacher if config.learner.teacher.refresh_every is not None else 0,
    )


def _model(config: RunConfig, model_config: PreTrainedConfig) -> PreTrainedModel:
    attention.register()
    model = AutoModelForCausalLM.from_config(
        model_config,
        dtype=getattr(torch, config.learner.weights),
        trust_remote_code=config.model.trust_remote_code,
    )
    take_over(model.get_output_embeddings())
    if config.learner.packing:
        model.set_attn_implementation(attention.NAME)
    if config.learner.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def _adapters(model: PreTrainedModel, config: RunConfig) -> int:
    """Bytes of ``learner.lora``'s, which peft cannot make of tensors without contents. What is kept
    for the backward pass is the input of each layer, with them or without."""
    lora = config.learner.lora
    if lora is None:
        return 0
    head = model.get_output_embeddings()
    layers = [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
        if not lora.targets or name.rpartition(".")[2] in lora.targets
    ]
    return 4 * lora.rank * sum(layer.in_features + layer.out_features for layer in layers)


def _teacher_shrinks(config: RunConfig) -> int:
    """How often a teacher goes into the same weights in float32: ``learner.teacher``."""
    teacher = config.learner.teacher
    moves = teacher.refresh_every is not None and teacher.refresh_share < 1
    return 1 if moves or config.learner.dtype == "float32" else 2


def _one_pack(model: PreTrainedModel, config: RunConfig, world_size: int) -> "Live":
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # of the packs before this one
    known = [tensor for p in model.parameters() for tensor in (p, p.grad) if tensor is not None]
    live = Live([*known, *model.buffers()])
    head: Any = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda *_: live.forward_is_done())
    policy = Policy(model, getattr(torch, config.learner.dtype))
    pack = fullest_pack(config, model, world_size)
    with live:
        loss = policy(pack, StepLoss(objective=SFT, divisors={"all": 1.0}))[0]
        loss.backward()
    hook.remove()
    return live


def fullest_pack(config: RunConfig, model: PreTrainedModel, world_size: int) -> Pack:
    """Of a step in which every prompt and every response is as long as it may be."""
    response = (0,) * config.filter.length_budget
    rollouts = [
        Rollout(
            id=f"{problem}.{member}",
            prompt_ids=(problem % 2**15,) * config.data.max_prompt_tokens,
            response_ids=response,
            first_version=0,
            last_version=0,
        )
        for problem in range(config.batch.problems)
        for member in range(config.sampling.group_size)
    ]
    slots = plan(rollouts, world_size, packing_of(config, model))[0]
    fullest = max(slots, key=lambda slot: slot.num_positions)
    return build(rollouts, supervise(rollouts, SFT, "global_tokens", ""), fullest)


def _in_float32(tensors: Iterable[Tensor]) -> int:
    return sum(4 * tensor.numel() for tensor in tensors)


class Live(TorchDispatchMode):
    """Inside, adds up the memory of all tensors that are there, those aside that were known."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = [tensor.untyped_storage() for tensor in known]
        self._seen = {id(storage) for storage in self._known}
        self._now = self._small = 0
        self.activations = self.peak = self.small_peak = 0

    def forward_is_done(self) -> None:
        self.activations = self.peak = self._now
        self.small_peak = self._small

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if id(storage) in self._seen:
            return
        self._seen.add(id(storage))
        self._add(storage.nbytes())
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _add(self, num_bytes: int) -> None:
        self._now += num_bytes
        self._small += num_bytes if abs(num_bytes) < HEAP_BLOCK else 0
        self.peak = max(self.peak, self._now)
        self.small_peak = max(self.small_peak, self._small)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._seen.discard(key)
        self._add(-num_bytes)
