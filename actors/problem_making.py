"""Rows become problems: dressed with the run's prompts, checked, rendered and tokenized."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.chat_template import ChatTemplate
from actors.problem_files import ProblemFile
from actors.problem_rows import DataError, shorten
from configs.schema import DataConfig
from verifiers.registry import ALIASES, VERIFIERS, UnknownVerifier, path_of
from verifiers.types import Message, Problem

Ids = tuple[int, ...]

THINK_TAGS = ("<think>", "</think>")
"""Control tokens of some models, and part of what a response says."""


def make_problems(
    file: ProblemFile, data: DataConfig, template: ChatTemplate, teacher_prompt: str | None = None
) -> list[Problem]:
    """One problem for every row, in order; ``DataError`` names the row that cannot be one."""
    _refuse_control_tokens("data.system_prompt", data.system_prompt or "", template)
    _refuse_control_tokens("data.suffix", data.suffix, template)
    dressed = [
        _dress(where, row.messages, data) for where, row in zip(file.places, file.rows, strict=True)
    ]
    rendered = _render_all(file, dressed, template)
    encoded = template.encode(rendered)
    _refuse_lengths(file, encoded, data, template)
    _refuse_unknown_words(file, encoded, template)
    texts = _given_texts(file, rendered, template)
    given = _given_ids(file, texts, template)
    asked = _Asked(file=file, dressed=dressed, data=data, template=template)
    teacher = asked.teacher(teacher_prompt)
    wordings = asked.templates()
    paraphrase = asked.paraphrase()
    return [
        Problem(
            id=row.id,
            messages=dressed[at],
            answer=row.answer,
            source=row.source,
            verifier=row.verifier or data.verifier,
            prompt_ids=encoded[at],
            given_ids=given[at],
            given_text=texts[at],
            teacher_prompt_ids=teacher[at],
            templates=wordings[at],
            paraphrase_ids=paraphrase[at],
        )
        for at, row in enumerate(file.rows)
    ]


def check_verifiers(file: ProblemFile, data: DataConfig) -> None:
    """Every row's verifier exists. Data may choose among ours, never name code to run."""
    try:
        path_of(data.verifier)
    except UnknownVerifier as error:
        raise DataError(f"data.verifier: {error}") from error
    allowed = {data.verifier, *VERIFIERS, *ALIASES}
    for where, row in zip(file.places, file.rows, strict=True):
        name = row.verifier
        if name is None or name in allowed:
            continue
        if ":" in name:
            raise DataError(
                f"{where} key 'verifier' names the code {shorten(name)}, which data may not; to "
                "run it for every row, set data.verifier to it and remove the key"
            )
        try:
            path_of(name)
        except UnknownVerifier as error:
            raise DataError(f"{where} key 'verifier': {error}") from error


def _dress(where: str, messages: tuple[Message, ...], data: DataConfig) -> tuple[Message, ...]:
    last = messages[-1]
    dressed = (*messages[:-1], Message(role=last.role, content=last.content + data.suffix))
    if data.system_prompt is None:
        return dressed
    if any(message.role == "system" for message in messages):
        raise DataError(
            f"{where} has a system turn of its own, and data.system_prompt would be a second; "
            "remove one of them"
        )
    return (Message(role="system", content=data.system_prompt), *dressed)


def _given_texts(file: ProblemFile, rendered: list[str], template: ChatTemplate) -> list[str]:
    """The rows' responses as the model would have written them behind its prompt."""
    texts = []
    for where, row, prompt in zip(file.places, file.rows, rendered, strict=True):
        text = _without_opened_think(prompt, row.response or "")
        _refuse_control_tokens(f"{where}, its response,", text, template, allowed=THINK_TAGS)
        texts.append(text)
    return texts


def _without_opened_think(prompt: str, response: str) -> str:
    """Templates of R1 open the thinking in the prompt, and written responses open it again."""
    think = THINK_TAGS[0]
    if not prompt.rstrip().endswith(think) or not response.lstrip().startswith(think):
        return response
    response = response.lstrip().removeprefix(think)
    return response.lstrip("\n") if prompt.endswith("\n") else response


def _given_ids(
    file: ProblemFile, texts: list[str], template: ChatTemplate
) -> list[tuple[int, ...]]:
    if not any(texts):
        return [()] * len(texts)
    if template.end_id is None:
        raise DataError(
            "the model's tokenizer has no end-of-sequence token, so a given response cannot end; "
            "set data.responses=ignore, or its eos_token"
        )
    given = [(*ids, template.end_id) for ids in template.encode(texts)]
    _refuse_unknown_words(file, given, template)
    return given


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The same problems with something else in place of their last turns."""

    file: ProblemFile
    dressed: list[tuple[Message, ...]]
    data: DataConfig
    template: ChatTemplate

    def teacher(self, prompt: str | None) -> list[Ids]:
        if prompt is None:
            return [()] * len(self.dressed)
        answers = [{"{answer}": row.answer} for row in self.file.rows]
        return self._ids("learner.teacher.prompt", "teacher prompts", prompt, answers)

    def templates(self) -> list[tuple[Ids, ...]]:
        """For each problem what each of ``data.templates`` makes of it. ``{problem}`` is the last
        turn as it is asked without them, ``data.suffix`` included."""
        nothing: list[dict[str, str]] = [{} for _ in self.dressed]
        wordings = [
            self._ids(f"data.templates[{number}].text", "prompts", wording.text, nothing)
            for number, wording in enumerate(self.data.templates)
        ]
        return [tuple(ids[at] for ids in wordings) for at in range(len(self.dressed))]

    def paraphrase(self) -> list[Ids]:
        prompt = self.data.paraphrase
        if prompt is None:
            return [()] * len(self.dressed)
        if "{response}" not in prompt:
            raise DataError(
                "data.paraphrase lacks {response}, which stands for what is to be said in other "
                "words"
            )
        responses = [{"{response}": row.response or ""} for row in self.file.rows]
        # A given response may hold its thinking.
        return self._ids("data.paraphrase", "prompts", prompt, responses, allowed=THINK_TAGS)

    def _ids(
        self,
        key: str,
        what: str,
        prompt: str,
        values: Sequence[Mapping[str, str]],
        allowed: Sequence[str] = (),
    ) -> list[Ids]:
        _refuse_control_tokens(key, prompt, self.template)
        reworded = [
            _reworded(messages, prompt, row)
            for messages, row in zip(self.dressed, values, strict=True)
        ]
        encoded = self.template.encode(_render_all(self.file, reworded, self.template, allowed))
        _refuse_lengths(self.file, encoded, self.data, self.template, f"{what} ({key})")
        _refuse_unknown_words(self.file, encoded, self.template)
        return encoded


def _reworded(
    messages: tuple[Message, ...], prompt: str, values: Mapping[str, str]
) -> tuple[Message, ...]:
    """One pass over the prompt: what is filled in may hold braces, even those very words."""
    last = messages[-1]
    known = {"{problem}": last.content, **values}
    words = "|".join(map(re.escape, known))
    content = re.sub(words, lambda found: known[found[0]], prompt)
    return (*messages[:-1], Message(role=last.role, content=content))


def _render_all(
    file: ProblemFile,
    dressed: list[tuple[Message, ...]],
    template: ChatTemplate,
    allowed: Sequence[str] = (),
) -> list[str]:
    return [
        _render(where, messages, template, allowed)
        for where, messages in zip(file.places, dressed, strict=True)
    ]


def _render(
    where: str, messages: Sequence[Message], template: ChatTemplate, allowed: Sequence[str]
) -> str:
    for message in messages:
        _refuse_control_tokens(where, message.content, template, allowed)
    try:
        return template.render(messages)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _refuse_control_tokens(
    where: str, text: str, template: ChatTemplate, allowed: Sequence[str] = ()
) -> None:
    token = template.control_token(text, allowed)
    if token is not None:
        raise DataError(
            f"{where} holds {shorten(token)}, a control token of the model: it would forge a turn; "
            "remove it or spell it otherwise"
        )


def _refuse_unknown_words(
    file: ProblemFile, encoded: list[tuple[int, ...]], template: ChatTemplate
) -> None:
    if template.num_words is None:
        return
    for where, ids in zip(file.places, encoded, strict=True):
        if max(ids) >= template.num_words:
            raise DataError(
                f"{where} becomes token {max(ids)}, and the model knows {template.num_words}: its "
                "tokenizer is not its own; put the right one into the model's folder"
            )


def _refuse_lengths(
    file: ProblemFile,
    encoded: list[tuple[int, ...]],
    data: DataConfig,
    template: ChatTemplate,
    what: str = "prompts",
) -> None:
    limit, name = data.max_prompt_tokens, "data.max_prompt_tokens"
    way_out = "raise data.max_prompt_tokens, or remove them"
    if template.max_tokens is not None and template.max_tokens <= limit:
        limit, name = template.max_tokens - 1, "what the model's context leaves for a prompt,"
        way_out = "remove them, or take a model with a longer context"
    lengths = [len(ids) for ids in encoded]
    if min(lengths, default=1) == 0:
        raise DataError(f"{file.places[lengths.index(0)]} renders to no token; remove it")
    num_longer = sum(length > limit for length in lengths)
    if num_longer:
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        raise DataError(
            f"{num_longer} of {len(lengths)} {what} are longer than {name} {limit}: the "
            f"longest, {file.places[longest]} (id {shorten(file.rows[longest].id)}), has "
            f"{lengths[longest]} tokens; {way_out}"
        )
