"""Judge a JSON value: that it is there, is strict JSON, obeys a schema and holds what it should."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import referencing
import referencing.jsonschema
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import Draft202012Validator, validator_for
from referencing.exceptions import Unresolvable

from verifiers.answer import judged_part, last_boxed
from verifiers.strict_json import NotStrictJson, strict_json
from verifiers.types import Task, Verdict

GATES = ("found", "parsed", "schema", "value")

_FENCE = re.compile(r"\s*```\s*(\w*)\s*")
_NOTHING = object()
"""In place of a reference's value where only a schema is asked for."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    validator: Any = None
    value: Any = _NOTHING


def json_value(task: Task, response: str) -> Verdict:
    """The reference is ``{"schema": …}``, ``{"value": …}`` or both, else it is the value itself.

    The JSON is the last fenced block, else the whole response, else the last box, else what stands
    between the first and the last bracket. Every gate of ``GATES`` is shut while an earlier one is
    below 1; "value" is the share of the reference's leaves that agree, and with "strict" every key
    too many counts against it.
    """
    wanted = _reference(task.answer)
    found = _find(judged_part(response, task.rules.part))
    if found is None:
        return Verdict(status="no_answer", scores=_scores(), reason="found")
    try:
        value = strict_json(found)
    except NotStrictJson as error:
        return _failed(found, error.reason, str(error), found=1.0)
    except ValueError as error:
        return _failed(found, "not_json", str(error), found=1.0)
    problem = _breach(wanted.validator, value)
    if problem:
        return _failed(found, "schema", problem, found=1.0, parsed=1.0)
    share = _share(wanted.value, value, is_strict=task.rules.strictness == "strict")
    if share < 1:
        detail = f"{share:.0%} of the values agree"
        return _failed(found, "value", detail, found=1.0, parsed=1.0, schema=1.0, value=share)
    return Verdict(status="correct", extracted=found, scores=dict.fromkeys(GATES, 1.0))


def _scores(**reached: float) -> dict[str, float]:
    return dict.fromkeys(GATES, 0.0) | reached


def _failed(extracted: str, reason: str, detail: str, **reached: float) -> Verdict:
    return Verdict(
        status="wrong",
        extracted=extracted,
        reason=reason,
        detail=detail,
        scores=_scores(**reached),
    )


@lru_cache(maxsize=256)
def _reference(answer: str) -> _Wanted:
    try:
        given = strict_json(answer)
    except ValueError as error:
        raise ValueError(f"the reference answer {answer[:80]!r} is no JSON: {error}") from error
    if not isinstance(given, dict) or not given or not given.keys() <= {"schema", "value"}:
        return _Wanted(value=given)
    validator = _validator(given["schema"]) if "schema" in given else None
    wanted = _Wanted(validator=validator, value=given.get("value", _NOTHING))
    if "value" in given and _breach(validator, given["value"]):
        raise ValueError("the reference answer's value breaks its own schema")
    return wanted


def _validator(schema: Any) -> Any:
    """Checked to the last ``$ref``: nothing is ever fetched, so all of them lead inside."""
    try:
        kind = _dialect(schema)
        kind.check_schema(schema)
        _resolve_all(schema, kind)
        validator = kind(schema, registry=referencing.Registry())
        validator.is_valid(None)  # a schema that refers to itself alone never ends
    except SchemaError as error:
        raise ValueError(f"the reference answer's schema is invalid: {error.message}") from error
    except (Unresolvable, RecursionError, re.error, TypeError, ValueError) as error:
        raise ValueError(f"the reference answer's schema is unusable: {error!r}"[:300]) from error
    return validator


def _dialect(schema: Any) -> Any:
    kind: Any = validator_for(schema, default=Draft202012Validator)
    named = schema.get("$schema") if isinstance(schema, dict) else None
    if named and str(named).rstrip("#") != kind.META_SCHEMA["$schema"].rstrip("#"):
        raise ValueError(f"unknown $schema {named!r}")
    return kind


def _resolve_all(schema: Any, kind: Any) -> None:
    dialect = referencing.jsonschema.specification_with(kind.META_SCHEMA["$schema"])
    resource = dialect.create_resource(schema)
    resolver = referencing.Registry().resolver_with_root(resource)
    for place, subschema in _subschemas(resource, resolver):
        for keyword in ("$ref", "$dynamicRef"):
            if isinstance(subschema, dict) and keyword in subschema:
                place.lookup(subschema[keyword])


def _subschemas(resource: Any, resolver: Any) -> Iterator[tuple[Any, Any]]:
    here = resolver.in_subresource(resource)
    yield here, resource.contents
    for inner in resource.subresources():
        yield from _subschemas(inner, here)


def _breach(validator: Any, value: Any) -> str:
    if validator is None:
        return ""
    try:
        error = best_match(validator.iter_errors(value))
    except (Unresolvable, RecursionError, re.error) as fault:
        raise ValueError(f"the reference answer's schema is unusable: {fault!r}"[:300]) from fault
    return f"{error.json_path}: {error.message}"[:300] if error else ""


def _find(text: str) -> str | None:
    """The text of the JSON value; None where nothing looks like one."""
    fenced = _last_fenced(text)
    if fenced is not None:
        return fenced
    whole = text.strip()
    if _is_json(whole):
        return whole
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        return None
    end = text.rfind("}" if text[start] == "{" else "]")
    return text[start : end + 1] if end > start else text[start:].strip()


def _is_json(text: str) -> bool:
    try:
        strict_json(text)
    except NotStrictJson:
        return True  # JSON of the kind that we refuse
    except ValueError:
        return False
    return True


def _last_fenced(text: str) -> str | None:
    """The body of the last closed block that is marked json or not marked at all."""
    found: str | None = None
    info: str | None = None
    body: list[str] = []
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            body.append(line)
        elif info is None:
            info, body = fence[1].lower(), []
        elif not fence[1]:
            found = "\n".join(body).strip() if info in ("", "json") else found
            info = None
    return found


def _share(wanted: Any, value: Any, *, is_strict: bool) -> float:
    if wanted is _NOTHING:
        return 1.0
    equal, total = _leaves(wanted, value, is_strict)
    return equal / total


def _leaves(wanted: Any, value: Any, is_strict: bool) -> tuple[int, int]:
    """How many leaves agree, and of how many. An item too many is a leaf that does not."""
    if isinstance(wanted, dict) and wanted:
        given = value if isinstance(value, dict) else {}
        pairs = [(wanted[key], given.get(key, _NOTHING)) for key in wanted]
        extra = len(given.keys() - wanted.keys()) if is_strict else 0
    elif isinstance(wanted, list) and wanted:
        items = value if isinstance(value, list) else []
        missing = [_NOTHING] * (len(wanted) - len(items))
        pairs = list(zip(wanted, [*items, *missing], strict=False))
        extra = max(0, len(items) - len(wanted))
    else:
        return int(_same(wanted, value, is_strict)), 1
    counts = [_leaves(*pair, is_strict) for pair in pairs]
    return sum(equal for equal, _ in counts), sum(total for _, total in counts) + extra


def _same(wanted: Any, value: Any, is_strict: bool) -> bool:
    if wanted == {} and isinstance(value, dict):
        return not (value and is_strict)
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value  # 1 == True in Python, not in JSON
    return wanted == value
