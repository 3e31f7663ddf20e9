"""Overview, lengths, funnel, what-if, Pareto, health: their numbers against the run's files."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from configs.run_files import latest_rollouts, read_table
from tests.browser.conftest import OpenPage, Server, serving
from tests.browser.test_shell import settled


@pytest.fixture(scope="module")
def rows(demo_run: Path) -> list[dict[str, Any]]:
    return latest_rollouts(demo_run).drop_columns(["filters"]).to_pylist()


@pytest.fixture(scope="module")
def fails_another(demo_run: Path) -> set[str]:
    """Rollouts that do not pass some filter besides the one on length."""
    checked = latest_rollouts(demo_run).select(["rollout_id", "filters"]).to_pylist()
    return {
        row["rollout_id"]
        for row in checked
        if any(c["pass"] is False and c["name"] != "length" for c in row["filters"] or [])
    }


def number(text: str) -> int:
    return int(re.sub(r"[^0-9]", "", text))


def expect_rollouts(page: Any, count: int) -> None:
    """The rollout browser opens, and says that its filters leave as many."""
    expect(page.locator("main h1")).to_have_text("Rollouts")
    total = page.locator("#rollout-total:not(.is-updating) .strong")
    expect(total).to_have_text(f"{count:,}", timeout=15_000)


def test_the_funnel_counts_what_the_files_hold(open_page: OpenPage, rows: list[dict[str, Any]]):
    page = settled(open_page("#/funnel"))

    cells = page.locator("table.funnel tbody tr").all()
    counts = {
        row.locator("td").first.inner_text(): number(row.locator("td").nth(2).inner_text())
        for row in cells
    }

    assert counts["Generated"] == len(rows)
    assert counts["Correct"] == sum(
        row["verdict"] == "correct" and row["finish_reason"] == "stop" for row in rows
    )
    assert counts["Trained"] == sum(row["fate"] == "trained" for row in rows)
    assert "0 unaccounted" in page.locator("main").inner_text()


def test_every_count_of_the_funnel_opens_as_many_rollouts(open_page: OpenPage):
    page = settled(open_page("#/funnel"))
    links = [
        (link.get_attribute("href"), number(link.inner_text()))
        for link in page.locator("table.funnel td.num a, table.reasons td.num a").all()
    ]
    assert len(links) > 15

    for target, count in links:
        page.evaluate("hash => { location.hash = hash; }", target)
        expect_rollouts(page, count)


def test_reasons_are_the_first_ones_that_were_recorded(
    open_page: OpenPage, rows: list[dict[str, Any]]
):
    page = settled(open_page("#/funnel"))

    shown = {
        row.locator("td").first.inner_text().strip(): number(row.locator("td").nth(1).inner_text())
        for row in page.locator("table.reasons tbody tr").all()
    }

    expected = Counter(row["reason"].replace("_", " ") for row in rows if not row["accepted"])
    assert shown == dict(expected)


def test_the_overview_says_the_same_as_the_files(open_page: OpenPage, rows: list[dict[str, Any]]):
    page = settled(open_page("#/overview"))

    bar = page.get_by_role("region", name="Rollouts issued").inner_text()

    assert f"{len(rows):,} rollouts issued" in bar
    assert f"{sum(row['fate'] == 'trained' for row in rows):,}" in bar
    assert page.locator("main section canvas").count() == 6
    assert page.get_by_text("synthetic").first.is_visible()


def test_lengths_count_every_rollout_once(open_page: OpenPage, rows: list[dict[str, Any]]):
    page = settled(open_page("#/lengths"))
    section = page.get_by_role("region", name="Lengths of generated rollouts")

    section.get_by_role("button", name=re.compile("table and export")).click()
    section.get_by_role("button", name="Show as a table").click()
    head = section.locator(".data-table th").all_inner_texts()
    body = [row.locator("td").all_inner_texts() for row in section.locator("tbody tr").all()]

    per_version = [number(line[head.index("rollouts")]) for line in body]
    assert sum(per_version) == len(rows)
    first, last = int(number(body[-1][0])), int(number(body[-1][1]))
    newest = [row for row in rows if first <= row["last_version"] <= last]
    assert per_version[-1] == len(newest)


def test_populations_of_lengths_are_those_of_the_funnel(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/lengths?population=accepted"))

    assert number(page.locator(".view-head a").inner_text()) == sum(r["accepted"] for r in rows)
    page.locator(".view-head a").click()

    expect_rollouts(page, sum(row["accepted"] for row in rows))


def test_the_length_slider_keeps_what_brute_force_keeps_and_asks_nothing(
    open_page: OpenPage, rows: list[dict[str, Any]], fails_another: set[str]
):
    page = settled(open_page("#/whatif?mode=length"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider = page.get_by_role("slider", name="Length budget in tokens")

    slider.evaluate("e => { e.value = 200; e.dispatchEvent(new Event('input', {bubbles: true})); }")
    tried = number(page.get_by_label("Length budget in tokens, exact").input_value())
    kept = number(page.locator(".whatif-sum").inner_text().split(" of ")[0])

    passes = [
        row
        for row in rows
        if row["verdict"] == "correct"
        and row["finish_reason"] == "stop"
        and row["rollout_id"] not in fails_another
    ]
    assert tried == 200
    assert kept == sum(row["n_tokens"] <= 200 for row in passes)
    assert asked == []


def test_the_settings_of_the_run_equal_the_funnel(open_page: OpenPage, rows: list[dict[str, Any]]):
    page = settled(open_page("#/whatif"))

    assert "does not predict training" in page.locator(".view-head").inner_text()
    link = page.locator(".whatif-sum a").first
    assert number(link.inner_text()) == sum(row["accepted"] for row in rows)
    link.click()

    expect_rollouts(page, sum(row["accepted"] for row in rows))


def test_pareto_shows_every_evaluation_and_only_evaluations(open_page: OpenPage, demo_run: Path):
    page = settled(open_page("#/pareto"))
    evals = read_table(demo_run, "evals").to_pylist()

    rows = page.get_by_role("region", name="Evaluated").locator("tbody tr").all()
    shown = {row.locator("td").nth(2).inner_text() for row in rows}

    assert shown == {row["label"] for row in evals}
    label = evals[-1]["label"]
    own = [row for row in evals if row["label"] == label]
    accuracy = sum(row["verdict"] == "correct" for row in own) / len(own)
    line = next(row for row in rows if row.locator("td").nth(2).inner_text() == label)
    assert line.locator("td").nth(4).inner_text().startswith(f"{100 * accuracy:.1f}")


@pytest.fixture
def silent(demo_run: Path, tmp_path: Path) -> Iterator[Server]:
    """The same run, as it would look had it died in the middle."""
    run = tmp_path / "silent"
    shutil.copytree(demo_run, run)
    (run / "summary.json").unlink()
    state = json.loads((run / "state.json").read_text(encoding="utf-8"))
    (run / "state.json").write_text(json.dumps(state | {"phase": "training"}), encoding="utf-8")
    with serving(run) as server:
        yield server


def test_an_alarm_is_acknowledged_and_the_run_remembers(open_page: OpenPage, silent: Server):
    page = settled(open_page("#/health", address=silent.address))
    assert page.get_by_role("region", name="Rules").locator("tbody tr").count() >= 10
    expect(page.locator(".statusbar .badge.is-bad")).to_have_text("1")

    page.get_by_role("button", name="Acknowledge").click()
    page.get_by_label("Note").fill("<img src=x onerror=alert(1)> seen")
    page.get_by_label("Note").press("Enter")
    page.get_by_text("onerror=alert(1)> seen").wait_for()

    lines = (silent.runs[0] / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    assert any("onerror" in json.dumps(json.loads(line)) for line in lines)
    assert page.locator("main img").count() == 0
    expect(page.locator(".statusbar .badge")).to_have_count(0)
    page.goto("about:blank")


def test_a_run_that_says_nothing_is_said_on_the_overview(open_page: OpenPage, silent: Server):
    page = settled(open_page("#/overview", address=silent.address))

    expect(page.get_by_role("alert").first).to_contain_text("no progress for")
    expect(page.locator(".live.is-old")).to_contain_text("silent")
    page.goto("about:blank")


def test_a_chart_gives_its_data_as_csv(open_page: OpenPage, demo_run: Path):
    page = settled(open_page("#/overview"))
    section = page.get_by_role("region", name="Loss", exact=True)
    section.get_by_role("button", name=re.compile("table and export")).click()

    with page.expect_download() as waiting:
        section.get_by_role("button", name="Save CSV").click()
    text = Path(waiting.value.path()).read_bytes().decode()

    steps = (demo_run / "metrics.jsonl").read_text(encoding="utf-8").count("\n")
    assert text.startswith("step,loss\r\n")
    assert len(text.splitlines()) == steps + 1


def test_a_drag_over_a_chart_goes_into_the_address(open_page: OpenPage):
    page = settled(open_page("#/overview"))
    box = page.locator(".u-over").first.bounding_box()

    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 40, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("zoom="))

    assert re.search(r"zoom=step%3A\d+\.\.\d+", page.url)
    page.get_by_role("button", name="Show all").first.click()
    assert "zoom" not in page.url
