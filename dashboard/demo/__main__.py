"""``python -m dashboard.demo FOLDER``, for who has only the page."""

import argparse
import sys
from pathlib import Path

from configs.errors import UserError
from dashboard.demo.write import write_demo


def main() -> None:
    parser = argparse.ArgumentParser(prog="dashboard.demo")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rollouts", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hostile", action="store_true")
    given = parser.parse_args()
    try:
        write_demo(
            given.folder, given.rollouts, seed=given.seed, hostile=given.hostile,
            report=lambda line: print(line, file=sys.stderr),
        )  # fmt: skip
    except UserError as error:
        sys.exit(f"laconic: {error}")


if __name__ == "__main__":
    main()
