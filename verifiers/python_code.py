"""Judge a Python program by running it in the sandbox.

The reference is one of these, as text:

    {"cases": [{"input": "2 3", "output": "5"}]}              reads stdin, prints; also
    {"inputs": ["2 3"], "outputs": ["5"]}                     as APPS, TACO and LiveCodeBench do
    {"function": "add", "calls": [{"args": [2, 3], "result": 5}]}     also with "kwargs"; also
    {"fn_name": "add", "inputs": [[2, 3]], "outputs": [5]}
    {"tests": "def check(f): assert f(2, 3) == 5", "entry_point": "add"}      also with "setup"
    assert add(2, 3) == 5                                     also a JSON list of such texts

Expected outputs and results never enter the sandbox: they are compared out here, so an answer can
neither read them nor bend the comparison. Assert tests must run beside the answer. There only a
random word counts, which arrives after the last test: exit, prints and leftovers prove nothing. An
answer written against this very harness can still cheat, by objects that equal everything or by
taking the word from its pipe; prefer cases and calls where a data set has them.

Calls, and tests, share one program and so its CPU limit. A case has a program of its own; all are
run, until one reaches a limit of time.
"""

import secrets
import signal
from dataclasses import dataclass
from typing import Any

from verifiers.answer import judged_part
from verifiers.code_block import last_block
from verifiers.python_harness import CALLING, LEETCODE_NAMES, TESTING, messages, reports
from verifiers.python_reference import Assertions, Calls, Cases, read_reference
from verifiers.same_output import same_text, same_value
from verifiers.sandbox import MAX_PROGRAM_BYTES, MIB, Limits, Ran, Sandbox, unavailable
from verifiers.types import Rules, Task, Verdict

LANGUAGES = ("python", "py", "python3")
MAX_OUTPUT_BYTES = 16 * MIB
SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True)
class Failure:
    reason: str
    detail: str


def python_code(task: Task, response: str) -> Verdict:
    """Correct when every case, call or test of the reference passes; ``scores`` has their share.

    ``timeout`` when the wall clock ran out before the CPU limit: the program slept, or the machine
    was busy.
    """
    reference = read_reference(task.answer)
    missing = unavailable()
    if missing:
        return Verdict(status="error", reason="no_sandbox", detail=missing)
    part = "whole" if task.rules.part == "whole" else "after_think"  # code is never boxed
    program = last_block(judged_part(response, part), LANGUAGES)
    if program is None:
        return Verdict(status="no_answer")
    if len(program.encode(errors="surrogatepass")) > MAX_PROGRAM_BYTES:
        detail = f"a program of more than {MAX_PROGRAM_BYTES} bytes"
        return Verdict(status="wrong", extracted=program, reason="too_long", detail=detail)
    with Sandbox() as sandbox:
        match reference:
            case Cases():
                failures = _run_cases(sandbox, reference, program, task.rules)
            case Calls():
                failures = _run_calls(sandbox, reference, program, task.rules)
            case Assertions():
                failures = _run_tests(sandbox, reference, program, task.rules)
    return _verdict(program, failures)


def _verdict(program: str, failures: list[Failure | None]) -> Verdict:
    scores = {"cases": failures.count(None) / len(failures)}
    first = next(filter(None, failures), None)
    if first is None:
        return Verdict(status="correct", extracted=program, scores=scores)
    return Verdict(
        status="timeout" if first.reason == "timeout" else "wrong",
        extracted=program,
        reason=first.reason,
        detail=f"case {failures.index(first) + 1} of {len(failures)}: {first.detail}",
        scores=scores,
    )


def _run_cases(
    sandbox: Sandbox, reference: Cases, program: str, rules: Rules
) -> list[Failure | None]:
    failures: list[Failure | None] = []
    pairs = list(zip(reference.inputs, reference.outputs, strict=True))
    for given, expected in pairs:
        limits = program_limits(rules, len(expected))
        ran = sandbox.run(program, given.encode(errors="surrogatepass"), limits)
        failure = how_it_failed(ran, rules) or _wrong_text(ran, expected, rules)
        failures.append(failure)
        if failure and failure.reason in ("cpu_limit", "timeout"):
            break
    return failures + [Failure("not_run", "")] * (len(pairs) - len(failures))


def _wrong_text(ran: Ran, expected: str, rules: Rules) -> Failure | None:
    printed = ran.stdout.decode(errors="replace")
    if same_text(printed, expected, strict=rules.strictness == "strict"):
        return None
    return Failure("wrong_output", f"printed {_shown(printed)}, expected {_shown(expected)}")


def _run_calls(
    sandbox: Sandbox, reference: Calls, program: str, rules: Rules
) -> list[Failure | None]:
    is_leetcode = "class Solution" in program
    stdin = messages(
        {"setup": LEETCODE_NAMES if is_leetcode else "", "program": program},
        {"function": reference.function, "arguments": reference.arguments},
    )
    limits = program_limits(rules, sum(len(str(result)) for result in reference.results))
    ran = sandbox.run(CALLING, stdin, limits)
    said = reports(ran.channel)
    by_number = {report.get("number"): report for report in said if "number" in report}
    ended = _syntax(said) or how_it_failed(ran, rules) or Failure("exit", "it ended before the end")
    failures = []
    for number, results in enumerate(reference.results):
        report = by_number.get(number)
        failures.append(_wrong_result(report, results, rules) if report else ended)
    return failures


def _wrong_result(report: dict[str, Any], results: tuple[Any, ...], rules: Rules) -> Failure | None:
    if "result" not in report:
        return _raised(report.get("problem"))
    given, strict = report["result"], rules.strictness == "strict"
    try:
        if any(same_value(given, result, strict=strict) for result in results):
            return None
    except RecursionError:
        return Failure("wrong_output", "the result is nested too deeply")
    return Failure("wrong_output", f"returned {_shown(given)}, expected {_shown(results[0])}")


def _run_tests(
    sandbox: Sandbox, reference: Assertions, program: str, rules: Rules
) -> list[Failure | None]:
    word = secrets.token_hex(16)
    stdin = messages(
        {"setup": reference.setup, "program": program},
        {"tests": reference.tests},
        {"word": word},
    )
    ran = sandbox.run(TESTING, stdin, program_limits(rules, 0))
    said = reports(ran.channel)
    proof = next((report for report in said if report.get("word") == word), {})
    problems = proof.get("problems")
    if not isinstance(problems, list) or len(problems) != len(reference.tests):
        ended = _syntax(said) or how_it_failed(ran, rules)
        return [ended or Failure("exit", "it ended before its tests")] * len(reference.tests)
    return [
        None if problem is None else _failed_test(test, problem)
        for test, problem in zip(reference.tests, problems, strict=True)
    ]


def _failed_test(test: str, problem: Any) -> Failure:
    failure = _raised(problem)
    if failure.detail == "AssertionError: ":
        return Failure("wrong_output", _clip(test) if "\n" not in test else "an assertion failed")
    return failure


def program_limits(rules: Rules, num_expected_chars: int) -> Limits:
    """An output may be much longer than the expected one before it counts as a flood."""
    return Limits(
        cpu_s=rules.code_cpu_s,
        wall_s=2 * rules.code_cpu_s + 1,
        memory_mib=rules.code_memory_mib,
        output_bytes=min(MAX_OUTPUT_BYTES, max(MIB, 4 * num_expected_chars)),
    )


def how_it_failed(ran: Ran, rules: Rules) -> Failure | None:
    """Why a program did not come to a good end; None when it did, whatever it printed."""
    last = ran.stderr.decode(errors="replace").rstrip().rpartition("\n")[2].strip()
    if ran.output_capped:
        return Failure("output_limit", "it prints without end")
    if ran.signal == signal.SIGXCPU or ran.cpu_s >= rules.code_cpu_s:
        return Failure("cpu_limit", f"more than {rules.code_cpu_s:g} s of CPU time")
    if ran.timed_out:
        return Failure("timeout", f"no end after {ran.wall_s:.1f} s, {ran.cpu_s:.1f} s of them CPU")
    if ran.exit_code == 0:
        return None
    if last.startswith("MemoryError"):
        return Failure("memory_limit", f"more than {rules.code_memory_mib} MiB")
    if ran.signal is not None:
        return Failure("exit", f"ended by signal {ran.signal}")
    if b"Traceback (most recent call last)" in ran.stderr:
        return Failure("exception", _clip(last))
    if last.startswith(("SyntaxError", "IndentationError", "TabError")):
        return Failure("syntax", _clip(last))
    return Failure("exit", f"exit code {ran.exit_code}: {_clip(last)}")


def _syntax(said: Any) -> Failure | None:
    problem = next((report["syntax"] for report in said if "syntax" in report), None)
    return None if problem is None else Failure("syntax", _clip(_told(problem)))


def _raised(problem: Any) -> Failure:
    told = _told(problem)
    kind = told.partition(":")[0]
    reason = {"MemoryError": "memory_limit", "SystemExit": "exit"}.get(kind, "exception")
    return Failure("wrong_output" if kind == "AssertionError" else reason, _clip(told))


def _told(problem: Any) -> str:
    return ": ".join(map(str, problem)) if isinstance(problem, list) else "an exception"


def _shown(value: Any) -> str:
    return _clip(repr(value))


def _clip(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
