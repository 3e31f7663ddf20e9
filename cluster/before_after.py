"""The demo's last word: what the run changed, in one table."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show(summary: dict[str, Any], run_dir: Path) -> None:
    before, after = summary["before"], summary["after"]
    table = Table(title=f"{before['problems']} held-out problems, {summary['steps']} steps")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("mean tokens", justify="right")
    for label, result in (("before", before), ("after", after)):
        low, high = result["accuracy_ci"]
        table.add_row(
            label,
            f"{100 * result['accuracy']:.1f} %",
            f"{100 * low:.1f} to {100 * high:.1f}",
            f"{result['mean_tokens']:.1f}",
        )
    change = 100 * (after["mean_tokens"] / before["mean_tokens"] - 1)
    console = Console()
    console.print(table)
    console.print(
        f"Mean tokens {change:+.0f} %. The made model's teacher is wordy and slips on purpose, so "
        f"that there is something to shorten and to mend: read the effect, not the size.",
        soft_wrap=True,
    )
    console.print(f"Run directory: {run_dir}", soft_wrap=True)
