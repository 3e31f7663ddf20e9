"""What a Python answer is checked against, read from the reference's text."""

import ast
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """A program that reads and prints."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """A function, its arguments, and for each call the results that will do."""

    function: str
    arguments: tuple[tuple[list[Any], dict[str, Any]], ...]
    results: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertions:
    """Statements that raise when the answer is wrong."""

    setup: str
    tests: tuple[str, ...]


def read_reference(answer: str) -> Cases | Calls | Assertions:
    """Raises ValueError where nothing could ever fail, or nothing could ever pass."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        if answer.lstrip().startswith("{"):
            raise ValueError("the reference starts like JSON and is none") from None
        value = answer
    match value:
        case {"function": str(function), "calls": [_, *_] as calls}:
            return _calls(function, list(calls))
        case {"fn_name": str(function), "inputs": [_, *_] as inputs, "outputs": list(outputs)}:
            return _listed_calls(function, list(inputs), outputs)
        case {"inputs": [_, *_] as inputs, "outputs": list(outputs)}:
            return _cases(list(inputs), outputs)
        case {"cases": [_, *_] as cases}:
            pairs = [_fields(case, "input", "output") for case in cases]
            return _cases([one for one, _ in pairs], [other for _, other in pairs])
        case {"tests": str() | list() as tests}:
            return _tests(tests, value.get("setup") or "", value.get("entry_point"))
        case [str(), *_]:
            return _tests(list(value), "", None)
        case str():
            return _tests(value, "", None)
    raise ValueError("the reference has neither cases, nor calls, nor tests")


def _cases(inputs: list[Any], outputs: list[Any]) -> Cases:
    if len(inputs) != len(outputs):
        raise ValueError(f"the reference has {len(inputs)} inputs and {len(outputs)} outputs")
    return Cases(inputs=tuple(map(_text, inputs)), outputs=tuple(map(_text, outputs)))


def _text(given: Any) -> str:
    """Some data sets keep a list of lines."""
    if isinstance(given, list) and all(isinstance(line, str) for line in given):
        return "\n".join(given)
    if not isinstance(given, str):
        raise ValueError(f"the reference has {str(given)[:40]!r} where a text is read or printed")
    return given


def _calls(function: str, calls: list[Any]) -> Calls:
    arguments, results = [], []
    for call in calls:
        (result,) = _fields(call, "result")
        args, kwargs = call.get("args", []), call.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ValueError("in the reference args is a list and kwargs an object")
        arguments.append((args, kwargs))
        results.append((result,))
    return _named(function, arguments, results)


def _listed_calls(function: str, inputs: list[Any], outputs: list[Any]) -> Calls:
    """As APPS and TACO have it, a result may be wrapped in a list; as LiveCodeBench has it, every
    line of a text is an argument and the result is JSON in a text."""
    if len(inputs) != len(outputs):
        raise ValueError(f"the reference has {len(inputs)} inputs and {len(outputs)} outputs")
    arguments, results = [], []
    for given, result in zip(inputs, outputs, strict=True):
        if isinstance(given, str):
            arguments.append(([json.loads(line) for line in given.splitlines() if line], {}))
            results.append((json.loads(result) if isinstance(result, str) else result,))
        elif isinstance(given, list):
            arguments.append((given, {}))
            unwrapped = result[:1] if isinstance(result, list) else []
            results.append((result, *unwrapped))
        else:
            raise ValueError("in the reference the inputs of a function are lists or texts")
    return _named(function, arguments, results)


def _named(function: str, arguments: list[Any], results: list[tuple[Any, ...]]) -> Calls:
    name = function.removeprefix("Solution.").strip("()")
    if not name.isidentifier():
        raise ValueError(f"the reference's function {function[:40]!r} is not a name")
    return Calls(function=name, arguments=tuple(arguments), results=tuple(results))


def _fields(value: Any, *names: str) -> tuple[Any, ...]:
    if not isinstance(value, dict) or any(name not in value for name in names):
        raise ValueError(f"a case of the reference lacks {' or '.join(map(repr, names))}")
    return tuple(value[name] for name in names)


def _tests(given: str | list[Any], setup: Any, entry_point: Any) -> Assertions:
    tests = [given] if isinstance(given, str) else given
    if not all(isinstance(test, str) for test in tests) or not isinstance(setup, str):
        raise ValueError("tests of the reference are a text or a list of texts")
    _parsed(setup)
    if entry_point is not None:
        if not str(entry_point).isidentifier():
            raise ValueError(f"the reference's entry point {entry_point!r} is not a name")
        if not any("def check(" in test for test in tests):
            raise ValueError("the reference has an entry point and no check(…) to give it to")
        tests = ["\n".join([*tests, f"check({entry_point})"])]
    tests = [test + _calls_of_test_functions(_parsed(test)) for test in tests]
    if not any(map(_does_something, map(_parsed, tests))):
        raise ValueError("the tests of the reference test nothing")
    return Assertions(setup=setup, tests=tuple(tests))


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"the reference is not Python: {error} in {source[:60]!r}") from None


def _calls_of_test_functions(module: ast.Module) -> str:
    """As pytest would; nobody else calls them, and then everything would pass."""
    names = [
        statement.name
        for statement in module.body
        if isinstance(statement, ast.FunctionDef)
        and statement.name.startswith("test_")
        and not statement.args.args
    ]
    return "".join(f"\n{name}()" for name in names)


def _does_something(module: ast.Module) -> bool:
    """Definitions, names and plain values cannot fail: ``42`` is an answer, not a test."""
    return any(
        isinstance(
            statement, ast.Assert | ast.Raise | ast.If | ast.For | ast.While | ast.With | ast.Try
        )
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call))
        for statement in module.body
    )
