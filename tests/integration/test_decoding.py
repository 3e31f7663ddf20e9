"""Decode-time methods in a real engine: one for all tests of this file."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from transformers import LlamaForCausalLM

from actors.engine import Engine, make_vllm_engine
from actors.waiting import together
from configs.schema import EngineConfig
from tests.tiny_llama import write_tiny_llama
from verifiers.types import Completion, Decoding, Sampling

pytestmark = pytest.mark.asyncio(loop_scope="module")

EOS = 2
END = (70, 71)
"""What stands for ``</think>`` here: two tokens."""
PROMPT = tuple(range(40, 60))
PLAIN = Sampling(
    temperature=1.0, top_p=1.0, top_k=-1, min_p=0.0, repetition_penalty=1.0, max_tokens=24,
    logprobs=True,
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("model")
    write_tiny_llama(folder, seed=0)
    made = make_vllm_engine(
        EngineConfig(dtype="float32", max_model_len=128, max_num_seqs=24),
        model_dir=str(folder), device="cpu", threads=1, seed=5, decodes=True,
    )  # fmt: skip
    await made.start()
    yield made, folder
    await made.close()


async def ask(
    engine: Engine, count: int, decoding: Decoding | None, **changes: object
) -> list[Completion]:
    sampling = replace(PLAIN, decoding=decoding, **changes)
    return await together(engine.sample(PROMPT, sampling) for _ in range(count))


async def test_a_budget_ends_thinking_at_its_token_and_not_after(engine: tuple[Engine, Path]):
    """Beside requests without one, which come and go while it writes."""
    rule = Decoding(think_end_ids=END, thinking_budget=7, forced_end_ids=(*END, 72))

    forced, free = await together(
        [ask(engine[0], 12, rule), ask(engine[0], 30, None, max_tokens=9)]
    )

    long = [completion.token_ids for completion in forced if len(completion.token_ids) >= 10]
    assert len(long) > 6
    assert {ids[7:10] for ids in long} == {(*END, 72)}
    assert len({ids[:7] for ids in long}) == len(long)
    assert not any(END[0] in ids[7:8] for ids in (c.token_ids for c in free))


async def test_a_bias_on_the_end_token_ends_at_once(engine: tuple[Engine, Path]):
    rule = Decoding(think_end_ids=END, stop_ids=(EOS,), stop_bias=1000.0)

    found = await ask(engine[0], 8, rule)

    assert [completion.token_ids for completion in found] == [(EOS,)] * 8
    assert all(completion.finish_reason == "stop" for completion in found)
    # What is told is what the plain model thinks of it.
    assert all(completion.logprobs[0] < -1 for completion in found)


async def test_a_temperature_of_the_stop_token_is_what_the_formula_says(
    engine: tuple[Engine, Path],
):
    """First tokens of many samples beside transformers' logits with the stop token's divided."""
    model = LlamaForCausalLM.from_pretrained(engine[1]).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPT])).logits[0, -1].double()
    token = int(logits.argmax())
    changed = logits.clone()
    changed[token] /= 0.5
    expected = changed.softmax(-1)[token].item()
    plain = logits.softmax(-1)[token].item()
    rule = Decoding(think_end_ids=END, stop_ids=(token,), stop_temperature=0.5)

    found = await ask(engine[0], 600, rule, max_tokens=1)
    untouched = await ask(engine[0], 600, None, max_tokens=1)

    counts = [Counter(c.token_ids[0] for c in group)[token] / 600 for group in (found, untouched)]
    assert counts[0] == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 600) ** 0.5)
    assert counts[1] == pytest.approx(plain, abs=4 * (plain * (1 - plain) / 600) ** 0.5)
    assert expected > plain + 0.02


async def test_a_greedy_response_waits_once(engine: tuple[Engine, Path]):
    """Whatever it writes first is called the end of thinking: then it must write something else."""
    (plain,) = await ask(engine[0], 1, None, temperature=0.0)
    end = plain.token_ids[0]
    rule = Decoding(think_end_ids=(end,), waits=1, wait_ids=(90, 91))

    (found,) = await ask(engine[0], 1, rule, temperature=0.0)

    assert found.token_ids[:2] == (90, 91)
    assert len(plain.token_ids) > 3


async def test_neutral_orders_change_nothing(engine: tuple[Engine, Path]):
    (plain,) = await ask(engine[0], 1, None, temperature=0.0)
    neutral = Decoding(think_end_ids=END, stop_ids=(EOS,))

    (found,) = await ask(engine[0], 1, neutral, temperature=0.0)

    assert found.token_ids == plain.token_ids
