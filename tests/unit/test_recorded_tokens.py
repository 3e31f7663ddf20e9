"""What is recorded of single tokens, and of the state as time goes by."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

import actors.recorder
from actors.recorder import Recorder
from actors.recorder_rows import repetition
from actors.token_reader import TokenReader, open_reader
from configs.run_files import read_jsonl, read_table
from configs.schema import RecorderConfig
from tests.unit.test_recorder import judged
from verifiers.types import JudgedGroup

TEXT = "<think>\nWait, √2 · 十 = 14…\n</think>\nÉ: \\boxed{14}"
CONFIG = RecorderConfig(seal_s=3600.0, tokens_share=1.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a byte-level tokenizer that knows hardly any word."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["boxed think Wait boxed think Wait"], trainer)
    tokenizer.add_tokens([AddedToken("</think>", special=False, normalized=False)])
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def group(model: Path, text: str = TEXT) -> JudgedGroup:
    """One answer, written by that tokenizer."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    ids = (*tokenizer.encode(text).ids, tokenizer.token_to_id("<|end|>"))
    made = judged(3, texts=(text,))
    completion = replace(made.group.completions[0], token_ids=ids, logprobs=(-0.5,) * len(ids))
    return replace(made, group=replace(made.group, completions=(completion,)))


async def recorded(run: Path, model: Path | None, *groups: JudgedGroup, config=CONFIG) -> None:
    recorder = Recorder(str(run), config, str(model) if model else None)
    await recorder.start()
    for each in groups:
        await recorder.rollouts(each)
    await recorder.close()


async def test_the_ends_of_all_tokens_cut_the_text_into_what_each_token_reads(
    model: Path, tmp_path: Path
):
    await recorded(tmp_path / "run", model, group(model))

    (row,) = read_table(tmp_path / "run", "tokens").to_pylist()
    (meta,) = read_table(tmp_path / "run", "meta").to_pylist()
    data, ends = TEXT.encode(), row["ends"]
    parts = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert len(parts) == len(row["logp"]) == meta["n_tokens"]
    assert b"".join(parts) == data
    assert parts[-1] == b""  # the end token reads as nothing
    assert parts.count(b"</think>") == 1
    assert meta["n_think"] == parts.index(b"</think>") + 1
    assert meta["n_think"] + meta["n_answer"] == meta["n_tokens"]


async def test_tokens_that_read_otherwise_than_the_text_are_not_recorded(
    model: Path, tmp_path: Path
):
    made = group(model)
    other = replace(made.group.completions[0], text=TEXT + "!")

    await recorded(
        tmp_path / "run", model, replace(made, group=replace(made.group, completions=(other,)))
    )

    assert read_table(tmp_path / "run", "tokens").num_rows == 0
    assert read_table(tmp_path / "run", "text").num_rows == 1


@pytest.mark.parametrize("share", [0.0, 0.3])
async def test_only_a_share_of_the_rollouts_has_its_tokens_kept(
    model: Path, tmp_path: Path, share: float
):
    made = group(model)
    groups = [
        replace(made, group=replace(made.group, ticket=replace(made.group.ticket, number=number)))
        for number in range(200)
    ]

    await recorded(tmp_path / "run", model, *groups, config=replace_share(share))

    kept = read_table(tmp_path / "run", "tokens").num_rows
    assert kept == 0 if share == 0 else 35 < kept < 85
    assert read_table(tmp_path / "run", "meta").num_rows == 200


async def test_without_a_tokenizer_nothing_is_guessed(model: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    await recorded(tmp_path / "run", tmp_path / "empty", group(model))

    (meta,) = read_table(tmp_path / "run", "meta").to_pylist()
    assert meta["n_think"] is None and meta["n_answer"] is None
    assert read_table(tmp_path / "run", "tokens").num_rows == 0


def test_a_thought_that_does_not_end_has_no_length(model: Path):
    reader = TokenReader(model / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))

    assert reader.think_tokens(tokenizer.encode("<think> Wait").ids) is None
    assert reader.think_tokens(tokenizer.encode("</think> Wait").ids) == 1
    assert reader.think_tokens(()) is None


def test_words_that_begin_with_a_mark_for_their_space_are_read(tmp_path: Path):
    words = {"▁two": 0, "▁": 1, "<0xE2>": 2, "<0x88>": 3, "<0x9A>": 4, "x": 5, "<unk>": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    reader = TokenReader(tmp_path / "tokenizer.json")

    assert reader.ends((0, 1, 2, 3, 4, 5), " two √x") == [4, 5, 6, 7, 8, 9]
    assert reader.ends((0, 5), "twox") == [3, 4]  # decoded without its first space
    assert reader.ends((0, 5), "two") is None
    assert reader.ends((0, 99), "two") is None


def test_a_file_that_is_no_tokenizer_is_said_and_read_by_nobody(tmp_path: Path, caplog):
    (tmp_path / "tokenizer.json").write_text("{}")

    assert open_reader(str(tmp_path), "</think>") is None
    assert open_reader(None, "</think>") is None
    assert "no token is recorded" in caplog.text


@pytest.mark.parametrize(
    ("tokens", "share"),
    [((1, 2, 3), None), ((1, 2, 3, 4), 0.0), ((1,) * 7, 0.75), ((1, 2, 3, 4, 1, 2, 3, 4), 0.2)],
)
def test_repetition_is_the_share_of_fours_that_were_there_before(tokens, share):
    assert repetition(tokens) == (None if share is None else pytest.approx(share))


async def test_history_keeps_what_the_state_was_and_grows_more_and_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    monkeypatch.setattr(actors.recorder.time, "monotonic", lambda: now[0])
    recorder = Recorder(str(tmp_path), RecorderConfig(seal_s=3600.0))
    await recorder.start()
    for second in range(20_000):
        now[0] = float(second)
        if second < 3000 or second > 19_000:
            await recorder.state({"phase": "training", "second": second})
    await recorder.close()

    seconds = [row["second"] for row in read_jsonl(tmp_path / "history.jsonl")]
    assert seconds[:900] == list(range(900))
    late = [second for second in seconds if second > 19_000]
    assert 45 < len(late) < 60  # one in about 19 seconds
    state = json.loads((tmp_path / "state.json").read_text())
    assert 0 < state["disk_free_bytes"] < state["disk_bytes"]


def replace_share(share: float) -> RecorderConfig:
    return CONFIG.model_copy(update={"tokens_share": share})
