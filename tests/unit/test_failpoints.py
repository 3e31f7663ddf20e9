import os
import signal
import subprocess
import sys

import pytest

from configs import failpoints
from configs.errors import UserError
from configs.failpoints import FIRED_DIR, SPECS, failpoint, parse


@pytest.fixture(autouse=True)
def fresh():
    failpoints._faults.cache_clear()
    yield
    failpoints._faults.cache_clear()


def test_nothing_happens_unless_it_is_asked_for(monkeypatch):
    monkeypatch.delenv(SPECS, raising=False)
    failpoint("queue.append")
    monkeypatch.setenv(SPECS, "recorder.sealed=raise")
    failpoint("queue.append")


def test_it_fires_from_the_first_to_the_last_time_it_was_asked_for(monkeypatch):
    monkeypatch.setenv(SPECS, "queue.append=enospc*2@3")

    def fails():
        try:
            failpoint("queue.append")
        except OSError as error:
            return error.errno
        return None

    assert [fails() for _ in range(6)] == [None, None, 28, 28, None, None]


def test_with_a_folder_it_never_fires_twice(monkeypatch, tmp_path):
    monkeypatch.setenv(SPECS, "learner.stepped=raise")
    monkeypatch.setenv(FIRED_DIR, str(tmp_path))
    with pytest.raises(RuntimeError, match=r"learner\.stepped"):
        failpoint("learner.stepped")

    failpoints._faults.cache_clear()  # the process that was started anew
    failpoint("learner.stepped")


def test_a_process_is_killed_where_it_stands():
    program = "from configs.failpoints import failpoint; failpoint('engine.swap'); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {SPECS: "engine.swap=kill"},
        capture_output=True,
    )

    assert done.returncode == -signal.SIGKILL
    assert done.stdout == b""


@pytest.mark.parametrize(
    "specs", ["nowhere=kill", "queue.append=explode", "queue.append=kill@x", "queue.appended=eio"]
)
def test_an_unknown_fault_is_refused(specs):
    with pytest.raises(UserError, match="LACONIC_FAILPOINTS"):
        parse(specs)
