"""``python -m dashboard.server RUN…``: the page over run directories, until it is stopped."""

import argparse
import sys
from pathlib import Path

from configs.errors import UserError
from dashboard.server.serve import Wanted, serve


def main(arguments: list[str] | None = None) -> None:
    try:
        serve(_wanted(arguments))
    except UserError as error:
        print(f"laconic: {error}", file=sys.stderr)
        sys.exit(2)


def _wanted(arguments: list[str] | None) -> Wanted:
    parser = argparse.ArgumentParser(prog="laconic dashboard", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--root-path", default="")
    parser.add_argument("--token", action="store_true")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--unsafe-no-auth", action="store_true")
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--memory-gib", type=float, default=1.0)
    parser.add_argument("--no-sql", action="store_true")
    parser.add_argument("--no-open", action="store_true")
    return Wanted(
        **{
            **vars(parser.parse_args(arguments)),
        }
    )


if __name__ == "__main__":
    main()
