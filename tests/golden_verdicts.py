"""What each judge must say, wherever it runs: ``(verifier, answer, response, status)``."""

from tests.golden import box
from tests.golden.choice_cases import CHOICE
from tests.golden.code_cases import PYTHON, SQL
from tests.golden.json_cases import COMPOSITE, JSON
from tests.golden.math_cases import MATH
from tests.golden.math_pairs import DIFFERENT, SAME
from tests.golden.number_cases import NUMBER
from tests.golden.ruled_cases import RULED
from tests.golden.text_cases import CONTAINS, REGEX, STRING
from verifiers.registry import path_of, resolve
from verifiers.types import Rules, Task

__all__ = ["CODE", "GOLDEN", "RULED", "box", "disagreements"]

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

CODE = [("python", *case) for case in PYTHON] + [("sql", *case) for case in SQL]
"""For where processes may be started."""

GOLDEN = [(judge, *case) for judge, cases in _TABLES.items() for case in cases]


def disagreements(judge: str) -> list[object]:
    """Cases of which the judge says something else, under the usual rules and under others."""
    usual = [(*case[:3], {}, case[3], None) for case in GOLDEN]
    found: list[object] = []
    for name, answer, response, rules, status, reason in [*usual, *RULED]:
        if name != judge:
            continue
        task = Task(answer=answer, rules=Rules(**rules))
        verdict = resolve(path_of(judge))(task, response)
        has_answer = verdict.extracted is not None
        if verdict.status != status or reason not in (None, verdict.reason):
            found.append((answer, response, rules, f"not {status} {reason or ''}", verdict))
        elif status == "no_answer" and has_answer:
            found.append((answer, response, rules, "found an answer", verdict))
    return found
