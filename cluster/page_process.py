"""``python -m cluster.page_process PARENT ARGUMENTS…``: a run's page as a process that yields to
everybody, and that is gone when the run's process is."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from verifiers.parent import die_with_parent

NICE = 19
"""Ray runs its workers, so all that trains, at 15: less than that would not yield to them."""

FIRST_TO_GO = "1000"
"""When memory is short the kernel ends the page before anything that trains."""


def main() -> None:
    parent, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    os.nice(NICE)
    for file, value in (("oom_score_adj", FIRST_TO_GO), ("autogroup", str(NICE))):
        with suppress(OSError):  # not everywhere there is such a file
            Path("/proc/self", file).write_text(value)
    from dashboard.server.__main__ import main as serve  # noqa: PLC0415  slow: after the above

    serve(arguments)


if __name__ == "__main__":
    main()
