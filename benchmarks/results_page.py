"""``docs/results.md`` from what the experiments wrote; no number is typed by hand.

    python -m benchmarks.results_page [FILE.json …] > docs/results.md

The files are ``runs/methods/methods.json`` and ``runs/ablations/ablations.json`` unless it is told.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ablations import ablations
from benchmarks.arms import Arm, verdicts
from benchmarks.methods import methods

HEAD = """# Results

Made by `python -m benchmarks.results_page` from what the experiments wrote; no number is typed by
hand. All are of `tiny`, the made model: its teacher is wordy and slips on purpose, so that there is
something to shorten and to mend. Read what beats what, not how large an effect is.

Accuracy and tokens are means over seeds on the same held-out problems, at temperature 1 unless the
arm says otherwise, with the 95 % interval over seeds and problems; seconds are of one seed's
command, its start included. Trained and written are tokens of one seed: what the loss counted, and
what was generated to learn from.
"""

TITLES = {
    "methods": ("Methods", methods),
    "ablations": ("Ablations of On-Policy SFT", ablations),
}
COLUMNS = (
    "| arm | accuracy, % | tokens | cut off, % | seconds | trained | written |\n"
    "|---|---|---|---|---|---|---|"
)


def page(files: Sequence[Path]) -> str:
    found = {path.stem: json.loads(path.read_text()) for path in files if path.is_file()}
    parts = [HEAD]
    for name, (title, arms) in TITLES.items():
        parts.append(f"## {title}\n")
        parts.append(_section(found[name], arms()) if name in found else _nothing(name))
    return "\n".join(parts)


def _section(found: dict[str, Any], arms: Sequence[Arm]) -> str:
    rows = found["rows"]
    seeds = sorted({row["seeds"] for row in rows})
    missing = [arm.name for arm in arms if arm.name not in {row["arm"] for row in rows}]
    lines = [
        f"`{found['command']}`, {found['date']}, {found['machine']}; "
        f"{rows[0]['problems']} problems, {' or '.join(map(str, seeds))} seeds.\n",
        COLUMNS,
        *map(_row, rows),
        "",
        *(f"* {line}" for line in verdicts(rows)),
    ]
    if missing:
        lines.append(f"* Not run: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    low, high = (100 * end for end in row["accuracy_ci"])
    least, most = row["tokens_ci"]
    learned = (
        f"{row['trained_tokens']:,.0f} | {row['generated_tokens']:,.0f}"
        if row["kind"] == "train"
        else "– | –"
    )
    return (
        f"| {row['arm']} | {100 * row['accuracy']:.1f} [{low:.1f}, {high:.1f}] "
        f"| {row['tokens']:.1f} [{least:.1f}, {most:.1f}] | {100 * row['truncated']:.1f} "
        f"| {row['seconds']:.0f} | {learned} |"
    )


def _nothing(name: str) -> str:
    return f"Not run yet: `python -m benchmarks.{name} --seeds 3`.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    default = [Path(f"runs/{name}/{name}.json") for name in TITLES]
    parser.add_argument("files", nargs="*", type=Path, default=default)
    print(page(parser.parse_args().files), end="")


if __name__ == "__main__":
    main()
