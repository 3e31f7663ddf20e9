"""What the generator asks of an engine, and the door to the only real one."""

import asyncio
import os
from dataclasses import dataclass
from typing import Literal, Protocol

from configs.economy import SyncConfig
from configs.errors import PartDied
from configs.schema import EngineConfig
from verifiers.types import Completion, PublishedWeights, Sampling


class EngineDied(PartDied):
    """The engine serves nothing any more; a new one has to be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """One swap of the weights."""

    version: int
    fingerprint: str
    """Recomputed over the tensors that the engine really loaded."""
    num_tensors: int
    seconds: float
    """The whole call."""
    prepare_s: float
    """Of it, to fetch, decode and check the weights, while the engine went on writing."""
    stall_s: float
    """How long generation stood still."""
    in_flight: int
    """Completions that were being written, or waiting, when generation paused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStats:
    version: int
    running: int
    """Completions being decoded."""
    waiting: int
    """Completions handed in that are not being decoded yet."""
    kv_use: float
    """Used share of the KV cache, 0 to 1."""
    generated_tokens: int
    """Response tokens of the completions finished since the start."""
    requests_done: int
    """Completions finished since the start."""
    limit: int
    """Completions that it is given at a time."""
    preemptions: int
    """How often, since the start, it threw away what it had computed of a request, for want of KV
    cache."""
    prompt_tokens: int
    """Prompt tokens of the requests since the start, and how many of them it had in its cache."""
    cached_tokens: int
    first_token_ms: float | None = None
    """From the beginning of its publication until these weights had written a token; None: they
    have not yet, or are those of the start."""
    ttft_ms: float | None = None
    """Median time from handing in a request to its first token, of late; None: none yet."""
    itl_ms: float | None = None
    """Median time between two tokens of a request, of late."""
    stalled_s: float = 0.0
    """How long it has computed nothing, though there was something to write and no swap."""
    began_us: int | None = None
    """When it had written its first token of all."""


class Engine(Protocol):
    @property
    def version(self) -> int:
        """Version of the weights that now serve; 0 is the model's own folder."""
        ...

    async def start(self) -> None:
        """Return when the engine can sample."""
        ...

    async def sample(
        self,
        prompt_ids: tuple[int, ...],
        sampling: Sampling,
        *,
        begun: Completion | None = None,
        stop: asyncio.Event | None = None,
    ) -> Completion:
        """Write one response; it ends when the caller is cancelled.

        It goes on behind ``begun``, which its own length ended, and is the whole response then,
        text and all: ``max_tokens`` counts both parts. When ``stop`` is set it ends at once, with
        what was written and the reason ``abort``.

        ``EngineDied`` when the engine dies meanwhile. The caller sets the deadline: how long a
        response may take is not for the engine to say.
        """
        ...

    async def score(
        self, prompt_ids: tuple[int, ...], response_ids: tuple[int, ...]
    ) -> tuple[float, ...]:
        """Log-probability of each token of a response that somebody else wrote, under the plain
        model. Prompt and response leave room for one token more in the context."""
        ...

    def text_of(self, token_ids: tuple[int, ...]) -> str:
        """What the tokens read, special ones included."""
        ...

    async def load_weights(self, weights: PublishedWeights) -> LoadReport:
        """Swap the weights while requests are in flight; those go on with the new ones.

        ``WeightsRefused`` (of ``verifiers.weights_file``): nothing changed. ``EngineDied``: the
        engine is gone. There is no third way to fail. Weights that serve already change nothing.
        """
        ...

    async def stats(self) -> EngineStats: ...

    async def close(self) -> None:
        """Stop every process of the engine. May be called twice, and before ``start``."""
        ...


def make_vllm_engine(
    config: EngineConfig,
    *,
    model_dir: str,
    device: Literal["cpu", "cuda"],
    threads: int,
    seed: int,
    trust_remote_code: bool = False,
    revision: str | None = None,
    cpu_cores: tuple[int, ...] = (),
    processed_logprobs: bool = False,
    decodes: bool = False,
    sync: SyncConfig | None = None,
) -> Engine:
    """An engine, not started. One per process: it sets environment variables that vLLM reads.

    On a CPU it computes with ``threads`` threads, on ``cpu_cores`` when there are any. The
    log-probabilities of what it draws are those of the plain model, or, ``processed``, of what it
    drew from: its temperature counts then. ``decodes``: ``Sampling.decoding`` may be asked for.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # vLLM configures its logging when it is imported, which takes seconds and needs the package.
    from actors.vllm_engine import VllmEngine, VllmSettings  # noqa: PLC0415

    settings = VllmSettings(
        model_dir=model_dir,
        device=device,
        threads=threads,
        seed=seed,
        trust_remote_code=trust_remote_code,
        revision=revision,
        cpu_cores=cpu_cores,
        processed_logprobs=processed_logprobs,
        decodes=decodes,
        sync=sync or SyncConfig(),
    )
    return VllmEngine(config, settings)
