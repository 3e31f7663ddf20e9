"""Faults on purpose, at places where a process may die: for tests, and inert unless set.

``LACONIC_FAILPOINTS="learner.stepped=kill@3,queue.append=enospc*5"`` kills the process that comes
to ``learner.stepped`` for the third time, and lets the next five writes of the queue find the disk
full. Counted in each process by itself; with ``LACONIC_FAILPOINTS_DIR`` set to a folder, a point
that has fired there never fires again, whatever is restarted.
"""

import errno
import os
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.errors import UserError

SPECS, FIRED_DIR = "LACONIC_FAILPOINTS", "LACONIC_FAILPOINTS_DIR"

POINTS = {
    "queue.append": "before a record is written to the queue's log",
    "queue.appended": "after it is on disk, before anybody is told",
    "judge.judged": "a group has its verdicts, and the queue has not seen it",
    "recorder.sealed": "a Parquet file is written, and its manifest does not name it yet",
    "recorder.compacted": "small Parquet files are merged, and its manifest does not say so yet",
    "learner.stepped": "after the optimizer step, before the queue hears of it",
    "learner.saving": "before each file of a checkpoint",
    "learner.saved": "the learner's files of a checkpoint are there, its manifest is not",
    "learner.publishing": "before the weights are gathered",
    "checkpoint.manifest": "before the manifest is written",
    "checkpoint.rename": "before the folder gets its name",
    "checkpoint.latest": "before LATEST is replaced",
    "checkpoint.prune": "before older checkpoints are removed",
    "engine.swap": "before an engine takes new weights",
}
"""Every place that can fail on purpose."""

ERRORS = {"enospc": errno.ENOSPC, "eio": errno.EIO}
ACTIONS = ("kill", "stop", "raise", *ERRORS)
AFTER, DONE = ("queue.appended",), ("kill", "stop")
"""Where something is done already, an error would be a lie: there a process can only go."""


@dataclass(slots=True)
class _Fault:
    action: str
    first: int
    times: int
    hits: int = 0


def failpoint(name: str) -> None:
    """Fail here if somebody asked for it."""
    if SPECS not in os.environ:
        return
    assert name in POINTS, name
    fault = _faults().get(name)
    if fault is None:
        return
    fault.hits += 1
    if fault.first <= fault.hits < fault.first + fault.times and _may_fire(name, fault):
        _fail(name, fault.action)


def parse(specs: str) -> dict[str, _Fault]:
    """``name=action[*times][@first]``, separated by commas."""
    faults = {}
    for spec in filter(None, specs.split(",")):
        name, _, rest = spec.strip().partition("=")
        rest, _, first = rest.partition("@")
        action, _, times = rest.partition("*")
        counts = (first or "1", times or "1")
        is_fault = name in POINTS and action in (DONE if name in AFTER else ACTIONS)
        if not is_fault or not all(map(str.isdigit, counts)):
            raise UserError(
                f"{SPECS}={spec!r} is no name=action[*times][@first]; names: {', '.join(POINTS)}; "
                f"actions: {', '.join(ACTIONS)}"
            )
        faults[name] = _Fault(action, int(counts[0]), int(counts[1]))
    return faults


@cache
def _faults() -> dict[str, _Fault]:
    return parse(os.environ[SPECS])


def _may_fire(name: str, fault: _Fault) -> bool:
    folder = os.environ.get(FIRED_DIR)
    if folder is None:
        return True
    try:
        (Path(folder) / f"{name}-{fault.hits - fault.first}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _fail(name: str, action: str) -> None:
    if action in ERRORS:
        code = ERRORS[action]
        raise OSError(code, f"{os.strerror(code)} (failpoint {name})")
    if action == "raise":
        raise RuntimeError(f"failpoint {name}")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
    time.sleep(3600)  # the signal is on its way
