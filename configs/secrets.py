"""What is secret, by its name or by its looks, and what stands in its place.

A run's folder is copied, shown and sent to others. So a secret is refused where it would be a
setting, and what still looks like one is replaced in everything that a run writes or sends.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

REDACTED = "[redacted]"

SECRET_WORDS = {
    "apikey", "credential", "credentials", "passphrase", "passwd", "password", "passwords",
    "secret", "secrets",
}  # fmt: skip
"""A name with one of these among its words is a secret's."""

SECRET_ENDS = {"token"}
"""A name that ends in one of these is too: ``hub_token``, not ``token_weights``."""

KINDS_OF_KEY = {"access", "api", "auth", "encryption", "license", "private", "signing", "wandb"}
"""Before ``key`` or ``keys``."""

TEXT_TOKENS = {"bos", "cls", "end", "eos", "mask", "pad", "per", "sep", "special", "stop", "unk"}
"""Before ``token``: one of a tokenizer's, or a count."""

PLACES = {"dir", "file", "folder", "path"}
"""A name that ends in one of these says where a secret is, which is none."""

MIN_SECRET = 8
"""Characters of a known secret: what is shorter, or a plain word, stands in too many texts."""

SHAPES = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
        hf_[A-Za-z0-9]{20,}
      | sk-[A-Za-z0-9_-]{20,}
      | (?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])
      | gh[oprsu]_[A-Za-z0-9]{20,}
      | github_pat_[A-Za-z0-9_]{20,}
      | wandb_v\d_[A-Za-z0-9_]{20,}
      | (?<=Bearer\ )[A-Za-z0-9._~+/=-]{16,}
    )""",
    re.VERBOSE,
)
IN_ADDRESS = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")
"""``user:password`` of ``https://user:password@host``."""

HEX_KEY = re.compile(r"(?i)((?:wandb|key|token|login)\b.{0,24}?)(?<![0-9a-f])([0-9a-f]{40})\b")
"""Forty hexadecimal digits are a key of wandb, or the name of a commit: the words before tell."""

ASSIGNED = re.compile(r"""(?<!\w)([A-Za-z][\w.-]{0,63})["']?(?:=|:\s?["'])["']?([^\s"',;]{8,})""")
"""``NAME=value``, ``"name": "value"``: a secret when its name is one's."""


def is_secret_name(name: str) -> bool:
    """``hub_token`` and ``judge.API_KEY`` are, ``max_tokens`` and ``token_weights`` are not."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    before, last = ["", "", *words][-2:]
    if last in PLACES:
        return False
    if SECRET_WORDS & set(words):
        return True
    if last in SECRET_ENDS:
        return before not in TEXT_TOKENS
    return last in ("key", "keys") and before in KINDS_OF_KEY


def secret_keys(values: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of the texts that are named like secrets. A number or a switch is none."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            path = f"{prefix}{key}"
            if isinstance(value, str) and is_secret_name(str(key)):
                yield path
            yield from secret_keys(value, f"{path}.")
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from secret_keys(value, f"{prefix}{number}.")


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables that are named like secrets, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if is_secret_name(name) and len(value) >= MIN_SECRET and not value.isalpha()
    }
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def redact(text: str, known: tuple[str, ...] = ()) -> str:
    """``text`` without what looks like a secret, and without these known ones."""
    for secret in known:
        text = text.replace(secret, REDACTED)
    text = IN_ADDRESS.sub(REDACTED, text)
    text = SHAPES.sub(REDACTED, text)
    text = HEX_KEY.sub(rf"\1{REDACTED}", text)
    return ASSIGNED.sub(_assigned, text)


def redact_values(values: Any, known: tuple[str, ...] = (), name: str = "") -> Any:
    """The same structure with every text redacted."""
    if isinstance(values, Mapping):
        return {key: redact_values(value, known, str(key)) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [redact_values(value, known, name) for value in values]
    if not isinstance(values, str):
        return values
    if is_secret_name(name) and values:
        return REDACTED
    return redact(values, known)


class RedactingFormatter(logging.Formatter):
    """Of log files: the whole of a record, its traceback too."""

    def __init__(self, form: str, known: tuple[str, ...]) -> None:
        super().__init__(form)
        self._known = known

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record), self._known)


def _assigned(match: re.Match[str]) -> str:
    name, value = match[1], match[2]
    if not is_secret_name(name) or value.replace(".", "").isdigit():
        return match[0]
    return f"{match[0].removesuffix(value)}{REDACTED}"
