"""What each judge must say, wherever it runs: ``(verifier, answer, response, status)``."""

from tests.golden import box
from tests.golden.choice_cases import CHOICE
from tests.golden.json_cases import COMPOSITE, JSON
from tests.golden.math_cases import MATH
from tests.golden.math_pairs import DIFFERENT, SAME
from tests.golden.number_cases import NUMBER
from tests.golden.ruled_cases import RULED
from tests.golden.text_cases import CONTAINS, REGEX, STRING

__all__ = ["GOLDEN", "RULED", "box"]

_TABLES = {
    "math": [
        *((gold, box(written), "correct") for gold, written in SAME),
        *((gold, box(written), "wrong") for gold, written in DIFFERENT),
        *MATH,
    ],
    "number": NUMBER,
    "choice": CHOICE,
    "contains": CONTAINS,
    "string": STRING,
    "regex": REGEX,
    "json": JSON,
    "composite": COMPOSITE,
}

GOLDEN = [(judge, *case) for judge, cases in _TABLES.items() for case in cases]
