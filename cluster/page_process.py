"""``python -m cluster.page_process PARENT ARGUMENTS…``: a run's page as a process that yields to
everybody, and that is gone when the run's process is."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from verifiers.parent import die_with_parent

NICE = 19
"""Ray runs its workers, so all that trains, at 15: less than that would not yield to them."""

NICE_AT_FIRST = 10
"""While it imports, for a second or two: on a busy machine it would else never begin."""

FIRST_TO_GO = "1000"
"""When memory is short the kernel ends the page before anything that trains."""


def main() -> None:
    parent, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    with suppress(OSError):  # there is no such file outside Linux
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    os.nice(NICE_AT_FIRST)
    from dashboard.server.__main__ import main as serve  # noqa: PLC0415  slow: after the above

    os.nice(NICE - NICE_AT_FIRST)  # before there is another thread, which has its own
    serve(arguments)


if __name__ == "__main__":
    main()
