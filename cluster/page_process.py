"""``python -m cluster.page_process PARENT ARGUMENTS…``: a run's page as a process that yields to
everybody, and that is gone when the run's process is."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from verifiers.parent import die_with_parent

NICE = 10
FIRST_TO_GO = "1000"
"""When memory is short the kernel ends the page before anything that trains."""


def main() -> None:
    parent, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    os.nice(NICE)
    with suppress(OSError):  # there is no such file outside Linux
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    from dashboard.server.__main__ import main as serve  # noqa: PLC0415  slow: after the above

    serve(arguments)


if __name__ == "__main__":
    main()
