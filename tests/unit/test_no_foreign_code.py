"""Nothing that comes from outside is run as code: read off the source of the product.

A file, a message or an answer is data. What would make code of it may stand in no file of ours, but
for the few places below, each with its reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("actors", "cluster", "configs", "dashboard", "evaluation", "learner", "verifiers")

MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
"""Reading with these runs what the writer wished."""

BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "sympify": "runs what it parses",
    "parse_expr": "runs what it parses",
    "parse_latex": "hands text to parse_expr",
    "read_pickle": "unpickles",
    "unsafe_load": "makes any object",
    "full_load": "makes many objects",
}
ALLOWED = {
    "verifiers/sandbox_program.py": "LOADER runs a program inside the sandbox, and nowhere else",
    "verifiers/python_harness.py": "is itself a program of the sandbox: it calls what it is to try",
}
LOADERS = {
    "from_pretrained",
    "from_config",
    "get_config_dict",
    "AsyncEngineArgs",
    "snapshot_download",
}
OF_OUR_OWN_PACKAGE = "learner/smollm2.py"
"""Loads what a package of the lock brings: there is no revision to pin but the lock's."""


def sources() -> list[Path]:
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    return sorted([*files, ROOT / "laconic_cli.py"])


def name_of(node: ast.expr) -> str:
    """``torch.load`` of the expression that is called."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".lstrip(".")
    return node.id if isinstance(node, ast.Name) else ""


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)
        elif isinstance(node, ast.Call):
            yield from _calls(node)
        elif isinstance(node, ast.Constant) and _is_program(node.value):
            yield f"{node.lineno}: a program in a text"


def _is_program(value: object) -> bool:
    return isinstance(value, str) and "\n" in value and "exec(" in value


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    module = getattr(node, "module", None)
    for name in [module] if module else [alias.name for alias in node.names]:
        if name and name.split(".")[0] in MODULES:
            yield f"{node.lineno}: import {name}"
    for alias in node.names if module else []:
        if alias.name in METHODS or alias.name in MODULES:
            yield f"{node.lineno}: {alias.name}: {METHODS.get(alias.name, 'unpickles')}"


def _calls(node: ast.Call) -> Iterator[str]:
    name = name_of(node.func)
    last = name.rpartition(".")[2]
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if isinstance(node.func, ast.Name) and name in BUILTINS:
        yield f"{node.lineno}: {name}()"
    elif last in METHODS:
        yield f"{node.lineno}: {name}(): {METHODS[last]}"
    elif name == "torch.load":
        weights_only = given.get("weights_only")
        if not (isinstance(weights_only, ast.Constant) and weights_only.value is True):
            yield f"{node.lineno}: torch.load without weights_only=True"
    elif name == "yaml.load" or name == "yaml.load_all":
        yield f"{node.lineno}: {name}(): use safe_load"
    elif last in ("load", "loads") and name.split(".")[0] in MODULES:
        yield f"{node.lineno}: {name}()"
    elif last == "load" and "allow_pickle" in given:
        yield f"{node.lineno}: {name}(allow_pickle=…)"
    elif "shell" in given and name.startswith("subprocess."):
        yield f"{node.lineno}: {name}(shell=…)"
    elif name in ("os.system", "os.popen"):
        yield f"{node.lineno}: {name}()"


@pytest.mark.row(17)
@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_becomes_code(path: Path):
    if str(path.relative_to(ROOT)) not in ALLOWED:
        assert list(faults(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("name", ALLOWED)
def test_every_exception_is_still_needed(name: str):
    assert list(faults(ast.parse((ROOT / name).read_text())))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import cloudpickle as cp",
        "from pickle import loads",
        "from ray import cloudpickle",
        "import marshal, json",
        "eval(text)",
        "exec(text)",
        "compile(text, 'a', 'exec')",
        "__import__(name)",
        "sympy.sympify(text)",
        "from sympy import sympify",
        "from sympy.parsing.sympy_parser import parse_expr as p",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "pandas.read_pickle(path)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "P = 'a\\nexec(b)'",
    ],
)
def test_what_makes_code_of_a_text_is_found(line: str):
    assert len(list(faults(ast.parse(line)))) >= 1


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
        "json.loads(text)",
        "model.eval()",
        "re.compile(text)",
        "connection.execute(text)",
        "OmegaConf.load(path)",
    ],
)
def test_what_only_reads_is_not(line: str):
    assert list(faults(ast.parse(line))) == []


def loading_calls(tree: ast.AST) -> Iterator[tuple[int, str, set[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node.func).rpartition(".")[2] in LOADERS:
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            yield node.lineno, name_of(node.func), given


@pytest.mark.row(30)
def test_every_model_is_loaded_with_our_trust_and_our_revision():
    lacking, found = [], set()
    for path in sources():
        where = str(path.relative_to(ROOT))
        for line, name, given in loading_calls(ast.parse(path.read_text())):
            wanted = {"revision", "trust_remote_code"}
            if name.endswith(("get_config_dict", "snapshot_download")):
                wanted = {"revision"}  # they run nothing
            if name.endswith("from_config") or where == OF_OUR_OWN_PACKAGE:
                wanted = {"trust_remote_code"}  # nothing is fetched
            found.add(where)
            if not wanted <= given:
                lacking.append(f"{where}:{line} {name} lacks {wanted - given}")

    assert lacking == []
    assert {"actors/chat_template.py", "actors/vllm_engine.py", "learner/policy.py"} <= found
