"""The made models' folders: whole or absent, loadable by plain transformers, made only once."""

import json
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from learner import made_folder, made_models, smollm2
from learner.made_folder import Row, building, locked, made_with, write_rows
from learner.made_models import make, make_tiny
from learner.smollm2_questions import heldout_rows, train_rows
from learner.tiny_model import BATCH_TOKENS, Pretraining, _batches
from learner.tiny_tokenizer import render_prompt
from verifiers.contains import contains
from verifiers.number import number
from verifiers.types import Task

ROOT = Path(__file__).parents[2]
STEPS = 6
RECIPE: dict[str, str | int] = {"model": "toy", "recipe": 1}


def silent(line: str) -> None:
    """Progress is not what these tests are about."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_models, "NUM_TRAIN", 300)
        patch.setattr(made_models, "NUM_HELDOUT", 50)
        patch.setattr(made_models, "TOKENIZER_TEXTS", 400)
        make_tiny(out, silent, steps=STEPS)
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_plain_transformers_loads_the_tiny_model(tiny: Path):
    model = AutoModelForCausalLM.from_pretrained(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)

    assert model.config.model_type == "llama"
    assert model.dtype == torch.float32
    assert 0.8e6 < model.num_parameters() < 1.0e6
    assert model.config.head_dim == 32
    assert model.config.vocab_size >= len(tokenizer)
    assert tokenizer.eos_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id


def test_think_tags_survive_decoding_and_special_tokens_do_not(tiny: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    text = "<think>\nb=a-2=72-2=70. So I get 70.\n</think>\nThe answer is \\boxed{70}."

    ids = tokenizer(text + "<|im_end|>")["input_ids"]

    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert ids[0] == tokenizer.convert_tokens_to_ids("<think>")
    assert ids.count(tokenizer.convert_tokens_to_ids("</think>")) == 1
    assert ids[-1] == tokenizer.eos_token_id


def test_the_tokenizer_keeps_digits_apart_and_any_text_whole(tiny: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)

    assert [tokenizer.decode([i]) for i in tokenizer("72-2=70")["input_ids"]] == [
        "7",
        "2",
        "-2",
        "=",
        "7",
        "0",
    ]
    for text in ("naïve 北京 🙂", "  two  spaces\n\n\ttab ", "x" * 300):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_chat_template_renders_what_the_model_was_trained_on(tiny: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    turns = [{"role": "user", "content": "Let a=72, b=a-2. Find b."}]

    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(
        [*turns, {"role": "assistant", "content": "70"}], tokenize=False
    )

    assert asked == render_prompt(turns[0]["content"])
    assert whole == asked + "70<|im_end|>\n"


def test_the_tiny_problems_are_distinct_judgeable_and_apart(tiny: Path):
    train, heldout = rows_of(tiny / "train.jsonl"), rows_of(tiny / "heldout.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(tiny)

    assert (len(train), len(heldout)) == (300, 50)
    assert all(set(row) == {"id", "prompt", "answer"} for row in train + heldout)
    assert len({row["id"] for row in train + heldout}) == 350
    assert len({row["prompt"] for row in train + heldout}) == 350
    for rows, held in ((train, False), (heldout, True)):
        expressions = [row["prompt"][len("Let ") :].rsplit(". Find", 1)[0] for row in rows]
        assert {zlib.crc32(text.encode()) % 8 == 0 for text in expressions} == {held}
    for row in train[:20]:
        assert (
            number(Task(answer=row["answer"]), f"</think> \\boxed{{{row['answer']}}}").status
            == "correct"
        )
    prompts = tokenizer([render_prompt(row["prompt"]) for row in train])["input_ids"]
    assert max(map(len, prompts)) <= 64


def test_made_json_says_what_made_it(tiny: Path):
    made = json.loads((tiny / "made.json").read_text())

    recipe = made_models.RECIPES["tiny"]
    assert {"model": "tiny", "recipe": recipe, "seed": 0, "steps": STEPS}.items() <= made.items()
    assert made["seconds"] > 0
    assert set(made["libraries"]) == {"torch", "transformers", "tokenizers"}


def test_every_batch_has_the_same_shape_in_tokens_and_labels_only_the_response(tiny: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    plan = Pretraining(steps=6, terse_share=0.5)

    batches = list(_batches(tokenizer, plan))

    assert len(batches) == 6
    assert {batch.ids_BT.numel() for batch in batches} == {BATCH_TOKENS}
    for batch in batches:
        for ids, labels in zip(batch.ids_BT.tolist(), batch.labels_BT.tolist(), strict=True):
            kept = [label for label in labels if label != -100]
            text = tokenizer.decode(kept)
            assert text.startswith("<think>") and text.endswith("}.<|im_end|>")
            prompt = tokenizer.decode(ids[: ids.index(kept[0])])
            assert prompt.endswith("<|im_start|>assistant\n")
            assert labels[: ids.index(kept[0])] == [-100] * ids.index(kept[0])


def test_the_same_seed_makes_the_same_weights_and_another_seed_others(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(made_models, "NUM_TRAIN", 300)
    monkeypatch.setattr(made_models, "NUM_HELDOUT", 50)
    monkeypatch.setattr(made_models, "TOKENIZER_TEXTS", 400)

    make_tiny(tmp_path / "again", silent, steps=STEPS)
    make_tiny(tmp_path / "other", silent, steps=STEPS, seed=1)

    names = ("model.safetensors", "tokenizer.json", "train.jsonl", "heldout.jsonl")
    contents = {
        folder: {name: (folder / name).read_bytes() for name in names}
        for folder in (tiny, tmp_path / "again", tmp_path / "other")
    }
    assert contents[tiny] == contents[tmp_path / "again"]
    for name in ("model.safetensors", "train.jsonl"):
        assert contents[tiny][name] != contents[tmp_path / "other"][name]


def test_a_make_that_fails_half_way_leaves_nothing(tmp_path: Path):
    def fail_in_training(line: str) -> None:
        if "step" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_tiny(tmp_path / "tiny", fail_in_training, steps=1)

    assert list(tmp_path.iterdir()) == []


def test_a_killed_make_is_swept_up_by_the_next(tmp_path: Path):
    out = tmp_path / "toy"
    left = tmp_path / "toy.making"
    left.mkdir()
    (left / "model.safetensors").write_text("half")

    with building(out, RECIPE) as folder:
        (folder / "whole").write_text("")

    assert {path.name for path in out.iterdir()} == {"whole", "made.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_an_older_made_model_is_replaced_whole_and_kept_when_the_new_one_fails(tmp_path: Path):
    out = tmp_path / "toy"
    with building(out, RECIPE) as folder:
        (folder / "old").write_text("")

    with pytest.raises(RuntimeError), building(out, {"model": "toy", "recipe": 2}):
        raise RuntimeError
    assert (out / "old").exists() and made_with(out)["recipe"] == 1
    with building(out, {"model": "toy", "recipe": 2}) as folder:
        (folder / "new").write_text("")

    assert {path.name for path in out.iterdir()} == {"new", "made.json"}
    assert made_with(out)["recipe"] == 2


def test_a_folder_that_is_not_a_made_model_is_never_touched(tmp_path: Path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.tex").write_text("years of work")

    with pytest.raises(ValueError, match="thesis exists and is not a made model"):
        make("tiny", out, silent)

    assert (out / "chapter.tex").read_text() == "years of work"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"tiny"'])
def test_a_damaged_made_json_counts_as_not_made(tmp_path: Path, text: str):
    (tmp_path / "made.json").write_text(text)

    assert made_with(tmp_path) == {}


def test_what_is_already_made_is_left_alone_and_another_recipe_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[str] = []

    def fake(out: Path, report: made_folder.Report) -> None:
        calls.append(out.name)
        with building(out, {"model": "tiny", "recipe": made_models.RECIPES["tiny"]}):
            pass

    monkeypatch.setattr(made_models, "make_tiny", fake)
    lines: list[str] = []

    for _ in range(2):
        make("tiny", tmp_path / "deep" / "tiny", lines.append)
    assert calls == ["tiny"] and lines == ["tiny: already made"]
    monkeypatch.setitem(made_models.RECIPES, "tiny", 99)
    make("tiny", tmp_path / "deep" / "tiny", lines.append)

    assert calls == ["tiny", "tiny"]


def test_two_makers_make_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[Path] = []
    second_waits = threading.Event()

    def slow(out: Path, report: made_folder.Report) -> None:
        calls.append(out)
        assert second_waits.wait(timeout=20)
        with building(out, {"model": "tiny", "recipe": made_models.RECIPES["tiny"]}):
            pass

    def hear(line: str) -> None:
        lines.append(line)
        if "waiting" in line:
            second_waits.set()

    monkeypatch.setattr(made_models, "make_tiny", slow)
    lines: list[str] = []
    makers = [
        threading.Thread(target=make, args=("tiny", tmp_path / "tiny", hear)) for _ in range(2)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(timeout=30)

    assert len(calls) == 1
    assert lines[-1] == "tiny: already made" and "waiting for it" in lines[0]


def test_waiting_for_another_maker_ends(tmp_path: Path):
    with (
        locked(tmp_path / "toy", silent),
        pytest.raises(ValueError, match="another process has been making"),
        locked(tmp_path / "toy", silent, timeout_s=0.1),
    ):
        pytest.fail("two hold the lock")


def test_the_lock_dies_with_its_holder(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from learner.made_folder import locked\n"
        f"with locked(Path({str(tmp_path / 'toy')!r}), print):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait(timeout=10)

    started = time.monotonic()
    with locked(tmp_path / "toy", silent, timeout_s=30):
        assert time.monotonic() - started < 30


def test_the_command_tells_a_users_error_in_one_line(tmp_path: Path):
    (tmp_path / "taken").mkdir()

    ran = subprocess.run(
        [sys.executable, "-m", "learner.made_models", "tiny", str(tmp_path / "taken")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1 and "is not a made model" in ran.stderr


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smollm2, "PACKAGE", "llm_of_nobody")

    with pytest.raises(ValueError, match=r"llm-of-nobody: install the cpu extra: make setup"):
        make("smollm2", tmp_path / "smollm2", silent)

    assert not (tmp_path / "smollm2").exists()


def test_the_questions_are_distinct_apart_and_not_answered_by_an_echo():
    train, heldout = train_rows(), heldout_rows()

    assert len(train) >= 120 and len(heldout) >= 40
    assert len({row.id for row in train + heldout}) == len(train + heldout)
    assert len({row.prompt for row in train + heldout}) == len(train + heldout)
    for row in train + heldout:
        assert row.prompt.endswith("?") and row.answer.strip() == row.answer != ""
        assert contains(Task(answer=row.answer), row.prompt).status == "wrong", row
        assert contains(Task(answer=row.answer), f"It is {row.answer}.").status == "correct", row
    for rows in (train, heldout):
        kinds = {row.id.split("-")[0] for row in rows}
        assert kinds == {"capital", "fact"}


def test_rows_are_written_one_a_line_whatever_they_hold(tmp_path: Path):
    rows = [Row(id="1", prompt='Two\nlines, "quotes"   é', answer="ß")]

    write_rows(tmp_path / "rows.jsonl", rows)

    assert rows_of(tmp_path / "rows.jsonl") == [
        {"id": "1", "prompt": rows[0].prompt, "answer": "ß"}
    ]
