import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = """
import os, sys, time
from actors.orphan import exit_with
exit_with(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
"""

OWNER = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
time.sleep(60)
"""


def _runs(process: int) -> bool:
    """A zombie whose new parent never looks has ended too."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_ends_when_its_owner_is_killed_and_not_before():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, CHILD], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    time.sleep(0.05)
    assert _runs(child)

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    deadline = time.monotonic() + 30
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
