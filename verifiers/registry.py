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
    "openai/grade-school-math": "number",
    "gsm-hard": "number",
    "reasoning-machines/gsm-hard": "number",
    "gsm_plus": "number",
    "qintongli/gsm-plus": "number",
    "svamp": "number",
    "chilled/svamp": "number",
    "tiny": "number",
    "math500": "math",
    "math-500": "math",
    "math_500": "math",
    "huggingfaceh4/math-500": "math",
    "hendrycks_math": "math",
    "competition_math": "math",
    "hendrycks/competition_math": "math",
    "eleutherai/hendrycks_math": "math",
    "digitallearninggmbh/math-lighteval": "math",
    "lighteval/math": "math",
    "lighteval/math-hard": "math",
    "math_dapo": "math",
    "bytedtsinghua-sia/dapo-math-17k": "math",
    "dapo-math-17k": "math",
    "agentica-org/deepscaler-preview-dataset": "math",
    "deepscaler": "math",
    "open-r1/openr1-math-220k": "math",
    "open-r1/dapo-math-17k-processed": "math",
    "numina_math": "math",
    "ai-mo/numinamath-cot": "math",
    "ai-mo/numinamath-1.5": "math",
    "numina_olympiads": "math",
    "numina_aops_forum": "math",
    "numina_synthetic_math": "math",
    "numina_amc_aime": "math",
    "numina_synthetic_amc": "math",
    "numina_cn_k12": "math",
    "ai-mo/aimo-validation-aime": "math",
    "ai-mo/aimo-validation-amc": "math",
    "zwhe99/deepmath-103k": "math",
    "deepmath-103k": "math",
    "skywork/skywork-or1-rl-data": "math",
    "polaris-project/polaris-dataset-53k": "math",
    "olympiadbench": "math",
    "hothan/olympiadbench": "math",
    "olympiad_bench": "math",
    "minerva_math": "math",
    "math-ai/minervamath": "math",
    "math-ai/olympiadbench": "math",
    "aime": "math",
    "aime24": "math",
    "aime25": "math",
    "aime2024": "math",
    "aime2025": "math",
    "aime_2024": "math",
    "aime_2025": "math",
    "maxwell-jia/aime_2024": "math",
    "huggingfaceh4/aime_2024": "math",
    "math-ai/aime24": "math",
    "math-ai/aime25": "math",
    "amc": "math",
    "amc23": "math",
    "math-ai/amc23": "math",
    "big_math": "math",
    "synthlabsai/big-math-rl-verified": "math",
    "mmlu": "choice",
    "cais/mmlu": "choice",
    "hails/mmlu_no_train": "choice",
    "mmlu_pro": "choice",
    "mmlu-pro": "choice",
    "tiger-lab/mmlu-pro": "choice",
    "mmlu_redux": "choice",
    "edinburgh-dawg/mmlu-redux": "choice",
    "gpqa": "choice",
    "gpqa_diamond": "choice",
    "gpqa_main": "choice",
    "idavidrein/gpqa": "choice",
    "arc": "choice",
    "arc_easy": "choice",
    "arc_challenge": "choice",
    "arc-easy": "choice",
    "arc-challenge": "choice",
    "ai2_arc": "choice",
    "allenai/ai2_arc": "choice",
    "commonsense_qa": "choice",
    "commonsenseqa": "choice",
    "tau/commonsense_qa": "choice",
    "openbookqa": "choice",
    "allenai/openbookqa": "choice",
    "medqa": "choice",
    "medmcqa": "choice",
    "openlifescienceai/medmcqa": "choice",
    "supergpqa": "choice",
    "m-a-p/supergpqa": "choice",
    "triviaqa": "string",
    "mandarjoshi/trivia_qa": "string",
    "trivia_qa": "string",
    "nq_open": "string",
    "google-research-datasets/nq_open": "string",
    "smollm2": "contains",
    "json_mode_eval": "json",
    "nousresearch/json-mode-eval": "json",
    "ifeval": "composite",
    "google/ifeval": "composite",
    "humaneval": "python",
    "openai_humaneval": "python",
    "openai/openai_humaneval": "python",
    "humanevalplus": "python",
    "evalplus/humanevalplus": "python",
    "mbpp": "python",
    "google-research-datasets/mbpp": "python",
    "mbppplus": "python",
    "evalplus/mbppplus": "python",
    "apps": "python",
    "codeparrot/apps": "python",
    "taco": "python",
    "baai/taco": "python",
    "livecodebench": "python",
    "livecodebench/code_generation_lite": "python",
    "codecontests": "python",
    "code_contests": "python",
    "deepmind/code_contests": "python",
    "codeforces": "python",
    "open-r1/codeforces": "python",
    "agentica-org/deepcoder-preview-dataset": "python",
    "spider": "sql",
    "xlangai/spider": "sql",
    "bird": "sql",
    "birdsql": "sql",
    "bird-bench/bird": "sql",
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
    if is_importable(name):
        return name
    raise UnknownVerifier(_explain(name, key, is_path=":" in name))


def is_importable(path: str) -> bool:
    """Whether ``module:NAME`` names a module that is there. It is not imported here."""
    module, colon, name = path.partition(":")
    return bool(colon) and _exists(module) and name.isidentifier()


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
