"""What a command said: the type of the fixture ``laconic``."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    code: int
    stdout: str
    stderr: str


Laconic = Callable[..., Said]
