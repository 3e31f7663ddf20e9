"""The real tokenizer classes, with small tokenizers that are made here."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from actors.chat_template import load_chat_template
from actors.problem_files import DataError
from actors.prompts import PromptSource
from configs.load import validate
from configs.schema import ModelConfig
from verifiers.types import Message

TEMPLATE = """{%- for message in messages %}
    {%- if message.role == 'system' %}{{ raise_exception('no system\n turns') }}{% endif %}
    {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{% endif %}"""
MODEL = ModelConfig(path="here")


def make_model(folder: Path, template: str | None = TEMPLATE, **config: Any) -> Path:
    """Bytes as tokens, and a post-processor that would add a first token if one let it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in ("<think>", "<｜User｜>")])
    first = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", first)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|im_end|>"
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    return folder


def user(content: str) -> tuple[Message, ...]:
    return (Message(role="user", content=content),)


def test_tokens_are_those_of_the_models_own_template(tmp_path: Path):
    folder = make_model(tmp_path)
    template = load_chat_template(str(folder), MODEL)
    texts = ["1+1?", "Wie heißt das? 你好 🙂", "a\n\n  b ", "x" * 3000]

    found = template.encode([template.render(user(text)) for text in texts])

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, ids in zip(texts, found, strict=True):
        turns = [{"role": "user", "content": text}]
        expected = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False
        )
        assert list(ids) == expected
        assert tokenizer.decode(ids).endswith(
            f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n<think>\n"
        )


def test_turn_markers_are_control_tokens_and_thinking_marks_are_not(tmp_path: Path):
    template = load_chat_template(str(make_model(tmp_path)), MODEL)

    for token in ("<s>", "<|im_start|>", "<|im_end|>", "<｜User｜>"):
        assert template.control_token(f"a{token}b") == token
    assert template.control_token("<think> a | b <im_end>") is None


@pytest.mark.row(19)
def test_no_text_that_is_let_through_becomes_a_control_token(tmp_path: Path):
    template = load_chat_template(str(make_model(tmp_path)), MODEL)
    frame = template.encode([template.render(user("x"))])[0]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    control = tokenizer.convert_tokens_to_ids(["<s>", "<|im_start|>", "<|im_end|>", "<｜User｜>"])

    hostile = ["<|im_end|", "<|IM_END|>", "<|im_end|\u200b>", "<\x00|im_end|>", "＜|im_end|＞"]

    for text in hostile:
        assert template.control_token(text) is None
        (ids,) = template.encode([template.render(user(text))])
        assert [i for i in ids if i in control] == [i for i in frame if i in control]


@pytest.mark.row(19)
@pytest.mark.parametrize(
    "text",
    ["{{ 7 * 7 }}", "{% for a in messages %}{{ a }}{% endfor %}", "{# gone #}", "'}}{{ 1 }}"],
)
def test_a_prompt_that_is_a_template_itself_stays_text(tmp_path: Path, text: str):
    template = load_chat_template(str(make_model(tmp_path)), MODEL)

    assert f"<|im_start|>user\n{text}<|im_end|>" in template.render(user(text))


def test_the_context_length_comes_from_the_models_configuration(tmp_path: Path):
    plain = make_model(tmp_path / "plain", max_position_embeddings=64)
    nested = make_model(tmp_path / "nested", text_config={"max_position_embeddings": 32})
    silent = make_model(tmp_path / "silent")

    found = [load_chat_template(str(path), MODEL).max_tokens for path in (plain, nested, silent)]

    assert found == [64, 32, None]


def test_a_model_without_a_chat_template_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(DataError, match=r"no chat template.*chat_template\.jinja"):
        load_chat_template(str(make_model(tmp_path, template=None)), MODEL)


@pytest.mark.row(30)
@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_is_refused_and_its_code_never_run(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "mod"))
    folder = make_model(tmp_path / "model")
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').write('ran')\n"
    code += "from transformers import PretrainedConfig, PreTrainedTokenizerFast\n"
    code += "class Config(PretrainedConfig):\n    model_type = 'evil'\n"
    code += "class Tokenizer(PreTrainedTokenizerFast): ...\n"
    (folder / "evil.py").write_text(code)
    values = json.loads((folder / where).read_text())
    if where == "config.json":
        values |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    else:
        values["tokenizer_class"] = "Tokenizer"
        values["auto_map"] = {"AutoTokenizer": [None, "evil.Tokenizer"]}
    (folder / where).write_text(json.dumps(values))

    with pytest.raises(DataError, match=r"model\.trust_remote_code=true") as refused:
        load_chat_template(str(folder), MODEL)

    assert "\n" not in str(refused.value)
    assert not canary.exists()
    trusting = MODEL.model_copy(update={"trust_remote_code": True})
    load_chat_template(str(folder), trusting)
    assert canary.exists()  # else the test shows nothing


@pytest.mark.row(30)
def test_code_that_a_model_does_not_need_stands_in_nobodys_way(tmp_path: Path):
    folder = make_model(tmp_path / "model", auto_map={"AutoConfig": "evil.Config"})

    assert load_chat_template(str(folder), MODEL)


def test_a_folder_without_a_tokenizer_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')

    with pytest.raises(DataError, match="has no tokenizer") as caught:
        load_chat_template(str(tmp_path), MODEL)
    assert "\n" not in str(caught.value)


def test_what_the_template_itself_refuses_is_said_with_the_row(tmp_path: Path):
    folder = make_model(tmp_path / "model")
    rows = tmp_path / "t.jsonl"
    rows.write_text('{"prompt": "1+1?", "answer": 2}')
    values = {"model": {"path": "here"}, "filter": {"length_budget": 10}}
    data = {"train": str(rows), "system_prompt": "Be brief"}

    with pytest.raises(DataError, match=r"t\.jsonl row 1: .*no system turns"):
        PromptSource(validate({**values, "data": data}), str(folder)).load()

    source = PromptSource(validate({**values, "data": {"train": str(rows)}}), str(folder))
    assert source.load().longest_prompt == len("xuser\n1+1?x\nxassistant\nx\n")
