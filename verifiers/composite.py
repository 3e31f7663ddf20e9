"""Judge by several judges at once."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from verifiers.registry import is_ours, path_of, resolve
from verifiers.types import Task, Verdict

MAX_NESTING = 3


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    path: str
    answer: str


def composite(task: Task, response: str) -> Verdict:
    """The reference is ``{"all": [part, …]}`` or ``{"any": [part, …]}``, maybe with an "answer".

    A part is the name of a judge, which then sees that answer, or ``{"verifier": …, "answer": …,
    "name": …}``. Every part is asked, so that a bad reference shows whatever the response is.
    """
    return _judge(task, response, nesting=1)


def _judge(task: Task, response: str, nesting: int) -> Verdict:
    if nesting > MAX_NESTING:
        raise ValueError(f"the reference answer nests composites deeper than {MAX_NESTING}")
    needs_all, parts = _reference(task.answer)
    verdicts = [_verdict(part, task, response, nesting) for part in parts]
    scores = {
        part.name: float(verdict.status == "correct")
        for part, verdict in zip(parts, verdicts, strict=True)
    }
    passed = [verdict for verdict in verdicts if verdict.status == "correct"]
    if len(passed) == len(parts) or (passed and not needs_all):
        return Verdict(status="correct", extracted=_shown(passed), scores=scores)
    if all(verdict.status == "no_answer" for verdict in verdicts):
        return Verdict(status="no_answer", scores=scores)
    name, failed = next(
        (part.name, verdict)
        for part, verdict in zip(parts, verdicts, strict=True)
        if verdict.status != "correct"
    )
    return Verdict(
        status="wrong",
        extracted=_shown(verdicts),
        reason=name,
        detail=": ".join(filter(None, (failed.status, failed.reason, failed.detail))),
        scores=scores,
    )


def _verdict(part: _Part, task: Task, response: str, nesting: int) -> Verdict:
    own = replace(task, answer=part.answer)
    if part.path == path_of("composite"):
        return _judge(own, response, nesting + 1)
    verdict = resolve(part.path)(own, response)
    if verdict.status in ("error", "timeout"):  # not the model's fault, so never "wrong"
        raise RuntimeError(f"{part.name}: {verdict.status}: {verdict.detail}")
    return verdict


def _shown(verdicts: list[Verdict]) -> str | None:
    return next((verdict.extracted for verdict in verdicts if verdict.extracted), None)


def _reference(answer: str) -> tuple[bool, list[_Part]]:
    try:
        given = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the reference answer {answer[:80]!r} is no JSON: {error}") from error
    if not isinstance(given, dict) or len(given.keys() & {"all", "any"}) != 1:
        raise ValueError('the reference answer is neither {"all": [...]} nor {"any": [...]}')
    if unknown := given.keys() - {"all", "any", "answer"}:
        raise ValueError(f"the reference answer has an unknown key {min(unknown)!r}")
    listed = given.get("all", given.get("any"))
    if not isinstance(listed, list) or not listed:
        raise ValueError("the reference answer lists no judges")
    parts = [_part(part, given) for part in listed]
    names = Counter(part.name for part in parts)
    if len(names) < len(parts):
        twice = names.most_common(1)[0][0]
        raise ValueError(f"the reference answer has two parts called {twice!r}: give them names")
    return "all" in given, parts


def _part(given: Any, whole: dict[str, Any]) -> _Part:
    if isinstance(given, str):
        given = {"verifier": given}
    if not isinstance(given, dict) or not isinstance(given.get("verifier"), str):
        raise ValueError("the reference answer has a part that names no judge")
    if unknown := given.keys() - {"verifier", "answer", "name"}:
        raise ValueError(f"the reference answer has an unknown key {min(unknown)!r}")
    judge, name = given["verifier"], given.get("name", given["verifier"])
    if not is_ours(judge):  # the data file chose it: never run code that is not ours
        raise ValueError(f"the reference answer names {judge[:80]!r}, which is not one of ours")
    if not isinstance(name, str) or not name:
        raise ValueError("the reference answer has a part whose name is not a text")
    if "answer" not in given and "answer" not in whole:
        raise ValueError(f"the reference answer has nothing for its part {name!r}")
    answer = given.get("answer", whole.get("answer"))
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return _Part(name=name, path=path_of(judge), answer=text)
