"""Which problems an evaluation asks, in whose words, and which of its responses are missing."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors import heldout
from actors.chat_template import ChatTemplate
from actors.heldout import EvalSet, decoding_of, fingerprint, load_sets
from cluster.evaluate import configure, missing, named_data
from cluster.prepare import prepare
from configs.decode import DecodeConfig
from configs.errors import UserError
from configs.load import load
from evaluation.evaluator import collect, eval_sampling
from tests.unit.test_prompts import LetterTokenizer
from verifiers.types import EvalSample, Problem, Sampling


class ThinkingTokenizer(LetterTokenizer):
    added = (*LetterTokenizer.added, "</think>")
    """The last one: its token is 8."""


@pytest.fixture(autouse=True)
def template(monkeypatch: pytest.MonkeyPatch) -> ChatTemplate:
    made = ChatTemplate(ThinkingTokenizer(), None, None)
    monkeypatch.setattr(heldout, "load_chat_template", lambda *arguments: made)
    return made


def rows(path: Path, *ids: str) -> str:
    lines = [json.dumps({"id": id, "prompt": f"q{id}", "answer": "1"}) for id in ids]
    path.write_text("\n".join(lines))
    return str(path)


def sets_of(tmp_path: Path, settings: list[str], *data: str) -> tuple[EvalSet, ...]:
    config = load("tiny", settings)
    return load_sets(named_data(config, data), config, "model", tmp_path).sets


def test_many_files_of_many_kinds_are_asked_at_once(tmp_path: Path):
    verl = {
        "data_source": "aime",
        "prompt": [{"role": "user", "content": "2+2?"}],
        "reward_model": {"ground_truth": "4"},
        "extra_info": {"index": 7},
    }
    pq.write_table(pa.Table.from_pylist([verl]), tmp_path / "aime24.parquet")
    plain = rows(tmp_path / "plain.jsonl", "a", "b", "c")

    sets = sets_of(tmp_path, ["eval.problems=2"], plain, f"x={tmp_path / 'aime24.parquet'}")

    assert [(s.label, [p.id for p in s.problems], s.num_there) for s in sets] == [
        ("plain", ["a", "b"], 3),
        ("x", ["aime-7"], 1),
    ]
    assert sets[1].problems[0].answer == "4"


def test_ids_that_two_sets_share_are_told_apart(tmp_path: Path):
    first, second = rows(tmp_path / "f.jsonl", "1", "2"), rows(tmp_path / "s.jsonl", "2", "3")

    sets = sets_of(tmp_path, [], first, second)

    assert [[p.id for p in s.problems] for s in sets] == [["1", "2"], ["s/2", "s/3"]]


def test_a_prompt_of_ones_own_is_what_is_asked(tmp_path: Path):
    file = rows(tmp_path / "f.jsonl", "1")

    (plain,) = sets_of(tmp_path, ["data.suffix=Now"], file)
    (brief,) = sets_of(tmp_path, ["data.suffix=Now", "eval.prompt={problem} Be brief."], file)

    def read(found: EvalSet) -> str:
        return "".join(chr(id) for id in found.problems[0].prompt_ids if id > 9)

    assert read(plain).endswith("uq1Nowa")
    assert read(brief).endswith("uq1Now Be brief.a")
    assert fingerprint([plain]) == fingerprint([brief])
    assert fingerprint([plain]) != fingerprint([replace(plain, label="g")])


def test_a_preset_stands_for_its_heldout_problems_and_its_judge():
    (found,) = named_data(load("tiny", ["data.verifier=math"]), ["smollm2"])

    assert (found.label, found.path) == ("smollm2", "smollm2")
    assert found.data.verifier == load("smollm2", []).data.verifier


def test_a_model_without_a_task_is_asked_what_data_says():
    config = configure("owner/model", None, ["eval.samples=3"], ["file.jsonl"])

    assert (config.model.path, config.eval.samples) == ("owner/model", 3)
    with pytest.raises(UserError, match="name problems with --data FILE"):
        configure("owner/model", None, [], [])


def test_orders_are_in_the_tokens_of_the_model(template: ChatTemplate):
    found = decoding_of(
        DecodeConfig(
            stop_bias=2.0, thinking_budget=9, forced_end="</think>ok", waits=1, wait_text="Hm"
        ),
        template,
    )

    assert found is not None
    assert (found.stop_ids, found.think_end_ids) == ((8,), (8,))
    assert found.forced_end_ids == (8, ord("o"), ord("k"))
    assert found.wait_ids == (ord("H"), ord("m"))
    assert decoding_of(None, template) is None


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"stop_tokens": ("stop",), "stop_bias": 1.0}, "'stop', which is 4 tokens"),
        ({"forced_end": "done", "thinking_budget": 3}, "lacks </think>"),
    ],
)
def test_what_the_model_has_no_token_for_is_told(
    template: ChatTemplate, wanted: dict[str, Any], words: str
):
    with pytest.raises(UserError, match=words):
        decoding_of(DecodeConfig(**wanted), template)


def test_waiting_needs_one_token_for_the_end():
    with pytest.raises(UserError, match="one token for </think>, and this one has 8"):
        decoding_of(DecodeConfig(waits=1), ChatTemplate(LetterTokenizer(), None, None))


def problem(id: str) -> Problem:
    return Problem(
        id=id, messages=(), answer="1", source="s", verifier="math", prompt_ids=(1,)
    )  # fmt: skip


def sample(id: str, number: int) -> EvalSample:
    return EvalSample(
        problem_id=id, sample=number, version=0, status="correct", finish_reason="stop",
        num_tokens=1, text="", extracted="1",
    )  # fmt: skip


class Engine:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def evaluate(
        self, problem: Problem, count: int, sampling: Sampling
    ) -> tuple[EvalSample, ...]:
        await asyncio.sleep(0)
        self.asked[problem.id] += count
        if problem.id == "bad":
            raise RuntimeError("it died")
        return tuple(sample(problem.id, number) for number in range(count))


def in_two_sets(*ids: str) -> list[EvalSet]:
    return [
        EvalSet(label=label, problems=tuple(map(problem, ids)), num_there=len(ids))
        for label in "xy"
    ]


async def test_only_what_is_missing_is_asked_and_each_keeps_its_number():
    sets = in_two_sets("a", "b")
    there = {"x": [sample("a", 0), sample("a", 2)], "y": [sample("b", 1)]}
    kept: list[tuple[str, str, int]] = []

    async def keep(label: str, got: EvalSample) -> None:
        kept.append((label, got.problem_id, got.sample))

    engines = [Engine(), Engine()]
    sampling = eval_sampling(load("tiny", []))
    await collect(engines, missing(sets, there, 3), sampling, keep, in_flight=2)

    everything = {(label, id, n) for label in "xy" for id in "ab" for n in range(3)}
    assert set(kept) == everything - {("x", "a", 0), ("x", "a", 2), ("y", "b", 1)}
    assert len(kept) == len(set(kept))
    assert all(engine.asked.total() for engine in engines)


async def test_a_failure_is_told_as_it_is_and_what_came_before_is_kept():
    kept: list[EvalSample] = []

    async def keep(label: str, got: EvalSample) -> None:
        kept.append(got)

    wanted = missing(in_two_sets("a", "bad")[:1], {}, 1)
    with pytest.raises(RuntimeError, match="it died"):
        await collect([Engine()], wanted, eval_sampling(load("tiny", [])), keep, in_flight=1)

    assert [got.problem_id for got in kept] == ["a"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["=x"], "--data reads NAME or LABEL=NAME, got '=x'"),
        (["x="], "--data reads NAME or LABEL=NAME, got 'x='"),
        (["tiny", "a/tiny.jsonl"], "two of --data are called 'tiny'"),
    ],
)
def test_data_that_cannot_be_named_is_told(data: list[str], words: str):
    with pytest.raises(UserError, match=words):
        named_data(load("tiny", []), data)


def test_nothing_to_ask_is_told():
    with pytest.raises(UserError, match="there is nothing to evaluate on"):
        named_data(load("tiny", ["data.heldout=null"]), [])


@pytest.mark.parametrize("key", ["eval.prompt={problem} Brief.", "eval.decode.waits=1"])
def test_training_refuses_what_only_an_evaluation_may_do(key: str):
    with pytest.raises(UserError, match="is for `laconic eval`"):
        prepare(load("tiny", [key]), print)
