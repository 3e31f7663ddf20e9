"""The real engine: vLLM's AsyncLLM behind ``actors.engine.Engine``. Nothing else imports vLLM.

This process tokenises and collects; a child that vLLM starts schedules and computes.
"""

import asyncio
import os
import statistics
import time
from collections import deque
from collections.abc import Collection, Coroutine
from dataclasses import asdict, dataclass, replace
from itertools import count as count_up
from typing import Any, Literal, TypeVar, cast

from huggingface_hub import snapshot_download
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import TokensPrompt
from vllm.logprobs import FlatLogprobs
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.loggers import StatLoggerBase

from actors import vllm_decoding
from actors.engine import EngineDied, EngineStats, LoadReport
from actors.weight_image import ImageMaker
from actors.weight_stream import receive
from actors.weight_swap import WeightSwap
from configs.economy import SyncConfig
from configs.schema import EngineConfig
from verifiers.mapped_file import MappedFile
from verifiers.types import Completion, FinishReason, PublishedWeights, Sampling
from verifiers.weights_file import folder_shapes, model_files

T = TypeVar("T")

CALL_TIMEOUT_S = 300.0
"""Longest wait for an answer to anything but sampling."""

HEALTH_CHECK_S = 1.0
"""vLLM leaves calls unanswered when its child dies: how often to look while one is open."""

LATE = 512
"""So many latencies of single requests and tokens are what was of late."""

ABORT_AGAIN_S = 0.05
"""An abort that comes before its request is forgotten: how soon to say it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """Where the engine runs, beside what ``EngineConfig`` says about it."""

    model_dir: str
    device: Literal["cpu", "cuda"]
    threads: int
    seed: int
    trust_remote_code: bool
    revision: str | None
    cpu_cores: tuple[int, ...]
    processed_logprobs: bool
    decodes: bool
    sync: SyncConfig


class VllmEngine:
    """Used from one event loop. Once it died or was closed, every call raises ``EngineDied``."""

    def __init__(self, config: EngineConfig, settings: VllmSettings) -> None:
        self._config = config
        self._settings = settings
        self._llm: AsyncLLM | None = None
        self._swap: WeightSwap | None = None
        self._end: EngineDied | None = None
        self._load = _Load()
        self._writing: set[asyncio.Task[Any]] = set()
        self._request_numbers = count_up()
        self._requests_done = 0
        self._generated_tokens = 0
        self._published_us: int | None = None
        """Of the weights that serve."""

    @property
    def version(self) -> int:
        return self._swap.version if self._swap else 0

    async def start(self) -> None:
        # In a thread: it takes long, and this process must answer others meanwhile.
        llm = self._llm = await asyncio.to_thread(self._launch)
        await self._rpc("settle", os.getpid(), list(self._settings.cpu_cores))
        folder = self._model_folder()
        images = ImageMaker(
            await asyncio.to_thread(folder_shapes, folder),
            tied=bool(llm.model_config.hf_text_config.tie_word_embeddings),
            receive=self._receive,
        )
        paths = [str(path) for path in model_files(folder)]
        # Once more what vLLM has just loaded: to know how much a complete load writes, and that
        # this model can be reloaded at all.
        await self.load_files(paths)
        self._swap = WeightSwap(self, paths, images)

    async def sample(
        self,
        prompt_ids: tuple[int, ...],
        sampling: Sampling,
        *,
        begun: Completion | None = None,
        stop: asyncio.Event | None = None,
    ) -> Completion:
        return await self._open(self._write(prompt_ids, sampling, begun, stop))

    async def score(
        self, prompt_ids: tuple[int, ...], response_ids: tuple[int, ...]
    ) -> tuple[float, ...]:
        return await self._open(self._score(prompt_ids, response_ids))

    def text_of(self, token_ids: tuple[int, ...]) -> str:
        tokenizer = self._running().get_tokenizer()
        return tokenizer.decode(list(token_ids), skip_special_tokens=False)

    async def load_weights(self, weights: PublishedWeights) -> LoadReport:
        # Shielded: a caller that gives up must not leave a swap half done.
        return await asyncio.shield(asyncio.create_task(self._load_weights(weights)))

    async def stats(self) -> EngineStats:
        self._running()
        return EngineStats(
            version=self.version,
            running=self._load.running,
            waiting=max(0, len(self._writing) - self._load.running),
            kv_use=self._load.kv_use,
            generated_tokens=self._generated_tokens,
            requests_done=self._requests_done,
            limit=self._config.max_num_seqs,
            preemptions=self._load.preemptions,
            prompt_tokens=self._load.prompt_tokens,
            cached_tokens=self._load.cached_tokens,
            stalled_s=self._stalled_s(),
            first_token_ms=self._first_token_ms(),
            ttft_ms=self._load.ttft_ms,
            itl_ms=self._load.itl_ms,
            began_us=self._load.began_us,
        )

    def _first_token_ms(self) -> float | None:
        if self._published_us is None or self._load.first_token_us is None:
            return None
        return (self._load.first_token_us - self._published_us) / 1000

    async def close(self) -> None:
        await self._stop(EngineDied("the engine was closed"))

    async def pause(self) -> int:
        # The prefix cache stays: see _write. Clearing it would make every request in flight compute
        # its prompt and response once more.
        await self._answer(self._running().pause_generation(mode="keep", clear_cache=False))
        return len(self._writing)

    async def stage(self, paths: list[str]) -> str | None:
        if not await self._rpc("stage", paths):
            return None
        while (fingerprint := await self._rpc("stage_more")) is None:
            pass
        return fingerprint

    async def load_files(self, paths: list[str]) -> str:
        return await self._rpc("load_files", paths)

    async def resume(self) -> None:
        self._load.now_serves(self.version)
        await self._answer(self._running().resume_generation())

    def _receive(self, weights: PublishedWeights) -> MappedFile:
        sync = self._settings.sync
        return receive(weights, sync.bucket_mib << 20, sync.timeout_s)

    def _stalled_s(self) -> float:
        """The child may hang while this process goes on answering."""
        assert self._swap is not None
        if not self._writing or self._swap.is_under_way:
            self._load.heard = time.monotonic()
        return time.monotonic() - self._load.heard

    async def _load_weights(self, weights: PublishedWeights) -> LoadReport:
        self._running()
        assert self._swap is not None
        try:
            report = await self._swap.to(weights)
            self._published_us = weights.published_us
            return report
        except EngineDied as error:
            await self._stop(error)
            raise

    async def _open(self, request: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(request)
        self._writing.add(task)
        try:
            self._running()
            return await task
        except asyncio.CancelledError:
            if self._end is not None:
                raise self._end from None
            raise
        except EngineDeadError as error:
            await self._stop(EngineDied("the engine's process died"))
            raise EngineDied("the engine's process died while it wrote") from error
        finally:
            await _cancel([task])
            self._writing.discard(task)

    async def _write(
        self,
        prompt_ids: tuple[int, ...],
        sampling: Sampling,
        begun: Completion | None,
        stop: asyncio.Event | None,
    ) -> Completion:
        first_version, start_us = self.version, _now_us()
        written = begun.token_ids if begun is not None else ()
        assert sampling.decoding is None or self._settings.decodes, "the engine cannot do this"
        parameters = _sampling_params(sampling, sampling.max_tokens - len(written))
        output = await self._final_output(prompt_ids + written, parameters, stop)
        answer = output.outputs[0]
        finish_reason = _finish_reason(answer.finish_reason)
        self._requests_done += begun is None
        self._generated_tokens += len(answer.token_ids)
        completion = Completion(
            text=answer.text,
            token_ids=tuple(answer.token_ids),
            logprobs=_drawn_logprobs(answer),
            finish_reason=finish_reason,
            first_version=first_version,
            last_version=self.version,
            start_us=start_us,
            end_us=_now_us(),
        )
        if begun is None:
            return completion
        tokenizer = self._running().get_tokenizer()
        return _joined(begun, completion, _text(tokenizer, prompt_ids, written, completion))

    async def _score(
        self, prompt_ids: tuple[int, ...], response_ids: tuple[int, ...]
    ) -> tuple[float, ...]:
        # vLLM does not read the prefix cache for this: what is cached has no log-probabilities.
        parameters = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._final_output(prompt_ids + response_ids, parameters, None)
        told = output.prompt_logprobs
        assert isinstance(told, FlatLogprobs)
        assert tuple(told.token_ids[-len(response_ids) :]) == response_ids
        return tuple(told.logprobs[-len(response_ids) :])

    async def _final_output(
        self, prompt_ids: tuple[int, ...], parameters: SamplingParams, stop: asyncio.Event | None
    ) -> RequestOutput:
        # What requests in flight computed with older weights stays in the prefix cache. The salt
        # keeps it from requests of another version; a reset would fail while blocks are in use.
        prompt = TokensPrompt(prompt_token_ids=list(prompt_ids), cache_salt=str(self.version))
        number = str(next(self._request_numbers))
        outputs = self._running().generate(prompt, parameters, number)
        if stop is None:
            (output,) = [o async for o in outputs]
            return output
        abort = asyncio.create_task(self._abort_at(stop, number))
        try:
            (output,) = [o async for o in outputs]
            return output
        finally:
            await _cancel([abort])

    async def _abort_at(self, stop: asyncio.Event, number: str) -> None:
        await stop.wait()
        while True:  # whoever waits for the output ends this
            await self._running().abort(number)
            await asyncio.sleep(ABORT_AGAIN_S)

    def _launch(self) -> AsyncLLM:
        config, settings = self._config, self._settings
        on_cpu = settings.device == "cpu"
        os.environ["VLLM_NO_USAGE_STATS"] = "1"  # it would tell its makers of every run
        if on_cpu:
            _prepare_cpu(threads=settings.threads, in_process=config.tensor_parallel == 1)
        if settings.decodes:  # its second runner takes another kind of logits processor
            os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
        arguments = AsyncEngineArgs(
            model=settings.model_dir,
            revision=settings.revision,
            tokenizer_revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
            seed=settings.seed,
            dtype=config.dtype,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            gpu_memory_utilization=config.gpu_memory_utilization,
            kv_cache_memory_bytes=int(config.kv_cache_gib * 2**30) if on_cpu else None,
            tensor_parallel_size=config.tensor_parallel,
            distributed_executor_backend="uni" if config.tensor_parallel == 1 else "mp",
            enforce_eager=config.enforce_eager,
            enable_prefix_caching=True,
            generation_config="vllm",  # no sampling defaults of the model's own
            # Raw: of the model, before temperature and penalties.
            logprobs_mode="processed_logprobs" if settings.processed_logprobs else "raw_logprobs",
            # Never for training: a policy is trained on samples of itself.
            logits_processors=[vllm_decoding.NAME] if settings.decodes else None,
            worker_extension_cls="actors.vllm_worker.WorkerExtension",
            disable_log_stats=True,
        )
        return AsyncLLM.from_engine_args(arguments, stat_loggers=[self._load.attach])

    def _model_folder(self) -> str:
        settings = self._settings
        if os.path.isdir(settings.model_dir):
            return settings.model_dir
        # A hub name: vLLM has just put it into the hub's cache.
        return snapshot_download(
            settings.model_dir, revision=settings.revision, local_files_only=True
        )

    def _running(self) -> AsyncLLM:
        if self._end is not None:
            raise EngineDied(str(self._end))
        if self._llm is None:
            raise RuntimeError("the engine has not been started")
        return self._llm

    async def _rpc(self, method: str, *args: Any) -> Any:
        """Run a method of ``WorkerExtension`` in every worker; they must all return the same."""
        results = await self._answer(self._running().collective_rpc(method, args=args))
        if any(result != results[0] for result in results):
            raise RuntimeError(f"the workers disagree about {method}: {results}")
        return results[0]

    async def _answer(self, call: Coroutine[Any, Any, Any]) -> Any:
        llm, task = self._running(), asyncio.create_task(call)
        deadline = time.monotonic() + CALL_TIMEOUT_S
        try:
            while not (await asyncio.wait({task}, timeout=HEALTH_CHECK_S))[0]:
                if llm.errored:
                    raise EngineDied("the engine's process died")
                if time.monotonic() > deadline:
                    raise EngineDied(f"the engine gave no answer for {CALL_TIMEOUT_S:.0f} s")
            return task.result()
        except EngineDeadError as error:
            raise EngineDied("the engine's process died") from error
        finally:
            task.cancel()

    async def _stop(self, end: EngineDied) -> None:
        self._end = self._end or end
        await _cancel(list(self._writing))
        if self._swap is not None:
            self._swap.close()
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown)


class _Load(StatLoggerBase):
    """How busy the engine is, as its scheduler reports after every step."""

    def __init__(self) -> None:
        self.running = 0
        self.kv_use = 0.0
        self.preemptions = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.heard = time.monotonic()
        self.first_token_us: int | None = None
        """When the weights that serve had first written a token."""
        self.began_us: int | None = None
        self._version = 0
        self._first_token_s: deque[float] = deque(maxlen=LATE)
        self._between_tokens_s: deque[float] = deque(maxlen=LATE)

    def attach(self, vllm_config: Any, engine_index: int = 0) -> "_Load":
        return self

    def now_serves(self, version: int) -> None:
        """Outputs come in order: what is reported from now on, these weights computed."""
        if version != self._version:
            self._version, self.first_token_us = version, None

    def record(
        self, scheduler_stats: Any, iteration_stats: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        self.heard = time.monotonic()
        if self.first_token_us is None and iteration_stats is not None:
            self.first_token_us = _now_us() if iteration_stats.num_generation_tokens else None
            self.began_us = self.began_us or self.first_token_us
        if scheduler_stats is not None:
            self.running = scheduler_stats.num_running_reqs
            self.kv_use = scheduler_stats.kv_cache_usage
            self.prompt_tokens += scheduler_stats.prefix_cache_stats.queries
            self.cached_tokens += scheduler_stats.prefix_cache_stats.hits
        if iteration_stats is not None:
            self.preemptions += iteration_stats.num_preempted_reqs
            self._first_token_s.extend(iteration_stats.time_to_first_tokens_iter)
            self._between_tokens_s.extend(iteration_stats.inter_token_latencies_iter)

    @property
    def ttft_ms(self) -> float | None:
        return _median_ms(self._first_token_s)

    @property
    def itl_ms(self) -> float | None:
        return _median_ms(self._between_tokens_s)

    def log_engine_initialized(self) -> None: ...


def _median_ms(seconds: Collection[float]) -> float | None:
    return 1e3 * statistics.median(seconds) if seconds else None


def _prepare_cpu(*, threads: int, in_process: bool) -> None:
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would count for more than the argument
    # OpenMP reads it when the child starts. vLLM's own thread binding exists only in an executor
    # with one more process, which costs one more import of torch and vLLM at the start.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    if in_process:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"


def _sampling_params(sampling: Sampling, max_tokens: int) -> SamplingParams:
    # No seed per request: with one, vLLM's CPU kernels die on a prompt that is split (0.32).
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        max_tokens=max_tokens,
        logprobs=0 if sampling.logprobs else None,  # 0: of the drawn token and no others
        flat_logprobs=True,  # one list of floats instead of an object for every token
        output_kind=RequestOutputKind.FINAL_ONLY,
        extra_args=None
        if sampling.decoding is None
        else {vllm_decoding.KEY: asdict(sampling.decoding)},
    )


def _joined(begun: Completion, rest: Completion, text: str) -> Completion:
    return replace(
        rest,
        text=text,
        token_ids=begun.token_ids + rest.token_ids,
        logprobs=begun.logprobs + rest.logprobs,
        first_version=begun.first_version,
        start_us=begun.start_us,
    )


def _text(
    tokenizer: Any, prompt_ids: tuple[int, ...], written: tuple[int, ...], rest: Completion
) -> str:
    """What vLLM would have read in one piece: a letter may lie on both sides of the cut."""
    request = EngineCoreRequest(
        request_id="",
        prompt_token_ids=list(prompt_ids),
        mm_features=None,
        sampling_params=SamplingParams(),
        pooling_params=None,
        arrival_time=0.0,
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )
    detokenizer = IncrementalDetokenizer.from_new_request(tokenizer, request)
    detokenizer.update([*written, *rest.token_ids], rest.finish_reason == "stop")
    return detokenizer.get_next_output_text(finished=True, delta=False)


def _drawn_logprobs(answer: CompletionOutput) -> tuple[float, ...]:
    if answer.logprobs is None:
        return ()
    assert isinstance(answer.logprobs, FlatLogprobs)
    assert answer.logprobs.token_ids == list(answer.token_ids), "a log-probability for each token"
    return tuple(answer.logprobs.logprobs)


def _finish_reason(reason: str | None) -> FinishReason:
    if reason not in ("stop", "length", "abort"):
        raise RuntimeError(f"vLLM ended a response for an unknown reason: {reason!r}")
    return cast(FinishReason, reason)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _now_us() -> int:
    return time.time_ns() // 1000
