"""What a judge process does: JSON lines in, JSON lines out, until its input ends or it is killed.

It runs what parses model text, so it gives up what it does not need before it reads a line.
"""

import json
import os
import resource
import sys
from dataclasses import asdict
from typing import Any

from verifiers.judging import judged
from verifiers.types import Rules, Task, Verdict

MIB = 1024 * 1024
MAX_FILE_BYTES = MIB
MAX_OPEN_FILES = 64
SLOW_MS = 20.0
"""A faster verdict cannot have filled the memory."""


def serve(memory_mib: int, rules: Rules) -> None:
    """Runs in a process of its own, forked by ``verifiers.mother``."""
    _limit(memory_mib)
    requests, replies = _private_pipes()
    room = _Room(memory_mib)
    replies.write(b'{"ready": true}\n')
    replies.flush()
    for line in requests:
        path, answer, prompt, response = json.loads(line)
        task = Task(answer=answer, prompt=prompt, rules=rules)
        reply = _answer(path, task, response, room)
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()
        if reply["retire"]:
            return


def _limit(memory_mib: int) -> None:
    needed = _memory_bytes("VmSize")
    if needed >= memory_mib * MIB:
        sys.exit(f"judge.memory_mib {memory_mib} is below the {needed // MIB} MiB it starts with")
    for kind, wanted in (
        (resource.RLIMIT_AS, memory_mib * MIB),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))


def _private_pipes() -> tuple[Any, Any]:
    """Our ends of the conversation, where a verifier that prints or reads cannot reach them."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    return requests, replies


class _Room:
    """Tells whether memory ran short. Math libraries swallow MemoryError, and what they say after
    it is not a verdict."""

    def __init__(self, memory_mib: int) -> None:
        before = _memory_bytes("VmPeak")
        self._alarm = before + (memory_mib * MIB - before) // 3  # a table that doubles stops there

    def ran_short(self) -> bool:
        return _memory_bytes("VmPeak") > self._alarm


def _memory_bytes(what: str) -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def _answer(path: str, task: Task, response: str, room: _Room) -> dict[str, Any]:
    short = False
    try:
        verdict = judged(path, task, response)
    except MemoryError:
        short = True
        verdict = Verdict(status="error")
    short = short or (verdict.ms > SLOW_MS and room.ran_short())
    if short and verdict.status != "correct":
        detail = "the judge process ran out of memory"
        verdict = Verdict(status="error", detail=detail, ms=verdict.ms)
    return asdict(verdict) | {"retire": short}
