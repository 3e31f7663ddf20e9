"""Rollouts, problem, pipeline, generators, learner, evals, compare, logs, config, SQL, recipe:
what they show against the run's files."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from configs.run_files import latest_rollouts, read_jsonl, read_table
from tests.browser.conftest import OpenPage, make_demo, serving
from tests.browser.test_core_views import expect_rollouts, number
from tests.browser.test_shell import settled


@pytest.fixture(scope="module")
def rows(demo_run: Path) -> list[dict[str, Any]]:
    return latest_rollouts(demo_run).to_pylist()


@pytest.fixture(scope="module")
def texts(demo_run: Path) -> dict[str, str]:
    table = read_table(demo_run, "text")
    return dict(zip(table["rollout_id"].to_pylist(), table["text"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def golds(demo_run: Path) -> dict[str, str]:
    table = read_table(demo_run, "problems")
    return dict(zip(table["problem_id"].to_pylist(), table["gold"].to_pylist(), strict=True))


def cells(page: Any, column: str) -> list[str]:
    """The column's text in the rows of the rollout table that are in sight, from the top."""
    head = page.locator(".rows-head [role=columnheader]").all_inner_texts()
    place = next(at for at, name in enumerate(head) if name.startswith(column))
    shown = page.locator(".rows-row").all()
    return [row.locator("[role=cell]").nth(place).inner_text() for row in shown]


# ------------------------------------------------------------------------------------- rollouts


def test_the_table_has_every_rollout_and_sorts_them(open_page: OpenPage, rows: list[Any]):
    page = open_page("#/rollouts")
    expect_rollouts(page, len(rows))
    assert 20 < page.locator("[role=row]").count() <= 100

    page.get_by_role("button", name="Tokens", exact=True).last.click()  # the first is a filter
    settled(page)
    assert "sort=-n_tokens" in page.url
    longest = sorted((row["n_tokens"] for row in rows), reverse=True)
    assert [number(text) for text in cells(page, "Tokens")[:10]] == longest[:10]

    page.get_by_role("button", name="Tokens", exact=True).last.click()  # the first is a filter
    page.wait_for_url("**sort=n_tokens**")
    settled(page)
    assert [number(text) for text in cells(page, "Tokens")[:10]] == longest[::-1][:10]


def test_the_end_of_the_table_is_a_key_away(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/rollouts?sort=n_tokens&cols=rollout_id&cols=n_tokens"))

    page.keyboard.press("j")
    page.keyboard.press("End")
    last = page.locator(f"[aria-rowindex='{len(rows)}']")
    expect(last).to_be_visible()
    expect(last.locator(".cell-wait")).to_have_count(0)

    assert number(last.locator("[role=cell]").nth(1).inner_text()) == max(
        row["n_tokens"] for row in rows
    )
    assert last.bounding_box()["y"] < 800


def test_facets_count_what_the_files_hold_and_filter(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/rollouts"))

    page.locator(".facet summary", has_text="Reason").click()
    values = page.locator(".facet[open] .facet-values li").all()
    counts = {
        value.locator("bdi").inner_text(): value.locator("label").get_attribute("title")
        for value in values
    }

    expected = Counter(row["reason"] or "accepted" for row in rows)
    assert {name: number(title.split(" rollouts")[0]) for name, title in counts.items()} == {
        name.replace("_", " "): count for name, count in expected.items()
    }
    page.locator(".facet[open] label", has_text="over budget").locator("input").check()
    page.wait_for_url("**reason=over_budget**")
    expect_rollouts(page, expected["over_budget"])
    page.go_back()
    expect_rollouts(page, len(rows))


def test_a_search_finds_what_the_texts_hold(
    open_page: OpenPage, rows: list[Any], texts: dict[str, str]
):
    pattern = r"[Ww]ait.*\d+"
    page = settled(open_page("#/rollouts"))

    page.keyboard.press("/")
    page.keyboard.insert_text(pattern)
    page.wait_for_url("**q=**")

    expected = sum(
        row["rollout_id"] in texts and re.search(pattern, texts[row["rollout_id"]]) is not None
        for row in rows
    )
    assert 0 < expected < len(rows)
    expect_rollouts(page, expected)


def test_a_search_that_is_no_expression_is_said(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/rollouts"))

    with page.expect_response(lambda answer: answer.status == 400):
        page.locator("#rollout-search").fill("(never closed")
    page.get_by_role("alert").first.wait_for()

    assert page.locator(".rows-row").count() > 20, "the rows that were there stay"
    page.watch.faults.clear()  # the browser logs every 400


def test_one_rollout_by_keys(open_page: OpenPage, rows: list[Any], golds: dict[str, str]):
    page = settled(open_page("#/rollouts?fate=trained&sort=rollout_id"))
    page.locator("[role=row]").nth(1).wait_for()

    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail")
    settled(page)
    first = min((row for row in rows if row["fate"] == "trained"), key=lambda r: r["rollout_id"])

    assert f"open={first['rollout_id']}" in page.url
    head = page.locator(".detail-title").inner_text()
    assert f"trained in step {first['step']}" in head
    answer, gold = page.locator(".answers dd").all_inner_texts()[:2]
    assert answer == first["answer"]
    assert gold == golds[first["problem_id"]]
    shown = page.get_by_role("region", name="Filters", exact=True).locator("tbody tr")
    assert shown.count() == len(first["filters"])
    for line, check in zip(shown.all(), first["filters"], strict=True):
        assert line.locator("td").nth(3).inner_text().startswith("passed") == check["pass"]
    siblings = [row for row in rows if row["group_id"] == first["group_id"]]
    assert page.locator(".sibling").count() == len(siblings)

    page.keyboard.press("]")
    second = sorted(siblings, key=lambda row: row["sample"])[(first["sample"] + 1) % len(siblings)]
    page.wait_for_url(f"**open={second['rollout_id']}**")
    page.keyboard.press("Escape")
    expect(page.locator(".detail")).to_have_count(0)
    assert "open=" not in page.url


def test_a_pasted_address_opens_the_same_rollout(open_page: OpenPage, rows: list[Any]):
    row = next(row for row in reversed(rows) if row["reason"] == "over_budget")
    page = settled(open_page(f"#/rollouts?reason=over_budget&open={row['rollout_id']}&wide=1"))

    over = row["n_tokens"] - row["budget"]
    assert f"over its budget by {over:,} tokens" in page.locator(".detail-title").inner_text()


def test_thinking_answer_and_formulas(open_page: OpenPage, demo_run: Path, texts: dict[str, str]):
    table = read_table(demo_run, "text").to_pylist()
    row = next(
        row
        for row in table
        if row["answer_start"] is not None and "\\(" in row["text"][: row["answer_start"]]
        and "<" not in row["text"].removeprefix("<think>")[:200] and len(row["text"]) < 5000
    )  # fmt: skip
    page = settled(open_page(f"#/rollouts?open={row['rollout_id']}&text=raw"))

    thinking = page.get_by_role("region", name="Thinking").locator(".reading")
    answer = page.get_by_role("region", name="Answer", exact=True).locator(".reading")
    thinking.wait_for()
    assert thinking.text_content() == row["text"][: row["answer_start"]]
    assert answer.text_content() == row["text"][row["answer_start"] :]

    page.get_by_role("radio", name="math").click()
    page.locator(".reading .katex").first.wait_for()


def test_tokens_are_the_whole_text(open_page: OpenPage, demo_run: Path, texts: dict[str, str]):
    tokens = read_table(demo_run, "tokens").to_pylist()
    row = next(row for row in tokens if 50 < len(row["ends"]) < 500)
    page = settled(open_page(f"#/rollouts?open={row['rollout_id']}&wide=1&text=tokens"))
    page.locator(".tok").first.wait_for()

    shown = page.locator(".tok").all_text_contents()
    assert "".join(shown).replace("⏎", "") == texts[row["rollout_id"]]
    assert len(shown) == len(set(row["ends"]) - {0}), "one piece for every token that has a text"
    page.locator(".tok").nth(3).hover()
    assert "probability" in page.locator(".token-tip").inner_text()


def test_a_tag_and_a_note_stay(open_page: OpenPage, rows: list[Any], demo_run: Path):
    id = rows[5]["rollout_id"]
    page = settled(open_page(f"#/rollouts?open={id}"))

    page.get_by_role("textbox", name="Tag").fill("<b>odd</b>")
    page.keyboard.press("Enter")
    page.locator(".detail .tag", has_text="<b>odd</b>").wait_for()
    page.get_by_role("textbox", name="Note").fill("look again")
    page.keyboard.press("Enter")
    page.get_by_text("look again").wait_for()
    page.reload()
    settled(page)

    assert page.locator(".detail .tag").inner_text().startswith("<b>odd</b>")
    assert any(
        "look again" in json.dumps(line) for line in read_jsonl(demo_run / "annotations.jsonl")
    )


# ---------------------------------------------------------------------------------- hostile text

HOSTILE = (
    "<img src=x", "<script>", "\\(\\href{", "\\[\\rule", "\\(\\def", "\x1b[31m", "\u202e", "a\x00b",
    "</span></div>", "costs $5 and", "{{constructor", "'); DROP", "=HYPERLINK", "\u00a0\u200b",
)  # fmt: skip


def test_hostile_text_is_inert(open_page: OpenPage, texts: dict[str, str]):
    page = settled(open_page("#/rollouts?wide=1"))
    inside = page.locator(
        ".detail .reading :is(img, script, iframe, a, object, form, [onload], [onerror])"
    )
    hidden = "[\\u202a-\\u202e\\u2066-\\u2069\\u0000-\\u0008\\u001b]"

    for begin in HOSTILE:
        id = next(id for id, text in texts.items() if text.startswith(begin))
        page.evaluate("id => { location.hash = `#/rollouts?wide=1&open=${id}`; }", id)
        page.get_by_text(id, exact=True).first.wait_for()
        reading = page.locator(".detail .reading")
        reading.nth(1).wait_for()
        page.wait_for_timeout(200)  # for what a script would do

        assert "harmed" not in page.title(), begin
        assert inside.count() == 0, begin
        assert max(box.bounding_box()["height"] for box in reading.all()) < 4000, begin
        shown = page.locator(".detail").text_content()
        assert not page.evaluate("([re, text]) => new RegExp(re).test(text)", [hidden, shown]), (
            begin
        )
        if begin.startswith("\u00a0"):
            assert "⟨U+200B⟩" in shown
        if begin.startswith("costs"):
            assert "costs $5 and $6" in reading.nth(1).inner_text()


def test_a_megabyte_opens_at_once(open_page: OpenPage, texts: dict[str, str]):
    id = next(id for id, text in texts.items() if text.startswith("x" * 1000))
    page = settled(open_page("#/rollouts"))

    ms = page.evaluate(
        """async id => {
            const began = performance.now();
            location.hash = `#/rollouts?open=${id}`;
            const frame = () => new Promise(requestAnimationFrame);
            while (!document.querySelectorAll('.detail .reading')[1]) await frame();
            return performance.now() - began;
        }""",
        id,
    )

    assert ms < 6000
    assert page.locator("*").count() < 5000
    assert page.get_by_role("button", name=re.compile("more characters")).is_visible()


def test_hostile_problems_and_answers_are_inert_in_every_list(open_page: OpenPage):
    for hash in (
        "#/problem?sort=problem_id",
        "#/rollouts?verdict=wrong&sort=problem_id",
        "#/evals",
    ):
        page = settled(open_page(hash))
        assert "harmed" not in page.title()
        assert page.locator("main :is(img, script, [onload], [onerror])").count() == 0


# -------------------------------------------------------------------------------------- problem


def correct_of(rows: list[Any], problem: str) -> list[Any]:
    found = [row for row in rows if row["problem_id"] == problem and row["verdict"] == "correct"]
    return sorted(found, key=lambda row: row["last_version"])


def test_a_problem_through_the_versions(
    open_page: OpenPage, rows: list[Any], texts: dict[str, str]
):
    problem = rows[-1]["problem_id"]
    mine = [row for row in rows if row["problem_id"] == problem]
    right = correct_of(rows, problem)
    page = settled(open_page(f"#/problem?id={problem}"))
    page.locator(".diff-text").first.wait_for()

    facts = page.locator(".facts").first.inner_text()
    assert f"{len(right):,}" in facts
    assert str(min(row["n_tokens"] for row in right)) in facts
    left, other = (select.input_value() for select in page.locator(".diff-side select").all())
    by_id = {row["rollout_id"]: row for row in mine}
    assert by_id[left]["last_version"] == right[0]["last_version"]
    assert by_id[other]["last_version"] == right[-1]["last_version"]

    while page.locator(".diff-fold").count():
        page.locator(".diff-fold").first.click()
    parts = page.locator(".diff-text > *").evaluate_all(
        "all => all.map(e => [e.tagName, e.textContent])"
    )
    before = "".join(text for tag, text in parts if tag != "INS")
    after = "".join(text for tag, text in parts if tag != "DEL")
    assert before.replace("⏎", "") == texts[left]
    assert after.replace("⏎", "") == texts[other]


def test_the_next_problem_keeps_the_filters(open_page: OpenPage):
    page = settled(open_page("#/problem?verdict=correct&sort=problem_id"))
    page.keyboard.press("Enter")
    page.wait_for_url("**id=**")
    settled(page)
    first = page.url

    page.keyboard.press("j")
    expect(page).not_to_have_url(first)
    settled(page)

    assert "verdict=correct" in page.url
    page.keyboard.press("k")
    expect(page).to_have_url(first)


def test_problems_count_their_rollouts(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/problem?sort=-rollouts"))

    expected = Counter(row["problem_id"] for row in rows)
    for line in page.locator(".problems tbody tr").all()[:10]:
        id, count = line.locator("td").nth(0).inner_text(), line.locator("td").nth(1).inner_text()
        assert number(count) == expected[id]


# --------------------------------------------------------------------- pipeline and its machines


def test_shares_of_the_learners_time_are_all_of_it(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/pipeline"))

    shares = page.locator(".time-legend .strong").all_inner_texts()
    assert abs(sum(float(share.split()[0].rstrip("%")) for share in shares) - 100) < 0.4
    assert re.search(r"\d", page.locator(".verdict-text").inner_text())
    lags = page.get_by_role("region", name="Lag of trained rollouts").locator("tbody tr")
    shown = {
        number(line.locator("th").inner_text()): number(line.locator("a").inner_text())
        for line in lags.all()
    }
    assert shown == dict(Counter(row["lag"] for row in rows if row["fate"] == "trained"))


def test_counts_of_the_pipeline_open_as_many_rollouts(open_page: OpenPage):
    page = settled(open_page("#/pipeline"))
    links = [
        (link.get_attribute("href"), number(link.get_attribute("title").split("these ")[1]))
        for link in page.locator("main td.num a").all()
    ]
    assert len(links) > 5

    for target, count in links:
        page.evaluate("hash => { location.hash = hash; }", target)
        expect_rollouts(page, count)


def test_lanes_of_a_step_can_be_picked(open_page: OpenPage):
    page = settled(open_page("#/pipeline?step=5"))

    region = page.get_by_role("region", name="One step as lanes")
    assert "step 5," in region.inner_text()
    region.get_by_role("button", name="Next step").click()
    page.wait_for_url("**step=6**")
    region.get_by_text("step 6,").wait_for()


def test_generators_wrote_what_the_files_say(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/generators"))

    for name, count in Counter(row["generator_id"] for row in rows).items():
        line = page.locator(f"[id='engine-{name}']")
        link = line.locator("a", has_text=re.compile(r"\d")).first
        assert number(link.get_attribute("title")) == count
    assert page.locator("tr.spread").count() == 3


def test_the_learner_shows_the_recorded_series(open_page: OpenPage, demo_run: Path):
    page = settled(open_page("#/learner"))
    assert page.locator("main .chart").count() > 6

    section = page.get_by_role("region", name="Loss", exact=True)
    section.get_by_role("button", name=re.compile("table and export")).click()
    section.get_by_role("button", name="Show as a table").click()
    lines = section.locator(".data-table tbody tr")

    steps = read_jsonl(demo_run / "metrics.jsonl")
    assert lines.count() == len({row["step"] for row in steps})


# -------------------------------------------------------------------------------------- results


def test_evaluations_and_their_flips_add_up(open_page: OpenPage, demo_run: Path):
    samples = read_table(demo_run, "evals").to_pylist()
    page = settled(open_page("#/evals"))

    for line in page.locator(".evals-table tbody tr").all():
        label = line.locator("td").first.inner_text()
        mine = [row for row in samples if row["label"] == label]
        share = sum(row["verdict"] == "correct" for row in mine) / len(mine)
        shown = float(line.locator("td").nth(2).inner_text().split()[0])
        assert shown == pytest.approx(share * 100, abs=0.051)

    values = page.locator(".flip-sum dd").all_inner_texts()
    first, gained, lost, last = (
        float(text.replace("−", "-").replace("+", "").split()[0].rstrip("%")) for text in values[:4]
    )
    assert abs(first + gained + lost - last) < 0.25, values


def test_a_flip_opens_both_texts(open_page: OpenPage):
    page = settled(open_page("#/evals"))

    page.get_by_role("region", name="Flips").locator("tbody button").first.click()
    page.wait_for_url("**open=**")
    settled(page)

    page.locator(".sample-text .reading").nth(1).wait_for()
    page.get_by_role("radio", name="what changed").click()
    page.locator(".flip-texts .diff-text, .flip-texts .note").first.wait_for()


def test_runs_side_by_side(
    open_page: OpenPage, demo_run: Path, tmp_path_factory: pytest.TempPathFactory
):
    other = make_demo(tmp_path_factory.mktemp("runs") / "other", "--seed", "3", rollouts=2000)
    with serving(demo_run, other) as server:
        page = settled(open_page("#/compare", address=server.address))

        heads = page.get_by_role("region", name="Outcome").locator("th").all_inner_texts()
        assert any("demo" in head and "baseline" in head for head in heads)
        assert any(head.startswith("other") for head in heads)
        differing = page.get_by_role("region", name="Configuration").locator("tbody tr")
        keys = [line.locator("th").inner_text() for line in differing.all()]
        assert "name" in keys and "seed" in keys
        assert page.locator(".compare-curves .chart").count() >= 2
        page.get_by_role("radio", name="generated tokens").click()
        page.wait_for_url("**align=tokens**")
        page.goto("about:blank")


# ------------------------------------------------------------------------------------ run's own


def test_a_log_ends_with_its_last_line_and_is_searched(open_page: OpenPage, demo_run: Path):
    lines = (demo_run / "logs" / "learner-0.log").read_text().splitlines()
    page = settled(open_page("#/logs?file=learner-0.log"))
    page.locator(".log-line").first.wait_for()

    assert page.locator(".log-text").last.inner_text().strip() in lines[-1]
    page.keyboard.press("/")
    page.keyboard.type(r"step 1\d\b")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=**")
    page.locator(".log-edge", has_text="match").wait_for()

    expected = sum(re.search(r"step 1\d\b", line) is not None for line in lines)
    assert page.locator(".log-line").count() == expected


def test_escapes_in_a_log_do_nothing(open_page: OpenPage):
    page = settled(open_page("#/logs?file=judge-0.log"))
    page.locator(".log-line").first.wait_for()

    assert not page.evaluate(
        "/[\\u001b\\u0000\\u202e]/.test(document.querySelector('.log-body').textContent)"
    )
    assert page.locator(".log-body :is(img, script, svg)").count() == 0


def test_configuration_dims_what_is_default_and_gives_the_command(open_page: OpenPage):
    page = settled(open_page("#/config"))

    assert page.locator(".is-default").count() > 20
    assert "laconic " in page.locator(".command").inner_text()
    page.get_by_role("searchbox", name="Find a key").fill("length_budget")
    expect(page.locator(".config-table tr").nth(5)).to_have_count(0)
    assert "length_budget" in page.locator(".config-table").first.inner_text()


def test_sql_answers_refuses_and_links(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/sql"))
    box = page.get_by_role("textbox", name="SQL")

    box.fill("SELECT verdict, count(*) AS n FROM rollouts GROUP BY 1 ORDER BY 1")
    box.press("Control+Enter")
    page.locator(".sql-result").wait_for()
    answer = {
        line.locator("td").nth(0).inner_text(): number(line.locator("td").nth(1).inner_text())
        for line in page.locator(".sql-result tbody tr").all()
    }
    assert answer == dict(Counter(row["verdict"] for row in rows))

    box.fill("SELECT rollout_id FROM rollouts LIMIT 1")
    box.press("Control+Enter")
    page.locator(".sql-result td a").click()
    page.wait_for_selector(".detail")

    page.goto(f"{page.watch.origin}#/sql")
    settled(page)
    with page.expect_response(lambda answer: answer.status == 400):
        page.get_by_role("textbox", name="SQL").fill("DROP TABLE rollouts")
        page.get_by_role("textbox", name="SQL").press("Control+Enter")
    page.locator(".sql-problem").wait_for()
    page.watch.faults.clear()  # the browser logs every 400


def test_the_recipe_counts_what_the_funnel_counts(open_page: OpenPage, rows: list[Any]):
    page = settled(open_page("#/recipe"))

    text = page.locator(".recipe").inner_text()
    assert f"{len(rows):,}" in text
    assert f"{sum(row['fate'] == 'trained' for row in rows):,}" in text
    links = [
        (link.get_attribute("href"), number(link.inner_text()))
        for link in page.locator(".recipe-counts a").all()
    ]
    for target, count in links:
        page.evaluate("hash => { location.hash = hash; }", target)
        expect_rollouts(page, count)
