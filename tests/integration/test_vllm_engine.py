"""One real engine for all tests of this file: they build on each other's versions, in order."""

import asyncio
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from actors import generator as generator_module
from actors import vllm_engine
from actors.engine import Engine, EngineDied, make_vllm_engine
from actors.generator import Generator
from actors.waiting import together
from configs.economy import SyncConfig
from configs.load import load
from configs.schema import EngineConfig
from learner.weight_stream import WeightStream
from tests.deltas import write_delta
from tests.fakes import FakeJudge, make_ticket
from tests.tiny_llama import write_tiny_llama
from verifiers.fingerprint import fingerprint
from verifiers.mapped_file import MappedFile
from verifiers.types import Completion, PublishedWeights, Sampling, WeightsFile
from verifiers.weights_file import WeightsRefused, file_tensors

# One engine serves them all, in their order: whoever wants one of them wants them all.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.row(23)]

EOS = 2
BUCKET_MIB = 1
LONG_PROMPT = tuple(3 + (7 * place) % 256 for place in range(300))
"""More than two blocks of the prefix cache, so that a stale hit would show."""


@dataclass
class World:
    engine: Engine
    folders: list[Path]
    models: list[LlamaForCausalLM]

    def published(self, model: int, version: int, *, leave_out: str = "") -> PublishedWeights:
        path = self.folders[model] / f"version-{version}{leave_out}.safetensors"
        state = self.models[model].state_dict()
        state = {n: t.clone() for n, t in state.items() if n not in ("lm_head.weight", leave_out)}
        save_file(state, path)
        return announced(path, version)

    def greedy(self, model: int, prompt: tuple[int, ...] = LONG_PROMPT) -> tuple[int, ...]:
        """What transformers says that the engine must say."""
        ids = list(prompt)
        with torch.inference_mode():
            while len(ids) < len(prompt) + 20 and ids[-1] != EOS:
                ids.append(int(self.models[model](torch.tensor([ids])).logits[0, -1].argmax()))
        return tuple(ids[len(prompt) :])

    def logprobs(self, model: int, prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
        """What transformers says of each token of a response at temperature 1."""
        with torch.inference_mode():
            logits = self.models[model](torch.tensor([prompt + response])).logits[0]
        told = logits[len(prompt) - 1 : -1].float().log_softmax(-1)
        return told.gather(-1, torch.tensor(response)[:, None])[:, 0]

    async def says(self, prompt: tuple[int, ...] = LONG_PROMPT) -> Completion:
        return await self.engine.sample(prompt, sampling(20, temperature=0.0))


def announced(path: Path, version: int) -> PublishedWeights:
    """A complete file as its learner would announce it."""
    file = WeightsFile(
        path=str(path),
        version=version,
        base=None,
        fingerprint=fingerprint(file_tensors(path)),
        num_bytes=path.stat().st_size,
    )
    return PublishedWeights(
        version=version,
        fingerprint=file.fingerprint,
        num_tensors=len(list(file_tensors(path))),
        num_bytes=file.num_bytes,
        files=(file,),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(f"model-{seed}") for seed in range(3)]
    for seed, folder in enumerate(folders):
        write_tiny_llama(folder, seed)
    models = [LlamaForCausalLM.from_pretrained(folder).eval() for folder in folders]
    engine = make_vllm_engine(
        EngineConfig(dtype="float32", max_model_len=448, max_num_seqs=24),
        model_dir=str(folders[0]),
        device="cpu",
        threads=1,
        seed=5,
        cpu_cores=(max(os.sched_getaffinity(0)),),
        sync=SyncConfig(bucket_mib=BUCKET_MIB, timeout_s=15.0),
    )
    await engine.start()
    yield World(engine, folders, models)
    await engine.close()


def sampling(max_tokens: int, temperature: float = 1.0, *, logprobs: bool = False) -> Sampling:
    return Sampling(
        temperature=temperature,
        top_p=1.0,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=max_tokens,
        logprobs=logprobs,
    )


async def samples(
    engine: Engine, prompt: tuple[int, ...], count: int, sampling: Sampling
) -> list[Completion]:
    return await together(engine.sample(prompt, sampling) for _ in range(count))


async def until_in_flight(engine: Engine, number: int) -> None:
    """Ask for clearly fewer than were sampled: a response may stop at any token."""
    async with asyncio.timeout(60):
        while (await engine.stats()).running < number:
            await asyncio.sleep(0.001)


def child() -> int:
    (process,) = [p for p in multiprocessing.active_children() if "EngineCore" in p.name]
    assert process.pid is not None
    return process.pid


async def test_the_engine_computes_what_transformers_computes(world):
    said = await world.says()

    assert said.token_ids == world.greedy(0)
    assert (said.first_version, said.last_version) == (0, 0)
    assert said.start_us < said.end_us


async def test_the_engine_runs_on_the_cores_that_it_was_given(world):
    assert os.sched_getaffinity(child()) == {max(os.sched_getaffinity(0))}


async def test_the_engine_tells_its_makers_nothing(world):
    environment = Path(f"/proc/{child()}/environ").read_bytes().split(b"\0")
    assert b"VLLM_NO_USAGE_STATS=1" in environment


@pytest.mark.parametrize("temperature", [1.0, 0.0, 0.5])
async def test_the_log_probabilities_are_those_of_the_plain_model(world, temperature):
    """Whatever temperature drew the tokens; the end token has one too."""
    for prompt, count in ((5, 6, 7), 12), (LONG_PROMPT, 2):
        asked = sampling(120, temperature, logprobs=True)
        completions = await samples(world.engine, prompt, count, asked)

        for completion in completions:
            expected = world.logprobs(0, prompt, completion.token_ids)
            found = torch.tensor(completion.logprobs)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        if temperature == 1.0 and count == 12:
            assert any(completion.token_ids[-1] == EOS for completion in completions)


async def test_log_probabilities_are_given_only_to_who_asks(world):
    silent = await world.engine.sample((5, 6, 7), sampling(5))

    assert silent.logprobs == ()


async def test_a_stopped_response_ends_with_its_end_token_and_only_there(world):
    tokenizer = AutoTokenizer.from_pretrained(world.folders[0])
    before = await world.engine.stats()

    completions = await samples(world.engine, (5, 6, 7), 60, sampling(150))

    stopped = [c for c in completions if c.finish_reason == "stop"]
    cut = [c for c in completions if c.finish_reason == "length"]
    assert len(stopped) + len(cut) == 60
    assert stopped
    assert cut
    assert all(c.token_ids[-1] == EOS and EOS not in c.token_ids[:-1] for c in stopped)
    assert all(len(c.token_ids) == 150 and EOS not in c.token_ids for c in cut)
    for completion in completions:
        # Random bytes end in half a letter: vLLM leaves it out, the tokenizer marks it.
        text = tokenizer.decode(completion.token_ids, skip_special_tokens=True)
        assert completion.text.rstrip("\ufffd") == text.rstrip("\ufffd")
    assert len({c.token_ids for c in completions}) == 60
    after = await world.engine.stats()
    assert after.requests_done - before.requests_done == 60
    num_tokens = sum(len(c.token_ids) for c in completions)
    assert after.generated_tokens - before.generated_tokens == num_tokens
    assert (after.version, after.waiting) == (0, 0)


async def test_a_response_that_goes_on_behind_its_first_part_is_the_same_response(world):
    tokenizer = AutoTokenizer.from_pretrained(world.folders[0])
    asked = sampling(20, temperature=0.0, logprobs=True)
    num_split_letters = 0
    for first in (9, 77, 133, 200):
        prompt = (first, *LONG_PROMPT)
        whole = await world.engine.sample(prompt, asked)
        for cut in range(1, len(whole.token_ids)):
            begun = await world.engine.sample(prompt, replace(asked, max_tokens=cut))
            assert begun.finish_reason == "length"

            joined = await world.engine.sample(prompt, asked, begun=begun)

            assert joined.token_ids == whole.token_ids == world.greedy(0, prompt)
            assert (joined.text, joined.finish_reason) == (whole.text, whole.finish_reason)
            expected = world.logprobs(0, prompt, joined.token_ids)
            torch.testing.assert_close(torch.tensor(joined.logprobs), expected, atol=1e-4, rtol=0)
            rest = tokenizer.decode(joined.token_ids[cut:], skip_special_tokens=True)
            num_split_letters += begun.text + rest != joined.text
            assert joined.start_us == begun.start_us
    assert num_split_letters


async def test_a_letter_on_both_sides_of_the_cut_is_read_as_one(world):
    tokenizer = AutoTokenizer.from_pretrained(world.folders[0])
    first, second = tokenizer.encode("é", add_special_tokens=False)
    drawn = await world.engine.sample((5, 6), sampling(1))
    begun = replace(drawn, text="", token_ids=(first,), logprobs=())
    whole = replace(drawn, token_ids=(first, second), logprobs=())

    half = await world.engine.sample((5, 6), sampling(2), begun=begun)
    joined = await world.engine.sample((5, 6), sampling(3), begun=whole)

    assert half.token_ids[0] == first
    assert joined.text.startswith("é")


async def test_a_stopped_response_brings_what_was_written(world):
    stop = asyncio.Event()
    asked = sampling(400, logprobs=True)
    writing = [
        asyncio.create_task(world.engine.sample((5, 6, 7), asked, stop=stop)) for _ in range(4)
    ]
    await until_in_flight(world.engine, 3)

    stop.set()
    late = await world.engine.sample((5, 6, 7), asked, stop=stop)

    completions = [*(await asyncio.gather(*writing)), late]
    aborted = [c for c in completions if c.finish_reason == "abort"]
    assert len(aborted) >= 3
    assert all(len(c.token_ids) == len(c.logprobs) < 400 for c in aborted)
    assert any(c.token_ids for c in aborted)
    await world.says()
    stats = await world.engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)


async def test_a_prompt_is_computed_once_for_all_of_its_responses(world):
    prompt = (99, *LONG_PROMPT)
    before = await world.engine.stats()

    await samples(world.engine, prompt, 8, sampling(4))

    after = await world.engine.stats()
    assert after.prompt_tokens - before.prompt_tokens == 8 * len(prompt)
    assert after.cached_tokens - before.cached_tokens >= 7 * 256


@pytest.mark.parametrize("prompt", [(5, 6, 7), LONG_PROMPT], ids=["short", "long"])
async def test_a_score_is_the_log_probability_of_a_response_that_it_did_not_write(world, prompt):
    """Also where the prefix cache knows the prompt, and the response too."""
    response = tuple(3 + (11 * place) % 256 for place in range(140))
    await world.engine.sample(prompt, sampling(4))

    scores = [await world.engine.score(prompt, response) for _ in range(2)]

    expected = world.logprobs(0, prompt, response)
    for found in scores:
        torch.testing.assert_close(torch.tensor(found), expected, atol=1e-3, rtol=0)


async def test_the_end_of_a_prompt_reads_as_it_was_written(world):
    tokenizer = AutoTokenizer.from_pretrained(world.folders[0])
    ids = tuple(tokenizer.encode("so: <think>\n", add_special_tokens=False))

    assert world.engine.text_of((*ids, EOS)) == "so: <think>\n<eos>"


async def test_weights_swap_under_requests_in_flight_and_all_of_them_finish(world):
    # The long prompt first: its blocks are in the prefix cache, and in use, when weights change.
    long_ones = [
        asyncio.create_task(samples(world.engine, LONG_PROMPT, 4, sampling(140, logprobs=True)))
        for _ in range(2)
    ]
    short_ones = [
        asyncio.create_task(samples(world.engine, (5, 6, 7 + i), 8, sampling(400, logprobs=True)))
        for i in range(4)
    ]
    await until_in_flight(world.engine, 24)
    stats = await world.engine.stats()
    # All 40, but for one that has drawn its end by now.
    assert stats.running == 24 and 12 <= stats.waiting <= 16
    assert 0 < stats.kv_use < 1
    weights = world.published(1, version=1)

    report = await world.engine.load_weights(weights)
    groups = await asyncio.gather(*long_ones, *short_ones)

    completions = [completion for group in groups for completion in group]
    assert len(completions) == 40
    assert {c.finish_reason for c in completions} <= {"stop", "length"}
    assert {c.first_version for c in completions} == {0}
    assert sum(c.last_version == 1 for c in completions) >= 16
    assert all(len(c.logprobs) == len(c.token_ids) for c in completions)
    assert report.fingerprint == weights.fingerprint
    assert (report.version, report.num_tensors) == (1, weights.num_tensors)
    assert 16 <= report.in_flight <= 40
    assert 0 < report.stall_s <= report.seconds


async def test_the_next_request_is_answered_by_the_new_weights_alone(world):
    said = await world.says()

    assert said.token_ids == world.greedy(1)
    assert said.token_ids != world.greedy(0)
    assert (said.first_version, said.last_version) == (1, 1)


async def test_the_same_weights_again_change_nothing(world):
    weights = world.published(1, version=1)

    report = await world.engine.load_weights(weights)

    assert (report.version, report.stall_s, report.in_flight) == (1, 0.0, 0)
    assert (await world.says()).token_ids == world.greedy(1)


def flipped(weights: PublishedWeights) -> PublishedWeights:
    path = Path(weights.files[0].path)
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    return weights


def gone(weights: PublishedWeights) -> PublishedWeights:
    return replace(weights, files=(replace(weights.files[0], path="gone"),))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda w: flipped(w.published(2, version=2)), "fingerprint"),
        (lambda w: w.published(2, version=2, leave_out="model.norm.weight"), r"model\.norm"),
        (lambda w: w.published(2, version=1), "version 1 refused"),
        (lambda w: w.published(2, version=0), "version 0 refused"),
        (lambda w: gone(w.published(2, version=2)), "'gone' cannot be read"),
    ],
    ids=["one flipped bit", "a missing tensor", "another version 1", "an older one", "no file"],
)
async def test_refused_weights_leave_the_engine_as_it_was(world, make, why):
    weights = make(world)

    with pytest.raises(WeightsRefused, match=why):
        await world.engine.load_weights(weights)

    said = await world.says()
    assert (said.token_ids, said.last_version) == (world.greedy(1), 1)


DAMAGES = ("other bytes", "another shape", "a tensor less", "half of a fused matrix")


@pytest.mark.parametrize("is_staged", [True, False], ids=["staged", "while it stands still"])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_weights_that_change_after_the_check_are_taken_back(
    world, monkeypatch, damage, is_staged
):
    """The last two pass every check of names and hashes: that all was written is a check of its
    own."""

    async def cannot(paths: list[str]) -> None: ...

    if not is_staged:
        monkeypatch.setattr(world.engine, "stage", cannot)
    weights = world.published(2, version=2)
    state = {n: t.clone() for n, t in world.models[2].model.state_dict(prefix="model.").items()}
    path = Path(weights.files[0].path)
    if damage == "other bytes":
        weights = replace(weights, fingerprint="0" * 32)
    else:
        if damage == "another shape":
            state["model.layers.1.mlp.down_proj.weight"] = torch.zeros(3, 3)
        elif damage == "a tensor less":
            del state["model.layers.1.input_layernorm.weight"]
        else:
            del state["model.layers.1.mlp.up_proj.weight"]
        save_file(state, path)
        weights = announced(path, version=2)
    monkeypatch.setattr(
        world.engine._swap, "_prepare", lambda *_: SimpleNamespace(paths=[str(path)], close=int)
    )
    writing = asyncio.create_task(samples(world.engine, (9, 8, 7), 16, sampling(300)))
    await until_in_flight(world.engine, 8)

    end = "version 1 goes on" if is_staged else "version 1 was put back"
    with pytest.raises(WeightsRefused, match=end) as refusal:
        await world.engine.load_weights(weights)

    if damage in DAMAGES[2:]:
        assert "weights for model.layers.1" in str(refusal.value)
    assert {(c.first_version, c.last_version) for c in await writing} == {(1, 1)}
    assert (await world.says()).token_ids == world.greedy(1)


async def test_a_caller_that_gives_up_leaves_a_whole_swap(world):
    weights = world.published(2, version=2)
    loading = asyncio.create_task(world.engine.load_weights(weights))
    await asyncio.sleep(0)

    loading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await loading
    report = await world.engine.load_weights(weights)
    assert (report.version, report.stall_s) == (2, 0.0)
    assert (await world.says()).token_ids == world.greedy(2)


async def test_a_cancelled_sample_stops_writing_also_while_weights_change(world):
    weights = world.published(0, version=3)
    writing = asyncio.create_task(samples(world.engine, (4, 4, 4), 20, sampling(400)))
    await until_in_flight(world.engine, 8)
    loading = asyncio.create_task(world.engine.load_weights(weights))
    await asyncio.sleep(0.01)

    writing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await writing
    await loading
    said = await world.says()
    assert (said.token_ids, said.last_version) == (world.greedy(0), 3)
    stats = await world.engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)


def changed(world: World, weights: PublishedWeights) -> PublishedWeights:
    """A delta from them to the other model that has this layout."""
    (base,) = weights.files
    old, version = Path(base.path).read_bytes(), weights.version + 1
    new = Path(world.published(1, version=version).files[0].path).read_bytes()
    delta = write_delta(Path(base.path).with_suffix(".delta"), old, new, version, base)
    return replace(
        weights,
        version=version,
        fingerprint=delta.fingerprint,
        num_bytes=delta.num_bytes,
        files=(base, delta),
        published_us=time.time_ns() // 1000,
    )


async def test_a_delta_is_applied_under_requests_in_flight(world):
    weights = changed(world, world.published(0, version=3))
    writing = asyncio.create_task(samples(world.engine, (9, 8, 7), 16, sampling(300)))
    await until_in_flight(world.engine, 8)

    report = await world.engine.load_weights(weights)

    assert {c.first_version for c in await writing} == {3}
    said = await world.says()
    assert (said.token_ids, said.first_version) == (world.greedy(1), 4)
    assert report.fingerprint == weights.fingerprint
    assert report.prepare_s > 0
    first_token_ms = (await world.engine.stats()).first_token_ms
    assert first_token_ms is not None
    assert first_token_ms >= 1000 * (report.prepare_s + report.stall_s) * 0.9


async def test_it_says_how_long_first_tokens_and_further_ones_take(world):
    began = time.monotonic()
    await world.engine.sample((5, 6), sampling(50))
    took_ms = 1000 * (time.monotonic() - began)

    stats = await world.engine.stats()

    assert stats.ttft_ms is not None and stats.itl_ms is not None
    assert 0 < stats.itl_ms < took_ms and stats.ttft_ms > 0


async def test_a_delta_that_is_damaged_or_for_another_base_leaves_the_engine_as_it_was(world):
    weights = changed(world, world.published(1, version=4))
    delta = Path(weights.files[1].path)
    delta.write_bytes(delta.read_bytes()[:-1])
    foreign = changed(world, world.published(2, version=4))

    for bad in (weights, replace(foreign, files=(weights.files[0], foreign.files[1]))):
        with pytest.raises(WeightsRefused):
            await world.engine.load_weights(bad)

    assert (await world.says()).token_ids == world.greedy(1)
    assert world.engine.version == 4


def streamed(complete: PublishedWeights, stream: WeightStream) -> PublishedWeights:
    return replace(complete, files=(), is_streamed=True, address=stream.address)


async def test_a_stream_that_breaks_or_brings_other_bytes_leaves_the_engine_as_it_was(world):
    complete = world.published(2, version=5)
    stream = WeightStream(BUCKET_MIB << 20, timeout_s=15)
    nobody = asyncio.create_task(world.engine.load_weights(streamed(complete, stream)))
    with pytest.raises(WeightsRefused, match=r"version 5 refused: the stream from .* broke"):
        await nobody

    stream = WeightStream(BUCKET_MIB << 20, timeout_s=15)
    other = replace(streamed(complete, stream), fingerprint="0" * 32)
    loading = asyncio.create_task(world.engine.load_weights(other))
    await asyncio.to_thread(stream.send, MappedFile.open(complete.files[0].path).copy(), 1)
    with pytest.raises(WeightsRefused, match="its fingerprint is"):
        await loading

    assert (await world.says()).token_ids == world.greedy(1)
    assert world.engine.version == 4


async def test_a_stream_is_received_while_the_engine_writes(world):
    """From a learner's own sender, in a thread; another engine never comes."""
    complete = world.published(2, version=5)
    stream = WeightStream(BUCKET_MIB << 20, timeout_s=15)
    writing = asyncio.create_task(samples(world.engine, (9, 8, 7), 16, sampling(300)))
    await until_in_flight(world.engine, 8)

    loading = asyncio.create_task(world.engine.load_weights(streamed(complete, stream)))
    await asyncio.to_thread(stream.send, MappedFile.open(complete.files[0].path).copy(), 2)
    report = await loading

    assert report.fingerprint == complete.fingerprint
    assert {c.first_version for c in await writing} == {4}
    assert (await world.says()).token_ids == world.greedy(2)


@pytest.mark.row(3)
async def test_when_the_engine_dies_everything_open_fails_and_nothing_is_left(world):
    process = child()
    writing = asyncio.create_task(samples(world.engine, (4, 4, 4), 20, sampling(400)))
    await until_in_flight(world.engine, 8)

    os.kill(process, signal.SIGKILL)

    with pytest.raises(EngineDied, match="process died"):
        await asyncio.wait_for(writing, 30)
    for call in (
        world.says(),
        world.engine.stats(),
        world.engine.load_weights(world.published(1, version=4)),
    ):
        with pytest.raises(EngineDied):
            await asyncio.wait_for(call, 30)
    await world.engine.close()
    assert multiprocessing.active_children() == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowded(world):
    """An engine with 24 slots whose KV cache holds 8 responses of 300 tokens: 3 blocks each."""
    arguments = vllm_engine.AsyncEngineArgs
    vllm_engine.AsyncEngineArgs = partial(arguments, num_gpu_blocks_override=25)
    try:
        engine = make_vllm_engine(
            EngineConfig(dtype="float32", max_model_len=448, max_num_seqs=24),
            model_dir=str(world.folders[0]),
            device="cpu",
            threads=1,
            seed=5,
            processed_logprobs=True,
        )
        await engine.start()
    finally:
        vllm_engine.AsyncEngineArgs = arguments
    yield engine
    await engine.close()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 1.5])
async def test_processed_log_probabilities_are_those_of_what_was_drawn_from(
    world, crowded, temperature
):
    prompt = (5, 6, 7)
    completion = await crowded.sample(prompt, sampling(60, temperature, logprobs=True))

    with torch.inference_mode():
        logits = world.models[0](torch.tensor([prompt + completion.token_ids])).logits[0]
    told = (logits[len(prompt) - 1 : -1].float() / temperature).log_softmax(-1)
    expected = told.gather(-1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


async def test_adaptive_admission_saves_preemptions_where_the_kv_cache_is_too_small(
    crowded, monkeypatch
):
    monkeypatch.setattr(generator_module, "LOOK_S", 0.1)

    async def nothing() -> None: ...

    monkeypatch.setattr(crowded, "start", nothing)  # both generators use the one that runs
    monkeypatch.setattr(crowded, "close", nothing)

    async def preemptions(*, adaptive: bool) -> tuple[int, int]:
        """And the last limit, after 12 groups of 8."""
        judge, before = FakeJudge(), await crowded.stats()
        settings = [
            f"engine.adaptive={adaptive}", "engine.max_num_seqs=24", "engine.max_model_len=448",
            "filter.length_budget=300", "data.max_prompt_tokens=10", "eval.max_tokens=9",
        ]  # fmt: skip
        generator = Generator("g", lambda: crowded, judge, load("tiny", settings))
        await generator.start()
        tickets = [replace(make_ticket(n, size=8, budget=300), temperature=1.0) for n in range(12)]
        await together(generator.generate(ticket) for ticket in tickets)
        after = await generator.stats()
        completions = [c for group in judge.groups for c in group.completions]
        assert len(completions) == 96
        assert all(
            len(c.token_ids) == 300 or (c.token_ids[-1] == EOS and c.finish_reason == "stop")
            for c in completions
        )
        num_tokens = sum(len(c.token_ids) for c in completions)
        assert after.generated_tokens - before.generated_tokens == num_tokens
        await generator.close()
        return after.preemptions - before.preemptions, after.limit

    plain, full_limit = await preemptions(adaptive=False)
    adaptive, limit = await preemptions(adaptive=True)

    assert (full_limit, limit < 24) == (24, True)
    assert plain >= 10
    assert adaptive < 0.75 * plain, (adaptive, plain)
