"""Messages as the token ids that the model was trained to see, and nothing smuggled in between."""

import json
import re
from collections.abc import Sequence
from typing import Any

import xxhash
from jinja2 import TemplateError

from actors.problem_rows import DataError
from configs.schema import ModelConfig
from verifiers.types import Message

DELIMITER = re.compile(r"<[|｜].+[|｜]>")
"""What turn markers look like: DeepSeek R1's distillates do not list theirs as special."""


class ChatTemplate:
    """A model's tokenizer, chat template and context length."""

    def __init__(
        self, tokenizer: Any, max_tokens: int | None, num_words: int | None = None
    ) -> None:
        """``max_tokens``: longest context of the model; ``num_words``: size of its vocabulary; None
        when it does not say."""
        self.max_tokens = max_tokens
        self.num_words = num_words
        self._tokenizer = tokenizer
        control = {
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if token.content and (token.special or DELIMITER.fullmatch(token.content))
        }
        # longest first, so that the message names the whole token; no token: match nothing
        ordered = sorted(control, key=lambda token: (-len(token), token))
        self._control = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

    @property
    def end_id(self) -> int | None:
        """What ends the model's own responses."""
        return self._tokenizer.eos_token_id

    def control_token(self, text: str, allowed: Sequence[str] = ()) -> str | None:
        """The first control token in ``text``: tokenized, it would end a turn or begin one."""
        found = (match[0] for match in self._control.finditer(text))
        return next((token for token in found if token not in allowed), None)

    def render(self, messages: Sequence[Message]) -> str:
        """Up to and including the header of the model's own turn. Raises ``DataError``."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise DataError(f"the model's chat template refuses it: {error}") from error

    def encode(self, rendered: list[str]) -> list[tuple[int, ...]]:
        """The template writes the special tokens itself: none are added."""
        if not rendered:
            return []  # transformers fails on an empty list
        encoded = self._tokenizer(rendered, add_special_tokens=False, return_attention_mask=False)
        return [tuple(ids) for ids in encoded["input_ids"]]

    def fingerprint(self) -> str:
        """Changes when the same messages could become other tokens."""
        vocabulary = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        template = self._tokenizer.chat_template
        return xxhash.xxh3_128_hexdigest(json.dumps([vocabulary, template]).encode())


def load_chat_template(model_dir: str, model: ModelConfig) -> ChatTemplate:
    """Of a folder, or of a hub name at ``model.revision``. Raises ``DataError``."""
    # imports torch: seconds, and only a run that starts needs it
    from transformers import CONFIG_MAPPING, AutoTokenizer, PretrainedConfig  # noqa: PLC0415

    trusted = model.trust_remote_code
    try:
        config, _ = PretrainedConfig.get_config_dict(model_dir, revision=model.revision)
        if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING and not trusted:
            raise DataError(_needs_trust(model_dir))
        tokenizer = AutoTokenizer.from_pretrained(
            model_dir, revision=model.revision, trust_remote_code=trusted
        )
    except DataError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        if "trust_remote_code" in str(error) and not trusted:
            raise DataError(_needs_trust(model_dir)) from error
        raise DataError(
            f"model.path {model_dir} has no tokenizer and configuration that can be loaded: "
            f"{str(error)[:300]}"
        ) from error
    if not tokenizer.chat_template:
        raise DataError(
            f"model.path {model_dir} has no chat template, so it is not known how to ask it; use "
            "an instruction-tuned model, or put a chat_template.jinja into its folder"
        )
    text_config = config.get("text_config", config)
    numbers = [text_config.get(key) for key in ("max_position_embeddings", "vocab_size")]
    return ChatTemplate(tokenizer, *(n if isinstance(n, int) else None for n in numbers))


def _needs_trust(model_dir: str) -> str:
    return (
        f"model.path {model_dir} can only be loaded by Python code that comes with it; read that "
        "code, then set model.trust_remote_code=true, and model.revision to what you have read"
    )
