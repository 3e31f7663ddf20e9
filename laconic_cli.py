"""The ``laconic`` command. It makes sure that our packages are ours before it imports any of them.

PyPI has packages called ``verifiers``, ``actors``, ``cluster`` …; a console script puts its own
folder first on the path, so with one of those installed it would win.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def put_root_first() -> None:
    """For this process and for every process that it starts."""
    root = str(ROOT)
    sys.path[:] = [root, *(entry for entry in sys.path if entry != root)]
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    others = [entry for entry in inherited if entry != root]
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *others])


def main() -> None:
    put_root_first()
    from cluster.main import main as run  # noqa: PLC0415  after the path is right

    run()


if __name__ == "__main__":
    main()
