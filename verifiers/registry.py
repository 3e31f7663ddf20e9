"""Which judge a name means. Nothing is imported until a judge process asks for it."""

import difflib
import importlib
import importlib.util
from collections.abc import Callable

from configs.errors import UserError
from verifiers.types import Task, Verdict

Verifier = Callable[[Task, str], Verdict]
"""``verifier(task, response)``. It says ``correct``, ``wrong`` or ``no_answer``; raising means
that the verifier, or the reference answer, is at fault and becomes an ``error``."""

VERIFIERS = {
    "math": "verifiers.math_answer:math_answer",
    "number": "verifiers.number:number",
    "choice": "verifiers.choice:choice",
    "string": "verifiers.string:string",
    "contains": "verifiers.contains:contains",
    "regex": "verifiers.regex:regex",
    "json": "verifiers.json_value:json_value",
    "python": "verifiers.python_code:python_code",
    "sql": "verifiers.sql_query:sql_query",
    "composite": "verifiers.composite:composite",
}

ALIASES = {
    "gsm8k": "number",
    "openai/gsm8k": "number",
    "tiny": "number",
    "math500": "math",
    "math-500": "math",
    "huggingfaceh4/math-500": "math",
    "digitallearninggmbh/math-lighteval": "math",
    "lighteval/math": "math",
    "hendrycks/competition_math": "math",
    "agentica-org/deepscaler-preview-dataset": "math",
    "bytedtsinghua-sia/dapo-math-17k": "math",
    "math_dapo": "math",
    "open-r1/openr1-math-220k": "math",
    "aime": "math",
    "aime24": "math",
    "aime25": "math",
    "maxwell-jia/aime_2024": "math",
    "huggingfaceh4/aime_2024": "math",
    "math-ai/aime25": "math",
    "amc23": "math",
    "math-ai/amc23": "math",
    "smollm2": "contains",
}
"""Names of data sets, in lower case, as people and other trainers write them."""


class UnknownVerifier(UserError):
    """The message is one line and names the nearest known verifier."""


def is_ours(name: str) -> bool:
    """Whether it is a built-in judge or an alias of one. A data file may name only these: its
    reader never meant to run code that the file chose."""
    key = name.strip().lower()
    return key in VERIFIERS or key in ALIASES


def path_of(name: str) -> str:
    """``path_of("openai/gsm8k") == "verifiers.number:number"``; ``module:function`` is itself.

    Raises UnknownVerifier. A plug-in's module must exist; it is not imported here.
    """
    key = name.strip().lower()
    known = VERIFIERS.get(ALIASES.get(key, key))
    if known is not None:
        return known
    module, colon, function = name.partition(":")
    if colon and _exists(module) and function.isidentifier():
        return name
    raise UnknownVerifier(_explain(name, key, is_path=bool(colon)))


def resolve(path: str) -> Verifier:
    """The function behind ``path_of``'s answer. Imports its module, and so runs its code."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)


def _exists(module: str) -> bool:
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _explain(name: str, key: str, *, is_path: bool) -> str:
    if is_path:
        return f"verifier {name!r} names no importable module and function (module:function)"
    near = difflib.get_close_matches(key, [*VERIFIERS, *ALIASES], 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(VERIFIERS)}"
    return f"no verifier is called {name!r}; {hint} (or name your own as module:function)"
