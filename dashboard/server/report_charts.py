"""Charts of the report, as SVG text. Numbers in, markup out; every word that comes from a run is
escaped."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 560, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 34
DASHES = ("", "6 4", "2 3", "8 3 2 3")
"""Colour never speaks alone: lines of other runs are dashed too."""

Value = float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    label: str
    xs: Sequence[float]
    ys: Sequence[Value]
    low: Sequence[Value] = ()
    high: Sequence[Value] = ()
    """With ``low``: a band around it."""
    color: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """With its intervals."""

    label: str
    x: float
    y: float
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    color: int = 0
    is_base: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """From numbers to places."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str = ""
    is_share: bool = field(default=False)

    def left(self, x: float) -> float:
        low, high = self.x
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - low) / ((high - low) or 1)

    def top(self, y: float) -> float:
        low, high = self.y
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / ((high - low) or 1)


def line_chart(
    lines: Sequence[Line], *, x_label: str, zero_based: bool, is_share: bool = False
) -> str:
    """Gaps stay gaps. Empty when there is nothing to draw."""
    xs = [x for line in lines for x in line.xs]
    ys = [
        y
        for line in lines
        for values in (line.ys, line.low, line.high)
        for y in values
        if y is not None
    ]
    if not xs or not ys:
        return ""
    span = (min(0.0, *ys) if zero_based else min(ys), max(ys))
    axes = Axes(x=(min(xs), max(xs)), y=_padded(span, zero_based), x_label=x_label,
                is_share=is_share)  # fmt: skip
    body = [_band(axes, line) + _line(axes, line) for line in lines]
    return _svg(_frame(axes) + "".join(body), _legend([(line.label, line.color) for line in lines]))


def point_chart(points: Sequence[Point], *, x_label: str) -> str:
    if not points:
        return ""
    xs = [x for point in points for x in point.x_span]
    ys = [y for point in points for y in point.y_span]
    low, high = _padded((min(ys), max(ys)), False)
    axes = Axes(x=_padded((min(xs), max(xs)), False), y=(max(low, 0.0), min(high, 1.0)),
                x_label=x_label, is_share=True)  # fmt: skip
    runs = {point.color: point.label.partition(" · ")[0] for point in points}
    body = "".join(_cross(axes, point) for point in points)
    return _svg(_frame(axes) + body, _legend([(name, color) for color, name in runs.items()]))


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: a name, a number from 0 up, and what to say of it."""
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    height, label, room = 24, 150, WIDTH - 150 - 150
    parts = []
    for place, (name, value, text) in enumerate(rows):
        y, width = place * height, room * value / most
        parts.append(
            f'<text class="name" x="{label - 8}" y="{y + 16}" text-anchor="end">'
            f"{escape(name)}</text>"
            f'<rect class="bar" x="{label}" y="{y + 4}" width="{width:.1f}" height="{height - 8}"/>'
            f'<text x="{label + width + 8:.1f}" y="{y + 16}">{escape(text)}</text>'
        )
    return _svg("".join(parts), "", height=height * len(rows) + 4)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count`` of them."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def short(value: float, is_share: bool = False) -> str:
    if is_share:
        return f"{100 * value:g} %"
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / {'G': 1e9, 'M': 1e6, 'k': 1e3}[unit]:.3g}{unit}"
    return f"{value:.4g}" if size >= 1e-3 or not size else f"{value:.1e}"


def _padded(span: tuple[float, float], zero_based: bool) -> tuple[float, float]:
    low, high = span
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero_based else low - room), high + room


def _frame(axes: Axes) -> str:
    parts = []
    for y in ticks(*axes.y):
        top = axes.top(y)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>'
            f'<text class="axis" x="{LEFT - 6}" y="{top + 4:.1f}" text-anchor="end">'
            f"{short(y, axes.is_share)}</text>"
        )
    for x in ticks(*axes.x, count=6):
        parts.append(
            f'<text class="axis" x="{axes.left(x):.1f}" y="{HEIGHT - BOTTOM + 16}" '
            f'text-anchor="middle">{short(x)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">'
        f"{escape(axes.x_label)}</text>"
    )
    return "".join(parts)


def _line(axes: Axes, line: Line) -> str:
    path = _path(axes, line.xs, line.ys)
    dash = DASHES[line.color % len(DASHES)]
    style = f' stroke-dasharray="{dash}"' if dash else ""
    dots = ""
    if len(line.xs) <= 40:
        dots = "".join(
            f'<circle class="dot c{line.color % 6}" cx="{axes.left(x):.1f}" '
            f'cy="{axes.top(y):.1f}" r="2"/>'
            for x, y in zip(line.xs, line.ys, strict=True)
            if y is not None
        )
    return f'<path class="line c{line.color % 6}" d="{path}"{style}/>{dots}'


def _path(axes: Axes, xs: Sequence[float], ys: Sequence[Value]) -> str:
    parts, is_open = [], False
    for x, y in zip(xs, ys, strict=True):
        if y is not None:
            parts.append(f"{'L' if is_open else 'M'}{axes.left(x):.1f} {axes.top(y):.1f}")
        is_open = y is not None
    return "".join(parts)


def _band(axes: Axes, line: Line) -> str:
    if not line.low:
        return ""
    known = [
        (x, low, high)
        for x, low, high in zip(line.xs, line.low, line.high, strict=True)
        if low is not None and high is not None
    ]
    there = [f"{axes.left(x):.1f},{axes.top(high):.1f}" for x, _, high in known]
    back = [f"{axes.left(x):.1f},{axes.top(low):.1f}" for x, low, _ in reversed(known)]
    return f'<polygon class="band c{line.color % 6}" points="{" ".join(there + back)}"/>'


def _cross(axes: Axes, point: Point) -> str:
    x, y, color = axes.left(point.x), axes.top(point.y), point.color % 6
    spans = (
        f'<line class="span c{color}" x1="{axes.left(point.x_span[0]):.1f}" '
        f'x2="{axes.left(point.x_span[1]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<line class="span c{color}" x1="{x:.1f}" x2="{x:.1f}" '
        f'y1="{axes.top(point.y_span[0]):.1f}" y2="{axes.top(point.y_span[1]):.1f}"/>'
    )
    mark: Callable[[str], str] = lambda kind: f'class="{kind} c{color}"'  # noqa: E731
    shape = (
        f'<rect {mark("base")} x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        if point.is_base
        else f'<circle {mark("dot")} cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    )
    return f"<g><title>{escape(point.label)}</title>{spans}{shape}</g>"


def _legend(named: Sequence[tuple[str, int]]) -> str:
    if len(named) < 2:
        return ""
    items = "".join(
        f'<li><svg width="22" height="8"><path class="line c{color % 6}" d="M0 4L22 4" '
        f'stroke-dasharray="{DASHES[color % len(DASHES)]}"/></svg>{escape(name)}</li>'
        for name, color in named
    )
    return f'<ul class="legend">{items}</ul>'


def _svg(body: str, legend: str, height: int = HEIGHT) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img">{body}</svg>{legend}'
