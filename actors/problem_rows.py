"""One row of a data file, whatever its schema, as a question with a checkable answer.

{"question": "1+1?", "answer": "2"}                                   plain
{"prompt": [{"role": "user", "content": "1+1?"}],                     verl
 "reward_model": {"ground_truth": "2"}, "data_source": "sums"}
{"problem": "1+1?", "answer": "2", "solution": "It is \\boxed{2}."}    with a response
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

import xxhash

from configs.errors import UserError
from verifiers.references import structured
from verifiers.registry import ALIASES
from verifiers.types import Message, Role

PROMPT_KEYS = ("prompt", "question", "problem")
ANSWER_KEYS = ("answer", "ground_truth", "final_answer")
RESPONSE_KEYS = ("response", "solution")
KNOWN_KEYS = (*PROMPT_KEYS, *ANSWER_KEYS, *RESPONSE_KEYS)
KNOWN_KEYS += ("id", "reward_model", "extra_info", "data_source", "verifier")
ROLES = get_args(Role)
EXACT_FLOAT = 2**53
"""Below it, every float without a fraction is exactly the integer it shows."""


class DataError(UserError):
    """Data that cannot be trained on: one line with the file, the row, the key, the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    messages: tuple[Message, ...]
    answer: str
    source: str
    """Its ``data_source``, else the name of its file."""
    verifier: str | None
    """Named by the row, or known for its ``data_source``. None: the run's own."""
    response: str | None = None
    """None: nobody asked for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row as the file gives it."""

    where: str
    """``train.jsonl row 3``: what an error message starts with."""
    source: str
    values: Mapping[str, Any]


def parse_row(record: Record, *, with_response: bool = False) -> tuple[Row, bool]:
    """The row, and whether its id was given (else it is a hash of what is asked and answered)."""
    messages = _messages(record)
    answer = _answer(record)
    named_source = _optional_text(record, "data_source")
    source = named_source or record.source
    response = _response(record) if with_response else None
    given = _given_id(record, source)
    row = Row(
        id=given or _hash(messages, answer, response),
        messages=messages,
        answer=answer,
        source=source,
        verifier=_optional_text(record, "verifier") or ALIASES.get((named_source or "").lower()),
        response=response,
    )
    return row, given is not None


def shorten(value: object, limit: int = 60) -> str:
    """``repr`` for an error message: one line, and never a megabyte of it."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _messages(record: Record) -> tuple[Message, ...]:
    key = _first_key(record, PROMPT_KEYS)
    if key is None:
        raise DataError(
            f"{record.where} has no prompt: give it a 'prompt' (text or a list of messages), a "
            f"'question' or a 'problem'; its keys are {shorten(sorted(map(str, record.values)))}"
        )
    turns = record.values[key]
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    if not isinstance(turns, list) or not turns:
        raise DataError(
            f"{record.where} key {key!r} must be text or a list of messages, got {shorten(turns)}"
        )
    messages = tuple(
        _message(record, key if len(turns) == 1 else f"{key}[{index}]", turn)
        for index, turn in enumerate(turns)
    )
    if messages[-1].role != "user":
        raise DataError(
            f"{record.where} key {key!r} must end with the user's turn, not with "
            f"{messages[-1].role!r}: the model writes what follows"
        )
    return messages


def _message(record: Record, key: str, turn: Any) -> Message:
    if not isinstance(turn, dict) or not {"role", "content"} <= turn.keys():
        raise DataError(
            f"{record.where} key {key!r} must be {{'role': …, 'content': …}}, got {shorten(turn)}"
        )
    role = turn["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(
            f"{record.where} key {key!r} has role {shorten(role)}; use one of {', '.join(ROLES)}"
        )
    content = _text(record, key, turn["content"])
    if not content.strip():
        raise DataError(f"{record.where} key {key!r} is an empty prompt; remove the row")
    return Message(role=role, content=content)  # pyright: ignore[reportArgumentType]


def _answer(record: Record) -> str:
    reward = record.values.get("reward_model")
    if isinstance(reward, dict) and reward.get("ground_truth") is not None:
        key, value = "reward_model.ground_truth", reward["ground_truth"]
    else:
        key = _first_key(record, ANSWER_KEYS)
        if key is None:
            raise DataError(
                f"{record.where} has no answer: give it an 'answer', a 'ground_truth' or a "
                "'reward_model.ground_truth', or remove the row"
            )
        value = record.values[key]
    answer = _label(record, key, value)
    # GSM8K puts the solution first and the label after "####", in the last line
    _, mark, label = answer.strip().rpartition("####")
    answer = label.strip() if mark and "\n" not in label else answer.strip()
    if not answer:
        raise DataError(f"{record.where} key {key!r} is an empty answer; remove the row")
    return answer


def _response(record: Record) -> str:
    key = next((key for key in RESPONSE_KEYS if record.values.get(key) not in (None, "")), None)
    response = "" if key is None else _text(record, key, record.values[key])
    if not response.strip():
        raise DataError(
            f"{record.where} has no response, which data.responses asks for: give it a 'response' "
            "or a 'solution' (text), or set data.responses=ignore"
        )
    return response


def _label(record: Record, key: str, value: Any) -> str:
    """Numbers as a person writes them, 12.0 is "12"; tests, schemas and alternatives as JSON."""
    if isinstance(value, list | dict) and value:
        try:
            return _text(record, key, structured(value))
        except (ValueError, TypeError) as error:
            raise DataError(f"{record.where} key {key!r} is not JSON: {error}") from error
    if isinstance(value, str):
        if value.strip().lower() == "nan":
            value = math.nan
        else:
            return _text(record, key, value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise DataError(
            f"{record.where} key {key!r} must be text, a number, or a list or object for a judge "
            f"that takes one, got {shorten(value)}"
        )
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise DataError(f"{record.where} key {key!r} is {value}, which is no label; remove the row")
    if value == int(value) and abs(value) < EXACT_FLOAT:
        return str(int(value))
    return format(value, "f") if isinstance(value, Decimal) else repr(value)


def _given_id(record: Record, source: str) -> str | None:
    value = record.values.get("id")
    key = "id"
    prefix = ""
    extra = record.values.get("extra_info")
    if value is None and isinstance(extra, dict):
        # verl numbers the rows of every source from 0
        value, key, prefix = extra.get("index"), "extra_info.index", f"{source}-"
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{record.where} key {key!r} must be text or an integer, got {value!r}")
    return prefix + _text(record, key, str(value))


def _optional_text(record: Record, key: str) -> str | None:
    value = record.values.get(key)
    return None if value is None or value == "" else _text(record, key, value)


def _text(record: Record, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"{record.where} key {key!r} must be text, got {shorten(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{record.where} key {key!r} holds half a character (a lone surrogate), which no "
            "tokenizer takes; repair or remove the row"
        ) from None
    return value


def _first_key(record: Record, keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if record.values.get(key) is not None), None)


def _hash(messages: tuple[Message, ...], answer: str, response: str | None) -> str:
    parts = [[message.role, message.content] for message in messages]
    known = [parts, answer] if response is None else [parts, answer, response]
    return xxhash.xxh3_64_hexdigest(json.dumps(known).encode())
