"""Figures of README and docs/ are those of the kept results that they link to.

A figure is a link to a result file and to its place there, ``[1.31 x](benchmarks/NAME.json#ratios.
async_over_plain)``: names are joined by dots, and what is not a letter, a digit or a dash in one is
``_``. A spread of several runs stands for its median, a percent sign for a hundredth. The page may
round; the digits that it prints must be those of the file.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import BENCHMARKS, keep, kept_result, middle, regressions

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KEPT = sorted((ROOT / "docs/benchmarks").glob("*.json"))
LINK = re.compile(r"\[([^\]]+)\]\(([^)#]*benchmarks/[\w.-]+\.json)(?:#([^)]*))?\)")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def slug(name: str) -> str:
    return re.sub(r"[^\w-]+", "_", name).strip("_")


def at(found: Any, place: str) -> Any:
    for name in place.split("."):
        if isinstance(found, list):
            found = dict(enumerate(found))
        found = {slug(str(key)): value for key, value in found.items()}[name]
    return found


def wrong_figures(page: Path) -> list[str]:
    """A line for each figure that is not what its file says."""
    wrong = []
    text_alone = re.sub(r"`[^`]*`", "", page.read_text())
    for text, file, place in LINK.findall(text_alone):
        try:
            value = middle(at(json.loads((page.parent / file).read_text()), place))
        except (OSError, KeyError, AttributeError, TypeError) as error:
            wrong.append(f"{page.name}: {text!r}: {file}#{place} is not there ({error!r})")
            continue
        printed = NUMBER.search(text)
        if printed is None:
            wrong.append(f"{page.name}: {text!r} links to {file}#{place} and has no number")
            continue
        digits = printed[0].replace(",", "")
        scale = 100 if text[printed.end() :].lstrip().startswith("%") else 1
        decimals = len(digits.partition(".")[2])
        if f"{value * scale:.{decimals}f}" != digits:
            wrong.append(f"{page.name}: {text!r}, but {file}#{place} is {value * scale:g}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_prints_what_was_measured(page: Path):
    assert wrong_figures(page) == []


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.name)
def test_a_kept_result_says_how_it_came_about_and_names_no_folder_of_its_machine(file: Path):
    result = json.loads(file.read_text())

    assert result["name"] == file.stem in BENCHMARKS
    assert result["command"].startswith("python -m benchmarks.")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    assert re.fullmatch(r"[0-9a-f]{40}\+?", result["commit"])
    assert result["machine"]["cores"] > 0 and result["versions"]["torch"]
    assert all(middle(value) > 0 for value in result["ratios"].values())
    assert not re.search(r'"[^"]*(/tmp/|/home/|/root|/work)', file.read_text())


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "benchmarks").mkdir()
    found = {
        "ratios": {"a over b": {"median": 1.3149, "q1": 1.2, "q3": 1.4}},
        "figures": {"rows": [{"tokens/s": 12345.6}, {"share": 0.416}], "off": -2.25},
    }
    (tmp_path / "benchmarks/x.json").write_text(json.dumps(found))
    return tmp_path / "page.md"


@pytest.mark.parametrize(
    "figure",
    [
        "[1.31 x](benchmarks/x.json#ratios.a_over_b)",
        "[**1.3**](benchmarks/x.json#ratios.a_over_b)",
        "[1.20](benchmarks/x.json#ratios.a_over_b.q1)",
        "[12,346 tokens/s](benchmarks/x.json#figures.rows.0.tokens_s)",
        "[41.6 %](benchmarks/x.json#figures.rows.1.share)",
        "[-2.25](benchmarks/x.json#figures.off)",
        "written `[7](benchmarks/nowhere.json#so)`,",
    ],
)
def test_a_figure_may_round_and_have_a_unit(page: Path, figure: str):
    page.write_text(f"It is {figure} as quick.")

    assert wrong_figures(page) == []


@pytest.mark.parametrize(
    ("figure", "why"),
    [
        ("[1.32](benchmarks/x.json#ratios.a_over_b)", "is 1.3149"),
        ("[42.6 %](benchmarks/x.json#figures.rows.1.share)", "is 41.6"),
        ("[12,345](benchmarks/x.json#figures.rows.0.tokens_s)", "is 12345.6"),
        ("[1.31](benchmarks/x.json#ratios.b_over_a)", "is not there"),
        ("[1.31](benchmarks/x.json)", "is not there"),
        ("[1.31](benchmarks/y.json#ratios.a_over_b)", "is not there"),
        ("[quicker](benchmarks/x.json#ratios.a_over_b)", "has no number"),
        ("[1.31](benchmarks/x.json#ratios)", "is not there"),
    ],
)
def test_a_figure_that_is_not_the_files_is_named(page: Path, figure: str, why: str):
    page.write_text(f"right [1.3](benchmarks/x.json#ratios.a_over_b), wrong {figure}")

    [line] = wrong_figures(page)
    assert why in line


def result(**ratios: Any) -> dict[str, Any]:
    return {"name": "x", "date": "2026-01-01", "commit": "0123456789ab", "ratios": ratios}


def test_a_ratio_that_fell_beyond_the_tolerance_is_a_line_and_no_other_is():
    kept = result(fell={"median": 2.0}, held=2.0, rose=2.0, gone=1.5)
    now = result(fell={"median": 1.49}, held=1.51, rose=9.0, new=0.1)

    assert regressions(now, kept, 0.25) == [
        "x: fell is 1.49 and was 2 on 2026-01-01 (012345678): more than 25% lower",
        "x: gone was 1.5 and was not measured now",
    ]


def test_what_is_kept_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.__main__.KEPT", tmp_path / "kept")

    assert kept_result("x", full=True) is None
    assert keep("x", result(a=1.0), full=True) == tmp_path / "kept/x.json"
    assert kept_result("x", full=True) == result(a=1.0)
    assert kept_result("x", full=False) is None
    assert keep("x", result(a=2.0), full=False) == tmp_path / "kept/x.short.json"
    assert kept_result("x", full=False) == result(a=2.0)
