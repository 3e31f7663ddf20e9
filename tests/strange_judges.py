"""Verifiers that misbehave, loaded into judge processes by the tests of the pool."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from verifiers.types import Task, Verdict


def hangs(task: Task, response: str) -> Verdict:
    while True:
        pass


def hangs_with_a_child(task: Task, response: str) -> Verdict:
    """Leaves its child's process id in the file that the reference names."""
    child = subprocess.Popen(["sleep", "600"])
    Path(task.answer).write_text(str(child.pid))
    time.sleep(600)
    return Verdict(status="correct")


def sleeps(task: Task, response: str) -> Verdict:
    time.sleep(float(response))
    return Verdict(status="correct")


def crashes(task: Task, response: str) -> Verdict:
    os.kill(os.getpid(), signal.SIGSEGV)
    return Verdict(status="correct")


def leaves(task: Task, response: str) -> Verdict:
    sys.exit("enough of this")


def raises(task: Task, response: str) -> Verdict:
    raise KeyError("a bug of the verifier")


def says_true(task: Task, response: str) -> bool:
    return True


def chatters(task: Task, response: str) -> Verdict:
    """Writes to, and reads from, what would be the conversation with the parent."""
    sys.stdout.write('{"status": "correct"}\n' * 100)
    sys.stdout.flush()
    os.write(1, b"garbage\n")
    return Verdict(status="wrong", extracted=sys.stdin.read())


def runs_out_of_memory(task: Task, response: str) -> Verdict:
    bytearray(1 << 40)
    return Verdict(status="correct")


def swallows_its_memory_error(task: Task, response: str) -> Verdict:
    """As sympy does: it fails to compute, and calls the answer wrong."""
    hoard = []
    try:
        while True:
            hoard.append(bytearray(1 << 20))
    except MemoryError:
        return Verdict(status="wrong")


def tells(task: Task, response: str) -> Verdict:
    facts = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "environment": sorted(os.environ),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
    }
    return Verdict(status="correct", extracted=json.dumps(facts))
