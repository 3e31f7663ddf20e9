"""Single tokens in a text: where each one ends, and where thinking does. Light: no transformers."""

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenReader:
    """Reads tokens of one tokenizer. What it does not understand it does not guess: None."""

    def __init__(self, tokenizer_file: Path, think_end: str = "</think>") -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        decoder = json.dumps(json.loads(tokenizer_file.read_text()).get("decoder"))
        self._is_byte_level = '"ByteLevel"' in decoder
        self._added = self._tokenizer.get_added_tokens_decoder()
        encoded = self._tokenizer.encode(think_end, add_special_tokens=False)
        self._think_end = tuple(encoded.ids)
        self._known: dict[int, bytes] = {}

    def think_tokens(self, token_ids: Sequence[int]) -> int | None:
        """Tokens up to the end of thinking, its mark included. None: it does not end, or its mark
        is hidden in a larger token."""
        mark = self._think_end
        for start, token in enumerate(token_ids):
            if token == mark[0] and tuple(token_ids[start : start + len(mark)]) == mark:
                return start + len(mark)
        return None

    def ends(self, token_ids: Sequence[int], text: str) -> list[int] | None:
        """UTF-8 bytes of ``text`` up to the end of each token. None: together they read
        otherwise."""
        parts = [self._bytes_of(token) for token in token_ids]
        joined, data = b"".join(parts), text.encode("utf-8", errors="replace")
        skipped = 1 if joined != data and joined == b" " + data else 0  # as some decoders do
        if joined[skipped:] != data:
            return None
        ends, end = [], -skipped
        for part in parts:
            end += len(part)
            ends.append(max(0, end))
        return ends

    def _bytes_of(self, token: int) -> bytes:
        if token not in self._known:
            self._known[token] = self._read(token)
        return self._known[token]

    def _read(self, token: int) -> bytes:
        if (added := self._added.get(token)) is not None:
            return b"" if added.special else added.content.encode()
        word = self._tokenizer.id_to_token(token)
        if word is None:
            return b"\xff"  # which is in no text
        if self._is_byte_level:
            return bytes(_BYTE_OF[character] for character in word if character in _BYTE_OF)
        if byte := _BYTE.fullmatch(word):
            return bytes([int(byte[1], 16)])
        return word.replace("▁", " ").encode()


def open_reader(model_dir: str | None, think_end: str) -> TokenReader | None:
    """None when the model's folder has no tokenizer that can be read: then less is recorded."""
    if model_dir is None:
        return None
    try:
        return TokenReader(Path(model_dir) / "tokenizer.json", think_end)
    except Exception as error:  # the library raises a plain Exception, whatever is wrong
        logger.warning(
            "no token is recorded, since %s has no readable tokenizer.json: %s", model_dir, error
        )
        return None


def _byte_alphabet() -> dict[str, int]:
    """Byte-level tokenizers write each byte as one visible character."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    table = {chr(byte): byte for byte in visible}
    return table | {chr(256 + place): byte for place, byte in enumerate(hidden)}


_BYTE_OF = _byte_alphabet()
