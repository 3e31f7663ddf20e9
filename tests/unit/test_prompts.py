import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from actors import prompts
from actors.chat_template import ChatTemplate
from actors.problem_files import DataError
from actors.prompts import PromptSource
from configs.load import ConfigError, validate
from configs.schema import RunConfig
from verifiers.types import Message, Problem


@dataclass
class AddedToken:
    content: str
    special: bool


class LetterTokenizer:
    """One token for each character, save the added ones: theirs are 1, 2, …"""

    chat_template = "the template"
    added = ("<s>", "<|im_start|>", "<|im_end|>", "<｜User｜>", "<think>", "\n\n", "")
    special = ("<s>", "<|im_start|>", "<|im_end|>", "")
    eos_token_id: int | None = 3
    opening = ""
    """What the template puts behind the header of the model's turn."""

    def __init__(self) -> None:
        self.added_tokens_decoder = {
            number: AddedToken(text, text in self.special)
            for number, text in enumerate(self.added, start=1)
        }

    def get_vocab(self) -> dict[str, int]:
        return {token.content: number for number, token in self.added_tokens_decoder.items()}

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert not tokenize
        if turns[0]["role"] == "assistant":
            raise TemplateError("the user\nbegins")
        if turns[0]["content"] == "vanish":
            return ""
        text = "<s>" + "".join(
            f"<|im_start|>{turn['role'][0]}{turn['content']}<|im_end|>" for turn in turns
        )
        return text + (f"<|im_start|>a{self.opening}" if add_generation_prompt else "")

    def __call__(
        self, texts: list[str], *, add_special_tokens: bool, return_attention_mask: bool
    ) -> dict[str, list[list[int]]]:
        assert isinstance(texts, list)
        assert texts, "transformers fails on an empty list"
        assert not return_attention_mask
        numbers = self.get_vocab()
        pattern = re.compile("|".join(re.escape(token) for token in self.added if token) + "|.")
        first = [numbers["<s>"]] if add_special_tokens else []
        return {
            "input_ids": [
                first + [numbers.get(part, ord(part[0])) for part in pattern.findall(text)]
                for text in texts
            ]
        }


@pytest.fixture(autouse=True)
def context(monkeypatch: pytest.MonkeyPatch) -> dict[str, int | None]:
    """Every model has the tokenizer above; ``max_tokens`` is how much it can read."""
    settings: dict[str, int | None] = {"max_tokens": None, "num_words": None}

    def load(model_dir: str, model: object) -> ChatTemplate:
        return ChatTemplate(LetterTokenizer(), settings["max_tokens"], settings["num_words"])

    monkeypatch.setattr(prompts, "load_chat_template", load)
    return settings


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def asked(*contents: str) -> list[dict[str, Any]]:
    return [{"id": content, "prompt": content, "answer": "1"} for content in contents]


def config(train: str, seed: int = 0, teacher_prompt: str | None = None, **data: Any) -> RunConfig:
    return validate(
        {
            "seed": seed,
            "model": {"path": "some-model"},
            "data": {"train": train, **data},
            "learner": {"teacher": {"prompt": teacher_prompt}},
            "filter": {"length_budget": 100},
        }
    )


def source_of(rows: list[dict[str, Any]], tmp_path: Path, **settings: Any) -> PromptSource:
    source = PromptSource(config(write_jsonl(tmp_path / "t.jsonl", rows), **settings), "model")
    source.load()
    return source


def drawn(source: PromptSource, count: int) -> list[str]:
    problems = [source.draw() for _ in range(count)]
    return [problem.id if problem else "end" for problem in problems]


def refused(rows: list[dict[str, Any]], tmp_path: Path, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        source_of(rows, tmp_path, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


LETTERS = asked(*"abcdefghij")
FRAME = 6
"""Tokens that the template puts around one user turn."""


def test_a_problem_is_dressed_rendered_and_tokenized_without_a_second_first_token(tmp_path: Path):
    rows = [
        {
            "id": 3,
            "prompt": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y"},
                {"role": "user", "content": "z"},
            ],
            "answer": 4,
            "data_source": "sums",
        }
    ]
    source = source_of(rows, tmp_path, system_prompt="S", suffix="!", verifier="number")

    problem = source.draw()

    assert problem is not None
    assert problem.messages == (
        Message(role="system", content="S"),
        Message(role="user", content="x"),
        Message(role="assistant", content="y"),
        Message(role="user", content="z!"),
    )
    text = [1, 2, "s", "S", 3, 2, "u", "x", 3, 2, "a", "y", 3, 2, "u", "z", "!", 3, 2, "a"]
    expected = tuple(part if isinstance(part, int) else ord(part) for part in text)
    assert problem.prompt_ids == expected
    assert (problem.id, problem.answer, problem.source) == ("3", "4", "sums")
    assert problem.verifier == "number"


def test_every_epoch_is_an_order_of_its_own_of_all_problems(tmp_path: Path):
    source = source_of(LETTERS, tmp_path)

    first, second = drawn(source, 10), drawn(source, 10)

    assert sorted(first) == sorted(second) == list("abcdefghij")
    assert first != second
    assert first != list("abcdefghij")
    assert source.cursor == 20
    assert source.total is None


def test_the_order_depends_on_the_seed_and_on_nothing_else(tmp_path: Path):
    one, same = source_of(LETTERS, tmp_path), source_of(LETTERS, tmp_path)
    other = source_of(LETTERS, tmp_path, seed=1)

    order = drawn(one, 30)

    assert order == drawn(same, 30)
    assert order != drawn(other, 30)
    assert "".join(order[:10]) == "jgeabhcdif", "a resumed run would draw other problems"


def test_without_shuffling_the_files_order_is_kept(tmp_path: Path):
    source = source_of(asked("c", "a", "b"), tmp_path, shuffle=False)

    assert drawn(source, 7) == ["c", "a", "b", "c", "a", "b", "c"]


def test_drawing_ends_after_the_last_epoch_and_stays_ended(tmp_path: Path):
    source = source_of(asked("a", "b", "c"), tmp_path, epochs=2)

    ids = drawn(source, 8)

    assert sorted(ids) == ["a", "a", "b", "b", "c", "c", "end", "end"]
    assert ids[6:] == ["end", "end"]
    assert (source.cursor, source.total) == (6, 6)


def test_a_problem_is_found_by_its_id(tmp_path: Path):
    source = source_of(LETTERS, tmp_path)

    problem = source.draw()

    assert problem is not None
    assert source.problem(problem.id) is problem
    assert source.problem("nobody's") is None
    assert source.num_problems == 10


@pytest.mark.parametrize("cursor", [0, 1, 9, 10, 11, 25])
def test_after_a_seek_the_draws_go_on_as_if_never_interrupted(cursor: int, tmp_path: Path):
    everything = drawn(source_of(LETTERS, tmp_path, epochs=3), 32)
    source = source_of(LETTERS, tmp_path, epochs=3)
    drawn(source, 13)

    source.seek(cursor)

    assert source.cursor == cursor
    assert drawn(source, 32 - cursor) == everything[cursor:]


def test_heldout_problems_are_the_first_of_their_file_whatever_the_seed(tmp_path: Path):
    heldout = write_jsonl(tmp_path / "h.jsonl", asked("z", "y", "x"))
    source = source_of(LETTERS, tmp_path, heldout=heldout, suffix="?", seed=9)

    assert [problem.id for problem in source.heldout(2)] == ["z", "y"]
    assert [problem.id for problem in source.heldout(5)] == ["z", "y", "x"]
    assert source.heldout(1)[0].messages[0].content == "z?"
    assert source_of(LETTERS, tmp_path).heldout(5) == []


def test_made_data_is_found_beside_the_made_models(tmp_path: Path):
    write_jsonl(tmp_path / "tiny" / "train.jsonl", asked("a", "b"))
    write_jsonl(tmp_path / "tiny" / "heldout.jsonl", asked("c"))
    run = config("tiny", heldout="tiny")

    for source in (
        PromptSource(run, "some-model", tmp_path),
        PromptSource(run, str(tmp_path / "tiny")),
    ):
        report = source.load()

        assert (report.num_train, report.num_heldout) == (2, 1)
        assert source.heldout(9)[0].id == "c"


def test_the_report_counts_what_was_loaded(tmp_path: Path):
    rows = [{"prompt": text, "answer": "1"} for text in ("a", "bbb", "a")]
    heldout = write_jsonl(tmp_path / "h.jsonl", [*rows[1:2], {"prompt": "cccc", "answer": 1}])
    run = config(write_jsonl(tmp_path / "t.jsonl", rows), heldout=heldout)

    report = PromptSource(run, "model").load()

    assert (report.num_train, report.num_heldout, report.num_duplicates) == (2, 2, 1)
    assert report.longest_prompt == FRAME + len("cccc")
    assert report.warnings == (
        "1 of 2 held-out problems are trained on as well: they say nothing about new ones; "
        "remove them from data.train or data.heldout",
    )


def test_rows_that_choose_another_judge_are_reported_and_listened_to(tmp_path: Path):
    rows = [
        {"prompt": "a", "answer": 1, "data_source": "gsm8k"},
        {"prompt": "b", "answer": 1, "verifier": "contains"},
        {"prompt": "c", "answer": 1},
    ]
    run = config(write_jsonl(tmp_path / "t.jsonl", rows), shuffle=False)
    source = PromptSource(run, "model")

    warnings = source.load().warnings

    judges = [problem.verifier for problem in filter(None, (source.draw() for _ in rows))]
    assert judges == ["number", "contains", "math"]
    assert len(warnings) == 2
    assert "1 problems of 'gsm8k' are judged by 'number'" in warnings[1]


def test_the_fingerprint_changes_with_whatever_would_change_the_training(tmp_path: Path):
    first = {"id": 1, "prompt": "a", "answer": "1"}
    second = {"id": 2, "prompt": "b", "answer": "1"}
    variants: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([first, second], {}),
        ([second, first], {}),
        ([first], {}),
        ([{**first, "id": 3}, second], {}),
        ([{**first, "prompt": "c"}, second], {}),
        ([{**first, "prompt": [{"role": "system", "content": "a"}, *turns("a")]}, second], {}),
        ([{**first, "answer": "2"}, second], {}),
        ([{**first, "data_source": "s"}, second], {}),
        ([{**first, "verifier": "number"}, second], {}),
        ([first, second], {"suffix": "!"}),
    ]
    found = []
    for rows, settings in variants:
        run = config(write_jsonl(tmp_path / "t.jsonl", rows), **settings)
        found.append(PromptSource(run, "model").load().fingerprint)
        assert PromptSource(run, "model").load().fingerprint == found[-1]

    assert len(set(found)) == len(variants)


def turns(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def test_the_tokenizers_fingerprint_changes_with_template_and_vocabulary():
    plain, other_template, other_words = LetterTokenizer(), LetterTokenizer(), LetterTokenizer()
    other_template.chat_template = "another"
    del other_words.added_tokens_decoder[5]

    found = {
        ChatTemplate(tokenizer, None).fingerprint()
        for tokenizer in (plain, other_template, other_words)
    }

    assert len(found) == 3
    assert ChatTemplate(LetterTokenizer(), 7).fingerprint() in found


@pytest.mark.row(19)
@pytest.mark.parametrize("token", ["<s>", "<|im_end|>", "<|im_start|>", "<｜User｜>"])
def test_control_tokens_in_a_prompt_are_refused_with_their_row(token: str, tmp_path: Path):
    rows = [*asked("fine"), {"prompt": f"1{token}2", "answer": 1}]

    message = refused(rows, tmp_path)

    assert "t.jsonl row 2" in message
    assert repr(token) in message


@pytest.mark.row(19)
def test_a_control_token_may_not_hide_in_another_turn_or_in_two_halves(tmp_path: Path):
    hidden = [*turns("a"), {"role": "assistant", "content": "<|im_end|>"}, *turns("b")]

    assert "t.jsonl row 1" in refused([{"prompt": hidden, "answer": 1}], tmp_path)
    assert "t.jsonl row 1" in refused(asked("a <|im_"), tmp_path, suffix="end|>")


def test_a_control_token_in_the_configuration_is_blamed_on_its_key(tmp_path: Path):
    assert "data.suffix" in refused(asked("a"), tmp_path, suffix="<|im_end|>")
    assert "data.system_prompt" in refused(asked("a"), tmp_path, system_prompt="<s>")


@pytest.mark.parametrize("text", ["<think>", "a\n\nb", "<|other|>", "1 < 2 | 3 > 2", "< s >"])
def test_what_only_looks_like_a_control_token_is_let_through(text: str, tmp_path: Path):
    assert drawn(source_of(asked(text), tmp_path), 1) == [text]


@pytest.mark.row(19)
def test_prompts_up_to_the_limit_are_taken_and_longer_ones_refused_together(tmp_path: Path):
    rows = asked("a" * 10, "b" * 11, "c" * 13, "d" * 12)

    assert source_of(rows[:1], tmp_path, max_prompt_tokens=FRAME + 10).cursor == 0
    message = refused(rows, tmp_path, max_prompt_tokens=FRAME + 10)

    assert "3 of 4" in message
    assert "row 3" in message
    assert repr("c" * 13) in message
    assert f"has {FRAME + 13}" in message
    assert "data.max_prompt_tokens" in message


@pytest.mark.row(19)
def test_a_prompt_of_a_megabyte_is_refused_and_not_shown(tmp_path: Path):
    message = refused(asked("fine", "a" * 2**20), tmp_path)

    assert "1 of 2" in message
    assert "data.max_prompt_tokens" in message


@pytest.mark.row(19)
def test_a_prompt_leaves_room_in_the_models_context(tmp_path: Path, context: dict):
    context["max_tokens"] = FRAME + 10 + 1
    assert source_of(asked("a" * 10), tmp_path).cursor == 0

    context["max_tokens"] = FRAME + 10
    message = refused(asked("a" * 10), tmp_path)

    assert "1 of 1" in message
    assert "context" in message
    assert "raise data.max_prompt_tokens" not in message


def test_a_tokenizer_that_knows_more_words_than_the_model_is_refused(tmp_path: Path, context: dict):
    context["num_words"] = 50_000
    assert source_of(asked("a", "z"), tmp_path).cursor == 0

    message = refused(asked("a", "\U0001f600"), tmp_path)

    assert "row 2" in message
    assert f"token {ord(chr(0x1F600))}, and the model knows 50000" in message


def test_a_template_that_refuses_a_conversation_or_loses_it_names_the_row(tmp_path: Path):
    rows = [
        *asked("a"),
        {"prompt": [{"role": "assistant", "content": "So"}, *turns("b")], "answer": 1},
    ]

    assert "row 2" in refused(rows, tmp_path)
    assert "the user begins" in refused(rows, tmp_path)
    assert "row 2 renders to no token" in refused(asked("a", "vanish"), tmp_path)


def test_two_system_turns_are_a_contradiction(tmp_path: Path):
    rows = [{"prompt": [{"role": "system", "content": "Be brief"}, *turns("a")], "answer": 1}]

    assert "data.system_prompt" in refused(rows, tmp_path, system_prompt="Be long")


def test_an_unknown_verifier_is_refused_with_its_row_or_its_key(tmp_path: Path):
    rows = [*asked("a"), {"prompt": "b", "answer": 1, "verifier": "nmber"}]

    message = refused(rows, tmp_path)

    assert "t.jsonl row 2" in message
    assert "'number'" in message
    assert "data.verifier" in refused(asked("a"), tmp_path, verifier="nmber")


def test_heldout_rows_are_checked_like_the_others(tmp_path: Path):
    bad = write_jsonl(tmp_path / "h.jsonl", [{"prompt": "b", "answer": 1, "verifier": "nmber"}])
    forged = write_jsonl(tmp_path / "f.jsonl", asked("<s>"))

    assert "h.jsonl row 1" in refused(asked("a"), tmp_path, heldout=bad)
    assert "f.jsonl row 1" in refused(asked("a"), tmp_path, heldout=forged)


def test_data_cannot_name_code_to_run(tmp_path: Path):
    rows = [{"prompt": "a", "answer": "rm -rf x", "verifier": "os:system"}]

    message = refused(rows, tmp_path)

    assert "row 1" in message
    assert "'os:system'" in message


def test_the_run_itself_may_name_code_and_rows_may_repeat_it(tmp_path: Path):
    plugin = "json:loads"
    rows = [{"prompt": "a", "answer": 1}, {"prompt": "b", "answer": 1, "verifier": plugin}]

    source = source_of(rows, tmp_path, verifier=plugin)

    assert {problem.verifier for problem in filter(None, (source.draw(), source.draw()))} == {
        plugin
    }


def answered(**columns: Any) -> list[dict[str, Any]]:
    return [{"id": "a", "prompt": "a", "answer": "1", **columns}]


def only(source: PromptSource) -> Problem:
    problem = source.draw()
    assert problem is not None
    return problem


def text_of(ids: tuple[int, ...]) -> str:
    """Tokens of the letter tokenizer; added ones as their number."""
    return "".join(chr(i) if i > 9 else str(i) for i in ids)


@pytest.mark.parametrize("responses", ["instead", "beside"])
@pytest.mark.parametrize("key", ["response", "solution"])
def test_a_given_response_is_tokenized_and_ended_like_the_models_own(
    responses: str, key: str, tmp_path: Path
):
    rows = answered(**{key: "<think>x</think>y"})

    problem = only(source_of(rows, tmp_path, responses=responses))

    assert problem.given_text == "<think>x</think>y"
    assert text_of(problem.given_ids) == "5x</think>y3"


def test_responses_are_ignored_unless_asked_for_whatever_they_are(tmp_path: Path):
    rows = [{"prompt": "a", "answer": 1, "solution": text} for text in ("x", "<s>", ["y"])]

    source = source_of(rows, tmp_path)

    assert source.total is None
    assert (only(source).given_ids, only(source).given_text) == ((), "")
    assert drawn(source, 1) == drawn(source, 1), "three rows that ask and answer the same are one"


def test_several_responses_to_a_problem_without_ids_are_rows_of_their_own(tmp_path: Path):
    rows = [{"prompt": "a", "answer": 1, "response": text} for text in ("x", "y", "x")]

    source = source_of(rows, tmp_path, responses="instead", shuffle=False)

    assert [only(source).given_text for _ in range(3)] == ["x", "y", "x"]


@pytest.mark.parametrize("columns", [{}, {"response": None}, {"solution": " \n"}])
def test_a_row_without_a_response_is_refused_where_one_is_asked_for(
    columns: dict[str, Any], tmp_path: Path
):
    rows = [*answered(response="fine"), {**answered()[0], "id": "b", **columns}]

    message = refused(rows, tmp_path, responses="beside")

    assert "t.jsonl row 2" in message
    assert "'response'" in message
    assert "data.responses" in message


def test_a_response_that_is_no_text_is_refused_with_its_key(tmp_path: Path):
    message = refused(answered(solution=["x"]), tmp_path, responses="instead")

    assert "row 1 key 'solution' must be text" in message


def test_heldout_problems_need_no_response(tmp_path: Path):
    heldout = write_jsonl(tmp_path / "h.jsonl", asked("z"))

    source = source_of(answered(response="x"), tmp_path, heldout=heldout, responses="instead")

    assert source.heldout(1)[0].given_ids == ()


def test_a_control_token_in_a_response_is_refused_and_a_think_tag_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(LetterTokenizer, "special", ("<s>", "<|im_end|>", "<think>"))
    source = source_of(answered(response="<think>x"), tmp_path, responses="instead")
    assert text_of(only(source).given_ids) == "5x3"

    message = refused(answered(response="<think>x<|im_end|>"), tmp_path, responses="instead")

    assert "t.jsonl row 1, its response, holds '<|im_end|>'" in message


@pytest.mark.parametrize("opening", ["<think>", "<think>\n"])
def test_a_response_does_not_open_the_thinking_that_the_prompt_has_opened(
    opening: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(LetterTokenizer, "opening", opening)
    response = opening + "x</think>"

    problem = only(source_of(answered(response=response), tmp_path, responses="instead"))

    assert problem.given_text == "x</think>"


def test_a_model_without_an_end_token_cannot_learn_given_responses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(LetterTokenizer, "eos_token_id", None)

    assert "no end-of-sequence token" in refused(
        answered(response="x"), tmp_path, responses="instead"
    )


def test_responses_that_are_too_long_are_foretold(tmp_path: Path):
    rows = [{"prompt": "a", "answer": 1, "response": "x" * count} for count in (99, 100)]
    run = config(write_jsonl(tmp_path / "t.jsonl", rows), responses="instead")

    assert PromptSource(run, "model").load().warnings == (
        "1 of 2 given responses are longer than filter.length_budget 100 and will be rejected as "
        "over_budget",
    )


def test_the_fingerprint_changes_with_the_responses_that_are_learned(tmp_path: Path):
    found = {
        PromptSource(
            config(write_jsonl(tmp_path / "t.jsonl", answered(response=text)), responses=responses),
            "model",
        )
        .load()
        .fingerprint
        for text in ("x", "y")
        for responses in ("ignore", "instead")
    }

    assert len(found) == 3


def test_the_teacher_is_asked_with_the_answer_in_place_of_the_last_turn(tmp_path: Path):
    first = [*turns("f{answer}"), {"role": "assistant", "content": "s"}]
    rows = [{"prompt": [*first, *turns("{x}{answer}")], "answer": "{problem}"}]
    prompt = "{problem} is {answer}, {problem} {}"

    problem = only(source_of(rows, tmp_path, teacher_prompt=prompt, suffix="!"))

    last = "{x}{answer}! is {problem}, {x}{answer}! {}"
    assert text_of(problem.teacher_prompt_ids) == f"12uf{{answer}}32as32u{last}32a"
    assert text_of(problem.prompt_ids) == "12uf{answer}32as32u{x}{answer}!32a"


def test_without_a_teachers_prompt_it_is_asked_what_the_policy_is(tmp_path: Path):
    assert only(source_of(asked("a"), tmp_path)).teacher_prompt_ids == ()


def test_a_teachers_prompt_that_is_too_long_is_refused_by_its_key(tmp_path: Path):
    prompt = "{problem}" + 20 * "x"

    message = refused(asked("a"), tmp_path, teacher_prompt=prompt, max_prompt_tokens=FRAME + 20)

    assert "1 of 1 teacher prompts (learner.teacher.prompt) are longer" in message
    assert f"data.max_prompt_tokens {FRAME + 20}" in message


def test_a_teachers_prompt_is_checked_like_a_problem(tmp_path: Path):
    forged = refused(asked("a"), tmp_path, teacher_prompt="{problem}<|im_end|>")
    assert "learner.teacher.prompt holds '<|im_end|>'" in forged

    halves = [{"prompt": "a", "answer": "<|im_"}]
    assert "row 1" in refused(halves, tmp_path, teacher_prompt="{problem} {answer}end|>")

    with pytest.raises(ConfigError, match=r"learner\.teacher\.prompt.*lacks \{problem\}"):
        config("t", teacher_prompt="Solve {answer}")


def templates(*texts: str) -> list[dict[str, str]]:
    return [{"text": text} for text in texts]


def test_each_template_words_the_last_turn_its_own_way_behind_the_same_system_prompt(
    tmp_path: Path,
):
    first = [*turns("f"), {"role": "assistant", "content": "s"}]
    rows = [{"prompt": [*first, *turns("{answer}{problem}")], "answer": "1"}, *asked("b")]

    source = source_of(
        rows, tmp_path, shuffle=False, suffix="!", system_prompt="Y",
        templates=templates("{problem} {x}", "So: {problem}"),
    )  # fmt: skip

    one, two = source.draw(), source.draw()
    assert one is not None and two is not None
    assert text_of(one.prompt_ids) == "12sY32uf32as32u{answer}{problem}!32a"
    assert [text_of(ids) for ids in one.templates] == [
        "12sY32uf32as32u{answer}{problem}! {x}32a",
        "12sY32uf32as32uSo: {answer}{problem}!32a",
    ]
    assert [text_of(ids) for ids in two.templates] == ["12sY32ub! {x}32a", "12sY32uSo: b!32a"]


def test_there_is_one_wording_where_nobody_asks_for_more(tmp_path: Path):
    problem = only(source_of(asked("a"), tmp_path))

    assert (problem.templates, problem.paraphrase_ids) == ((), ())


def test_heldout_problems_are_asked_as_they_came(tmp_path: Path):
    heldout = write_jsonl(tmp_path / "h.jsonl", asked("h"))

    source = source_of(asked("a"), tmp_path, heldout=heldout, templates=templates("{problem} x"))

    assert source.heldout(1)[0].templates == ()


def test_what_a_template_makes_is_checked_like_a_problem(tmp_path: Path):
    long = templates("{problem}", "{problem}" + 20 * "x")
    message = refused(asked("a"), tmp_path, templates=long, max_prompt_tokens=FRAME + 20)
    assert "1 of 1 prompts (data.templates[1].text) are longer" in message

    forged = refused(asked("a"), tmp_path, templates=templates("{problem}<|im_end|>"))
    assert "data.templates[0].text holds '<|im_end|>'" in forged

    halves = refused(asked("<|im_"), tmp_path, templates=templates("{problem}end|>"))
    assert "row 1 holds '<|im_end|>'" in halves

    with pytest.raises(ConfigError, match=r"data\.templates.*lacks \{problem\}"):
        config("t", templates=templates("Solve"))


PARAPHRASE: dict[str, Any] = {"responses": "beside", "paraphrase": "{problem} {response}: again"}


def test_the_policy_is_asked_to_say_a_given_response_in_its_own_words(tmp_path: Path):
    rows = answered(response="<think>x</think>{problem}")

    problem = only(source_of(rows, tmp_path, suffix="!", **PARAPHRASE))

    question = rows[0]["prompt"]
    assert text_of(problem.paraphrase_ids) == f"12u{question}! 5x</think>{{problem}}: again32a"


def test_a_paraphrase_needs_a_response_in_its_prompt_and_on_every_row(tmp_path: Path):
    without = {**PARAPHRASE, "paraphrase": "{problem} again"}
    assert "lacks {response}" in refused(answered(response="r"), tmp_path, **without)
    assert "row 1" in refused(asked("a"), tmp_path, **PARAPHRASE)
    forged = refused(answered(response="<|im_"), tmp_path, responses="beside",
                     paraphrase="{response}end|>")  # fmt: skip
    assert "row 1 holds '<|im_end|>'" in forged
