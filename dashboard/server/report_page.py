"""The report as HTML: sections of tables and charts, one style sheet, no script and no address."""

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from dashboard.server.report_charts import Line, Point, bars, line_chart, point_chart

if TYPE_CHECKING:
    from dashboard.server.report import Report

Answer = dict[str, Any]

STYLE = """
:root{color-scheme:light dark;--canvas:#f6f7f8;--surface:#fff;--line:#d9dee3;--ink:#1b232b;
--ink2:#47525d;--ink3:#5f6a75;--bad:#c25500;--c0:#00629b;--c1:#00825f;--c2:#c25500;--c3:#b4608f;
--c4:#a97100;--c5:#66717c}
@media(prefers-color-scheme:dark){:root{--canvas:#11161b;--surface:#181e24;--line:#303942;
--ink:#e4e8ec;--ink2:#b4bdc6;--ink3:#8c97a2;--bad:#d55e00;--c0:#6cbef0;--c1:#009e73;--c2:#d55e00;
--c3:#cc79a7;--c4:#e69f00;--c5:#8c97a2}}
*{box-sizing:border-box}body{margin:0;background:var(--canvas);color:var(--ink);
font:13px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1200px;margin:0 auto;padding:24px 16px}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:32px 0 8px}h3{font-size:13px;margin:0 0 4px}
h1,h2,h3{font-weight:600}p{margin:4px 0 12px;color:var(--ink2);max-width:76ch}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:16px}
.card{background:var(--surface);border:1px solid var(--line);border-radius:4px;padding:12px;
min-width:0;overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:4px 12px 4px 0;
border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--ink2);white-space:nowrap}
th:first-child,td:first-child,.words td,.words th{text-align:left}
td:last-child,th:last-child{padding-right:0}td bdi{overflow-wrap:anywhere}
.words td bdi{white-space:nowrap}.words td:nth-child(3) bdi{white-space:normal}
.note{display:inline-block;border:1px solid var(--bad);color:var(--bad);border-radius:4px;
padding:2px 8px;font-weight:600}
svg.chart{width:100%;max-width:760px;height:auto;display:block}
svg text{fill:var(--ink2);font-size:12px}
svg .axis{fill:var(--ink3);font-size:11px}svg .name{fill:var(--ink)}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.5}.span{stroke-width:1;opacity:.6}
.base{fill:var(--surface);stroke-width:2}.bar{fill:var(--c0)}.band{opacity:.16}
.line.c0,.span.c0,.base.c0{stroke:var(--c0)}.dot.c0,.band.c0{fill:var(--c0)}
.line.c1,.span.c1,.base.c1{stroke:var(--c1)}.dot.c1,.band.c1{fill:var(--c1)}
.line.c2,.span.c2,.base.c2{stroke:var(--c2)}.dot.c2,.band.c2{fill:var(--c2)}
.line.c3,.span.c3,.base.c3{stroke:var(--c3)}.dot.c3,.band.c3{fill:var(--c3)}
.line.c4,.span.c4,.base.c4{stroke:var(--c4)}.dot.c4,.band.c4{fill:var(--c4)}
.line.c5,.span.c5,.base.c5{stroke:var(--c5)}.dot.c5,.band.c5{fill:var(--c5)}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:8px 0 0;padding:0}
.legend svg{margin-right:6px;vertical-align:middle}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:12px;overflow-wrap:anywhere}
@media print{body{background:#fff}.card{break-inside:avoid}}
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(report: "Report", charts: Sequence[tuple[str, str, bool]]) -> str:
    """``charts``: of the metrics a name, a title, and whether its axis begins at 0."""
    title = "Laconic: " + ", ".join(report.runs)
    sections = [_head(report)]
    if report.compare is not None:
        sections.append(_compared(report.compare))
    sections += [_pareto(report), _curves(report, charts)]
    for name in report.runs:
        sections.append(_run(name, report.by_run[name], is_alone=len(report.runs) == 1))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(report: "Report") -> str:
    infos = [report.by_run[name]["overview"]["info"] for name in report.runs]
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    note = '<p><span class="note">synthetic: nobody ran this</span></p>'
    return f"<h1>{_text(', '.join(report.runs))}</h1><p>Written by laconic report, {made}.</p>" + (
        note if any(info["synthetic"] for info in infos) else ""
    )


def _compared(compare: Answer) -> str:
    runs = [run["name"] for run in compare["runs"]]
    rows = []
    for row in compare["outcome"]:
        cells = [
            _said(value, row["unit"]) + (f" ({word})" if word and word != "same" else "")
            for value, word in zip(row["values"], row["words"], strict=True)
        ]
        rows.append([row["label"], *cells])
    keys = [[row["key"], *(_or_none(value) for value in row["values"])]
            for row in compare["config"] if row["differs"] and row["key"] != "name"]  # fmt: skip
    return (
        f"<h2>Compared with {_text(compare['baseline'])}</h2>"
        + _card(_table(["", *runs], rows))
        + (f"<h3>Settings that differ</h3>{_card(_table(['', *runs], keys))}" if keys else "")
    )


def _pareto(report: "Report") -> str:
    color = {name: place for place, name in enumerate(report.runs)}
    points = [
        Point(
            label=f"{point['run']} · {point['label']}: {100 * point['accuracy']:.1f} %, "
            f"{point['tokens']:.1f} tokens",
            x=point["tokens"],
            y=point["accuracy"],
            x_span=(point["tokens_low"], point["tokens_high"]),
            y_span=(point["accuracy_low"], point["accuracy_high"]),
            color=color.get(point["run"], 5),
            is_base=point["kind"] == "base",
        )
        for point in report.pareto["points"]
    ]
    words = "Each mark is a checkpoint, the open square the model before training, with 95 % "
    words += "bootstrap intervals over problems. Up and to the left is better."
    chart = point_chart(points, x_label="mean tokens of an answer")
    empty = "<p>No evaluation was recorded: set data.heldout.</p>"
    return f"<h2>Accuracy and length</h2><p>{words}</p>" + (_card(chart) if chart else empty)


def _curves(report: "Report", charts: Sequence[tuple[str, str, bool]]) -> str:
    cards = []
    for name, title, zero_based in charts:
        lines = [
            Line(label=series["run"], xs=series["step"], ys=series["columns"][name], color=place)
            for place, series in enumerate(report.metrics["series"])
            if name in series["columns"]
        ]
        drawn = line_chart(lines, x_label="optimizer step", zero_based=zero_based,
                           is_share=name == "accept_rate")  # fmt: skip
        if drawn:
            cards.append(_card(f"<h3>{_text(title)}</h3>{drawn}"))
    return f'<h2>Training</h2><div class="grid2">{"".join(cards)}</div>' if cards else ""


def _run(name: str, answers: dict[str, Answer], *, is_alone: bool) -> str:
    parts = [] if is_alone else [f"<h2>{_text(name)}</h2>"]
    parts.append(f'<h2>What became of rollouts</h2><div class="grid2">{_funnel(answers["funnel"])}')
    parts.append(f"{_lengths(answers['lengths'])}</div>")
    parts.append(_evaluations(answers["evals"]))
    parts.append(_alarms(answers["health"]["alarms"]))
    command = answers["config"]["command"]
    parts.append(f"<h2>Command</h2>{_card(f'<code>{_text(command)}</code>')}")
    return "".join(parts)


def _funnel(funnel: Answer) -> str:
    stages = funnel["stages"]
    whole = stages[0]["rollouts"] or 1
    rows = [
        (
            row["label"],
            row["rollouts"],
            f"{row['rollouts']:,} ({100 * row['rollouts'] / whole:.1f} %)",
        )
        for row in stages
    ]
    reasons = [
        [row["reason"].replace("_", " "), f"{row['rollouts']:,}", f"{row['tokens']:,}"]
        for row in funnel["reasons"]
    ]
    return _card(f"<h3>Rollouts by stage</h3>{bars(rows)}") + _card(
        "<h3>Why rollouts were rejected</h3>" + _table(["Reason", "Rollouts", "Tokens"], reasons)
    )


def _lengths(lengths: Answer) -> str:
    xs = [(first + last) / 2 for first, last in lengths["versions"]]
    middle = Line(label="median, 10 % to 90 %", xs=xs, ys=lengths["p50"], low=lengths["p10"],
                  high=lengths["p90"])  # fmt: skip
    budget = Line(label="length budget", xs=xs, ys=lengths["budget_max"], color=2)
    drawn = line_chart([middle, budget], x_label="weight version", zero_based=True)
    return _card(f"<h3>Tokens of a rollout, all generated ones</h3>{drawn}") if drawn else ""


def _evaluations(evals: Answer) -> str:
    if not evals["rows"]:
        return ""
    rows = [
        [
            row["label"],
            f"{row['version']}",
            f"{_percent(row['pass_at_1'])} "
            f"[{_percent(row['pass_low'])}, {_percent(row['pass_high'])}]",
            "n/a" if row["maj_at_k"] is None else _percent(row["maj_at_k"]),
            f"{row['mean_tokens']:.1f} [{row['tokens_low']:.1f}, {row['tokens_high']:.1f}]",
            f"{row['p90_tokens']:.0f}",
            _percent(row["truncated"]),
            f"{row['problems']} × {row['samples']}",
        ]
        for row in evals["rows"]
    ]
    names = ["Evaluation", "Version", "pass@1 %", "maj@k %", "Mean tokens", "p90", "Cut off %",
             "Problems"]  # fmt: skip
    return f"<h2>Evaluations</h2>{_card(_table(names, rows))}"


def _alarms(alarms: Sequence[Answer]) -> str:
    if not alarms:
        return "<h2>Alarms</h2><p>None.</p>"
    rows = [
        [
            alarm["level"],
            alarm["title"],
            alarm["text"],
            _time(alarm["since_us"]),
            "still so" if alarm["until_us"] is None else _time(alarm["until_us"]),
        ]
        for alarm in alarms
    ]
    table = _table(["Level", "What", "How bad", "Since (UTC)", "Until"], rows, kind="words")
    return f"<h2>Alarms</h2>{_card(table)}"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td><bdi>{_text(cell)}</bdi></td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _card(inner: str) -> str:
    return f'<div class="card">{inner}</div>'


def _text(value: str) -> str:
    """Safe in HTML; what cannot be seen, or turns the direction of what can, is shown as a box."""
    seen = "".join(c if c.isprintable() or c in "\n\t" else "\u25a1" for c in value)
    return escape(seen)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _or_none(value: str | None) -> str:
    return "n/a" if value is None else value


def _time(at_us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_us / 1e6))
