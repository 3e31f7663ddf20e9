import subprocess
import sys
from pathlib import Path

import pytest

from actors.one_writer import LOCK, InUse, hold

HOLDER = """
import sys, time
from pathlib import Path
from actors.one_writer import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.row(25)
def test_who_is_late_is_told_by_whom_it_is_held_and_may_have_it_once_that_is_dead(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"

        with pytest.raises(InUse, match=f"written by process {holder.pid}"):
            hold(tmp_path, wait_s=0.2)

        holder.kill()
        hold(tmp_path, wait_s=10)
        hold(tmp_path)
    assert (tmp_path / LOCK).read_text() != str(holder.pid)
