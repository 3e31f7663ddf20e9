"""``laconic plan``: what a cluster should give, before there is one. Arithmetic, no measurement.

Two stations and a bounded number of batches between them. Writing one batch takes G seconds, which
is its tokens over what all engines write; learning it takes T, its trained tokens over what all
ranks learn; W is a swap of weights. With ``max_lag`` 0 a step is G + T + W. With more, writing and
learning overlap and a step lasts as long as the slower of the two: E[max(G, T + stall)]. Both are
sums over many rollouts, so they are taken as normal, with the spread of a single rollout divided by
the root of their number, and the mean of the larger of two normals is Clark's (1961). What engines
lose while the last rollouts of a batch end is lost only where nothing else may be written: at
``max_lag`` 0.

Rates are given, or read from a run, or else a share of what the hardware allows: engines read all
weights and the cache of every sequence for each token of a batch, learners do six operations per
weight and token.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from cluster.nodes import Resources
from configs.errors import UserError

GIB = 2**30
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    memory_gib: float
    bandwidth: float
    """Bytes a second."""
    flops: float
    """In bfloat16, dense, a second."""


ACCELERATORS = {
    "A100": Accelerator(memory_gib=80, bandwidth=2.04e12, flops=312e12),
    "H100": Accelerator(memory_gib=80, bandwidth=3.35e12, flops=989e12),
    "H200": Accelerator(memory_gib=141, bandwidth=4.8e12, flops=989e12),
    "B200": Accelerator(memory_gib=180, bandwidth=8.0e12, flops=2250e12),
    "L4": Accelerator(memory_gib=24, bandwidth=0.3e12, flops=121e12),
    "L40S": Accelerator(memory_gib=48, bandwidth=0.864e12, flops=362e12),
}
"""As their maker states them, without sparsity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    parameters: float
    kv_bytes: float
    """Of one token, in bfloat16."""


def model_of(config: Mapping[str, Any]) -> Model:
    """Of a ``config.json`` of the Llama or Qwen kind: dense, gated, grouped heads."""
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, vocabulary = int(config["num_attention_heads"]), int(config["vocab_size"])
        inner = int(config["intermediate_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"this model's config.json lacks {error}: give --parameters and --kv-bytes"
        ) from error
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head = int(config.get("head_dim") or hidden // heads)
    attention = hidden * head * (2 * heads + 2 * kv_heads)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return Model(
        parameters=layers * (attention + 3 * hidden * inner) + embeddings,
        kv_bytes=2 * 2 * layers * kv_heads * head,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    problems: int
    group_size: int
    prompt_tokens: float
    tokens: float
    """Mean of a response."""
    spread: float
    """Of one response's tokens: standard deviation over mean."""
    kept: float
    """Share of the generated tokens that are trained."""
    max_lag: int
    sequences: int
    """That an engine decodes at once."""
    tensor_parallel: int
    utilization: float
    """Of a GPU's memory, by an engine."""

    @property
    def rollouts(self) -> int:
        return self.problems * self.group_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What was neither given nor measured."""

    bandwidth_share: float = 0.4
    """Of the roofline that decoding reaches; docs/benchmarks.md says what was seen."""
    flops_share: float = 0.28
    """Of the peak that learning reaches, recomputation not counted."""
    swap_s: float = 1.0
    stall_s: float = 0.2
    """For which a swap holds the learner up."""
    written_per_s: float | None = None
    """Tokens of one engine; measured."""
    learned_per_s: float | None = None
    """Tokens of one rank; measured."""
    price: float | None = None
    """Of one GPU for one hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    engines: int
    ranks: int
    write_s: float
    learn_s: float
    step_s: float
    generated_per_s: float
    accepted_per_s: float
    """Accepted and trained tokens, over all GPUs."""
    engine_use: float
    learner_use: float
    cost_per_million: float | None
    """Of accepted tokens."""


def sequences_that_fit(model: Model, gpu: Accelerator, work: Workload) -> int:
    """Of an engine: what its memory leaves for the cache, each sequence half written on average."""
    gpus = work.tensor_parallel
    room = gpus * gpu.memory_gib * GIB * work.utilization - 2 * model.parameters - gpus * 2 * GIB
    per_sequence = (work.prompt_tokens + work.tokens) * model.kv_bytes
    return min(work.sequences, int(room // per_sequence))


def written_per_s(model: Model, gpu: Accelerator, work: Workload, given: Assumptions) -> float:
    """Tokens of one engine."""
    if given.written_per_s is not None:
        return given.written_per_s
    sequences = sequences_that_fit(model, gpu, work)
    if sequences < 1:
        raise UserError(
            f"an engine of {work.tensor_parallel} GPUs with {gpu.memory_gib:g} GiB each has no "
            f"room for a single sequence of this model: raise engine.tensor_parallel"
        )
    read = 2 * model.parameters + sequences * (work.prompt_tokens + work.tokens / 2) * (
        model.kv_bytes
    )
    step_s = read / (work.tensor_parallel * gpu.bandwidth * given.bandwidth_share)
    return sequences / step_s


def learned_per_s(model: Model, gpu: Accelerator, given: Assumptions) -> float:
    """Tokens of one rank."""
    if given.learned_per_s is not None:
        return given.learned_per_s
    return gpu.flops * given.flops_share / (6 * model.parameters)


def learner_gib(model: Model, ranks: int) -> float:
    """Weights, gradients and moments of one rank under ZeRO-3, without activations."""
    return 16 * model.parameters / ranks / GIB


def forecast(
    engines: int, ranks: int, model: Model, gpus: tuple[Accelerator, Accelerator], work: Workload,
    given: Assumptions,
) -> Forecast:  # fmt: skip
    """``gpus``: what engines and learner have."""
    for_engines, for_learner = gpus
    written = engines * written_per_s(model, for_engines, work, given)
    learned = ranks * learned_per_s(model, for_learner, given)
    tokens = work.rollouts * work.tokens
    # Prompts are computed once for a pack, and count as nothing beside the responses.
    write_s, learn_s = tokens / written, tokens * work.kept / learned
    if work.max_lag == 0:
        slots = engines * max(1, sequences_that_fit(model, for_engines, work))
        write_s *= 1 + tail(work, slots)
        step_s = write_s + learn_s + given.swap_s
    else:
        spread = work.spread / math.sqrt(work.rollouts)
        step_s = mean_of_larger(
            write_s, spread * write_s, learn_s + given.stall_s, spread * learn_s
        )
    accepted = tokens * work.kept / step_s
    gpu_seconds = (engines * work.tensor_parallel + ranks) * step_s
    cost = None
    if given.price is not None:
        cost = given.price * gpu_seconds / 3600 / (tokens * work.kept) * 1e6
    return Forecast(
        engines=engines,
        ranks=ranks,
        write_s=write_s,
        learn_s=learn_s,
        step_s=step_s,
        generated_per_s=tokens / step_s,
        accepted_per_s=accepted,
        engine_use=tokens / written / step_s,
        learner_use=learn_s / step_s,
        cost_per_million=cost,
    )


def tail(work: Workload, slots: int) -> float:
    """What waiting for the longest rollouts of a batch adds to writing it, when nothing else may be
    written: the last of N lognormal lengths over the mean, for the rounds that slots make of it."""
    rounds = max(1.0, work.rollouts / slots)
    sigma = math.sqrt(math.log1p(work.spread**2))
    longest = math.exp(sigma * NORMAL.inv_cdf(1 - 1 / (work.rollouts + 1)) - sigma**2 / 2)
    return (longest - 1) / rounds


def mean_of_larger(a: float, spread_a: float, b: float, spread_b: float) -> float:
    """E[max] of two independent normals."""
    theta = math.hypot(spread_a, spread_b)
    if theta == 0:
        return max(a, b)
    z = (a - b) / theta
    return a * NORMAL.cdf(z) + b * NORMAL.cdf(-z) + theta * NORMAL.pdf(z)


def best(
    resources: Resources, model: Model, work: Workload, given: Assumptions, ranks: int | None = None
) -> list[Forecast]:
    """Every split of the GPUs, best first, whose learner holds the model; ``ranks`` fixes it."""
    gpu = accelerator_of(resources)
    nodes = [int(node.gpus) for node in resources.nodes]
    found = []
    for count in [ranks] if ranks is not None else _counts(sum(nodes)):
        engines = engines_beside(count, nodes, work.tensor_parallel)
        if engines < 1 or learner_gib(model, count) > 0.85 * gpu.memory_gib:
            continue
        found.append(forecast(engines, count, model, (gpu, gpu), work, given))
    if not found:
        raise UserError(
            f"{resources} cannot carry this model: a learner needs "
            f"{16 * model.parameters / GIB:.0f} GiB over its ranks beside an engine of "
            f"{work.tensor_parallel} GPUs of one node; add GPUs, or lower engine.tensor_parallel"
        )
    return sorted(found, key=lambda one: -one.accepted_per_s)


def engines_beside(ranks: int, nodes: Sequence[int], tensor_parallel: int) -> int:
    """That fit, each on one node of so many GPUs; ranks take what no engine can use first, and then
    the GPUs of one engine after the other. ``seating.most_engines`` in closed form, for clusters
    that are too large to seat every split of."""
    unusable = sum(gpus % tensor_parallel for gpus in nodes)
    displaced = math.ceil(max(0, ranks - unusable) / tensor_parallel)
    return sum(gpus // tensor_parallel for gpus in nodes) - displaced


def _counts(gpus: int) -> list[int]:
    """All of them, or of very many GPUs a few hundred."""
    step = max(1, gpus // 256)
    return sorted({1, 2, 4, *range(step, gpus, step)} & set(range(1, gpus)))


def accelerator_of(resources: Resources) -> Accelerator:
    kinds = {node.accelerator for node in resources.nodes if node.gpus}
    if len(kinds) != 1:
        raise UserError(
            f"{resources}: the forecast takes GPUs of one kind; write it behind the number, such "
            f"as 2x8:H100"
        )
    [kind] = kinds
    if kind not in ACCELERATORS:
        known = ", ".join(ACCELERATORS)
        raise UserError(f"{kind or 'no accelerator'} is not known here; there are {known}")
    return ACCELERATORS[str(kind)]
