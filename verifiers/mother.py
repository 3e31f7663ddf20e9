"""The process that judge processes are forked from: it has imported what they need, they start in
milliseconds, and they share its memory.

Started by ``verifiers.nursery`` and asked over a socket of packets; it parses nothing that a model
wrote. What it forked it reaps only when told to, so that a process id stays that process's own.
"""

import gc
import json
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from verifiers.judging import judged
from verifiers.parent import die_with_parent
from verifiers.types import Rules, Task
from verifiers.worker import serve

MAX_REQUEST_BYTES = 1000

USUAL = (
    (r"\frac{1}{2}x^2", r"x^2 - \frac{x^2}{2}"),
    (r"\frac{3}{7}", r"\frac{6}{14}"),
    (r"\sqrt{8}", r"2\sqrt{2} + 1"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3, 2\pi)"),
    (r"x^2+2x+1", r"(x+1)^2"),
    (r"[0, 1) \cup (2, \infty)", r"(-\infty, 1]"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"1, -2, 3i", r"3i, 1"),
    (r"y = 2x + 3", r"y - 2x = 3"),
    (r"\sin^2 x", r"1 - \cos^2 x"),
)
"""Mathematics of the usual kinds: a judge process that has just been forked is as quick as any."""


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    memory_mib, parent = int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(parent)
    rules = _rules(sys.argv[4])
    _warm_up()
    gc.freeze()  # a collection in a child would copy every page
    control.send(json.dumps({"ready": True}).encode())
    while True:
        request, fds, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 3)
        if not request:  # every judge is dead by now, or dies with this process
            with suppress(ChildProcessError):
                while True:
                    os.wait()
            return
        asked = json.loads(request)
        if asked["what"] == "fork":
            reply = {"pid": _fork(control, fds, memory_mib, rules)}
        else:
            reply = {"code": os.waitstatus_to_exitcode(os.waitpid(asked["pid"], 0)[1])}
        control.send(json.dumps(reply).encode())


def _fork(control: socket.socket, fds: list[int], memory_mib: int, rules: Rules) -> int:
    """A judge process whose standard streams are these."""
    mother = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_a_judge(control, fds, memory_mib, rules, mother)
    for fd in fds:
        os.close(fd)
    return pid


def _be_a_judge(
    control: socket.socket, fds: list[int], memory_mib: int, rules: Rules, mother: int
) -> None:
    """Never returns: not into the mother's loop, whatever a judge raises."""
    code = 1
    try:
        control.close()
        for stream, fd in enumerate(fds):
            os.dup2(fd, stream)
            os.close(fd)
        os.setsid()
        die_with_parent(mother)
        serve(memory_mib, rules)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr, flush=True)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def _warm_up() -> None:
    """Pay for the imports, the parser's tables and the caches now, once for all."""
    judged("verifiers.json_value:json_value", Task(answer="1"), "1")
    for answer, response in USUAL:
        judged("verifiers.math_answer:math_answer", Task(answer=answer), rf"\boxed{{{response}}}")


def _rules(given: str) -> Rules:
    values: dict[str, Any] = json.loads(given)
    values["guards"] = tuple(values["guards"])
    return Rules(**values)


if __name__ == "__main__":
    main()
