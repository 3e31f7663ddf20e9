"""Plots as PNG and SVG. Names come from data: nothing in them is read as markup."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.hashsalt": "laconic",  # the same figures give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
}
MARKERS = "osD^vP*X<>"
LABEL = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One model, or one way to decode it."""

    label: str
    tokens: float
    tokens_ci: tuple[float, float]
    accuracy: float
    accuracy_ci: tuple[float, float]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other is at least as right as with fewer tokens, the cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.tokens, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def pareto_plot(points: Sequence[Point], stem: Path, title: str) -> list[Path]:
    with _figure(stem, "mean tokens per response", "accuracy (%)", title) as (axes, files):
        front = pareto_front(points)
        axes.step(
            [p.tokens for p in front], [100 * p.accuracy for p in front], where="post",
            color="0.6", linewidth=1, zorder=1,
        )  # fmt: skip
        for number, point in enumerate(points):
            x, y = point.tokens, 100 * point.accuracy
            axes.errorbar(
                x, y,
                xerr=[[max(0.0, x - point.tokens_ci[0])], [max(0.0, point.tokens_ci[1] - x)]],
                yerr=[
                    [max(0.0, y - 100 * point.accuracy_ci[0])],
                    [max(0.0, 100 * point.accuracy_ci[1] - y)],
                ],
                marker=MARKERS[number % len(MARKERS)], color=f"C{number % 10}", linestyle="",
                elinewidth=0.8, capsize=2, label=shown(point.label), zorder=2,
            )  # fmt: skip
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return files


def budget_plot(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], stem: Path, title: str
) -> list[Path]:
    """Accuracy under a hard token budget, with its interval."""
    with _figure(stem, "token budget", "accuracy within it (%)", title) as (axes, files):
        for number, (label, curve) in enumerate(curves.items()):
            budgets = [row["budget"] for row in curve]
            axes.plot(
                budgets, [100 * row["accuracy"] for row in curve],
                color=f"C{number % 10}", marker=".", label=shown(label),
            )  # fmt: skip
            axes.fill_between(
                budgets,
                [100 * row["ci"][0] for row in curve],
                [100 * row["ci"][1] for row in curve],
                color=f"C{number % 10}", alpha=0.15, linewidth=0,
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8, frameon=False)
    return files


def length_plot(sets: Mapping[str, Mapping[str, Any]], stem: Path, title: str) -> list[Path]:
    with _figure(stem, "tokens of a response", "share of responses (%)", title) as (axes, files):
        for number, (label, found) in enumerate(sets.items()):
            counts, edges = found["lengths"], found["length_edges"]
            shares = [100 * count / sum(counts) for count in counts]
            axes.stairs(shares, edges, color=f"C{number % 10}", label=shown(label), fill=False)
        axes.legend(fontsize=8, frameon=False)
    return files


def calibration_plot(
    found: Mapping[str, Sequence[Mapping[str, Any]]], stem: Path, title: str
) -> list[Path]:
    """Accuracy over confidence; the size of a dot is the number of its responses."""
    with _figure(stem, "confidence", "accuracy", title) as (axes, files):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        for number, (label, bins) in enumerate(found.items()):
            most = max(row["count"] for row in bins)
            axes.scatter(
                [row["confidence"] for row in bins], [row["accuracy"] for row in bins],
                s=[10 + 90 * row["count"] / most for row in bins],
                color=f"C{number % 10}", label=shown(label), alpha=0.8,
            )  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.legend(fontsize=8, frameon=False)
    return files


def shown(label: str) -> str:
    """One short line of printable characters; a leading underscore would hide it."""
    clean = "".join(c if c.isprintable() else " " for c in label).lstrip("_") or "?"
    return clean if len(clean) <= LABEL else clean[: LABEL - 1] + "…"


@contextmanager
def _figure(stem: Path, x: str, y: str, title: str) -> Iterator[tuple[Axes, list[Path]]]:
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.2), dpi=150)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_title(shown(title), fontsize=10)
        yield axes, files
        for file in files:
            figure.savefig(file, bbox_inches="tight", metadata=_undated(file))


def _undated(file: Path) -> dict[str, Any]:
    return {"Date": None} if file.suffix == ".svg" else {}
