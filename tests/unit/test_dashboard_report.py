"""The report says what the page says, in one file that loads and runs nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.run_files import latest_rollouts
from dashboard.demo.write import write_demo
from dashboard.server.report import write_report
from dashboard.server.report_charts import Axes, Line, bars, line_chart, short, ticks


class Page(HTMLParser):
    """Tags, attributes and the words of cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    write_demo(folder / "one", 1200, report=lambda line: None)
    write_demo(folder / "two<b>", 1000, seed=1, hostile=True, report=lambda line: None)
    return [folder / "one", folder / "two<b>"]


def report(runs: list[Path], target: Path) -> str:
    write_report(runs, target, lambda line: None)
    return target.read_text()


def test_its_counts_are_those_of_the_rows(runs: list[Path], tmp_path: Path):
    page = Page(report(runs[:1], tmp_path / "r.html"))
    rows = latest_rollouts(runs[0]).to_pylist()
    trained = sum(row["fate"] == "trained" for row in rows)
    wrong = sum(row["reason"] == "wrong" for row in rows)

    assert f"{trained:,} ({100 * trained / len(rows):.1f} %)" in page.words
    assert page.words[page.words.index("wrong") + 1] == f"{wrong:,}"
    assert "synthetic: nobody ran this" in page.words
    assert page.tags.count("svg") >= 9


def test_it_runs_nothing_and_loads_nothing(runs: list[Path], tmp_path: Path):
    html = report(runs, tmp_path / "r.html")
    page = Page(html)

    assert not {"script", "img", "link", "iframe", "object", "form", "a", "b"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {name for name in names if name.startswith("on")} and "href" not in names
    assert "src" not in names and "url(" not in html
    policies = [value for name, value in page.attributes if name == "content" and value]
    assert any(policy.startswith("default-src 'none'") for policy in policies)


def test_several_runs_are_compared_and_told_apart(runs: list[Path], tmp_path: Path):
    html = report(runs, tmp_path / "r.html")

    assert "two&lt;b&gt;" in html and "Compared with one" in html
    assert re.search(r"class=\"line c1\"[^>]*stroke-dasharray=\"6 4\"", html)
    assert "seed" in Page(html).words


def test_a_run_without_a_row_has_a_report_too(tmp_path: Path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/run.json").write_text('{"name": "new", "preset": "tiny"}')

    html = report([tmp_path / "new"], tmp_path / "r.html")

    assert "No evaluation was recorded" in html


def test_what_cannot_be_reported_is_one_line(runs: list[Path], tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        write_report([tmp_path / "nowhere"], tmp_path / "r.html", print)
    with pytest.raises(UserError, match="cannot write"):
        write_report(runs[:1], tmp_path / "no/such/folder.html", lambda line: None)


def test_a_gap_in_a_line_stays_a_gap():
    drawn = line_chart(
        [Line(label="a", xs=[1, 2, 3, 4], ys=[1.0, 2.0, None, 1.0])], x_label="x", zero_based=True
    )

    (path,) = re.findall(r'class="line c0" d="([^"]+)"', drawn)
    assert [part[0] for part in re.findall(r"[ML][^ML]+", path)] == ["M", "L", "M"]
    assert drawn.count("<circle") == 3
    assert line_chart([Line(label="a", xs=[1], ys=[None])], x_label="x", zero_based=True) == ""


def test_places_grow_with_numbers():
    axes = Axes(x=(0, 10), y=(0, 4))

    assert axes.left(0) < axes.left(5) < axes.left(10)
    assert axes.top(4) < axes.top(1) < axes.top(0)
    assert axes.left(5) == pytest.approx((axes.left(0) + axes.left(10)) / 2)


def test_bars_are_as_long_as_their_numbers():
    widths = re.findall(r'class="bar"[^>]*width="([\d.]+)"', bars([("a", 10, ""), ("b", 5, "")]))

    assert float(widths[0]) == pytest.approx(2 * float(widths[1]))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0.31, 0.36, [0.31, 0.32, 0.33, 0.34, 0.35, 0.36]),
        (5, 5, [5]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234, "1234"), (12_400, "12.4k"), (1.83e6, "1.83M"), (1e-6, "1.0e-06")],
)
def test_numbers_are_short(value, text):
    assert short(value) == text
