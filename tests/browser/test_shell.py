"""The shell: the address is the state, keys, themes, live and stale, token, small screens."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, Server, serving
from tests.browser.prefix_proxy import below

VIEWS = [
    *("overview", "health", "logs", "rollouts", "problem", "lengths", "funnel", "whatif"),
    *("pareto", "evals", "compare", "pipeline", "generators", "learner", "recipe", "config", "sql"),
]


def settled(page: Any) -> Any:
    """The page, once its view has its data."""
    page.wait_for_selector("main h1")
    expect(page.locator(".skeleton, [aria-busy=true]")).to_have_count(0, timeout=15_000)
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_in_both_themes_and_fits_the_screen(
    open_page: OpenPage, view: str, theme: str
):
    page = settled(open_page(f"#/{view}", theme=theme))

    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert page.locator("main [role=alert]").count() == 0, page.locator(
        "[role=alert]"
    ).all_text_contents()


@pytest.mark.parametrize("view", ["overview", "health"])
def test_the_views_that_watch_work_on_a_phone(open_page: OpenPage, view: str):
    page = settled(open_page(f"#/{view}", width=390, height=844))

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Views").click()
    page.get_by_role("link", name="Health").click()
    page.wait_for_selector("main h1:text-is('Health')")


def test_the_overview_is_one_screen(open_page: OpenPage):
    page = settled(open_page("#/overview"))

    assert page.evaluate("document.documentElement.scrollHeight") <= 800


def test_a_view_is_reached_by_keys_and_back_undoes(open_page: OpenPage):
    page = settled(open_page("#/overview"))

    page.keyboard.press("g")
    page.keyboard.press("f")
    page.wait_for_selector("main h1:text-is('Funnel')")
    page.go_back()

    page.wait_for_selector("main h1:text-is('Overview')")


def test_keys_are_listed_and_none_fires_while_somebody_types(open_page: OpenPage):
    page = settled(open_page("#/overview?metrics=all"))

    page.keyboard.press("?")
    assert page.get_by_role("dialog").get_by_text("pause, go on").is_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Name contains").fill("")
    page.get_by_label("Name contains").press_sequentially("gpt?")

    assert page.get_by_role("dialog").count() == 0
    assert "name=gpt" in page.url


def test_the_address_reproduces_the_view(open_page: OpenPage, server: Server):
    page = settled(open_page("#/funnel"))
    page.get_by_role("radio", name="tokens").click()
    page.get_by_label("Add a filter").select_option("verdict")
    page.get_by_role("button", name=re.compile("^correct")).click()
    settled(page)
    copied, shown = page.url, page.locator("table.funnel").inner_text()

    other = settled(open_page(copied.removeprefix(server.address)))

    assert "verdict=correct" in copied and "unit=tokens" in copied
    assert other.locator("table.funnel").inner_text() == shown


def test_the_theme_follows_the_system_until_somebody_chooses(open_page: OpenPage):
    page = settled(open_page("#/health", theme="dark"))
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"

    page.keyboard.press("t")
    assert page.evaluate(theme) == "light"
    page.reload()
    page.wait_for_selector("main h1")

    assert page.evaluate(theme) == "light"


def test_a_pause_freezes_and_says_so(open_page: OpenPage):
    page = settled(open_page("#/overview"))

    page.keyboard.press("p")

    assert page.get_by_role("button", name="0 new").is_visible()
    page.keyboard.press("p")
    assert page.get_by_role("button", name="0 new").count() == 0


def test_a_server_that_went_away_is_said_and_the_data_stays(open_page: OpenPage, demo_run: Any):
    with serving(demo_run) as server:
        page = settled(open_page("#/funnel", address=server.address))
    page.wait_for_selector(".live.is-old", timeout=30_000)

    assert "no server" in page.locator(".live").inner_text()
    assert page.locator("table.funnel tbody tr").count() == 8
    page.watch.faults.clear()  # The browser's own lines about the connections that it lost.


def test_an_unknown_view_has_a_way_back(open_page: OpenPage):
    page = open_page("#/nonsense")

    page.get_by_role("alert").get_by_role("link", name="Overview").click()

    page.wait_for_selector("main h1:text-is('Overview')")


def test_a_token_in_the_address_opens_the_page_and_leaves_no_trace(
    open_page: OpenPage, demo_run: Any, tmp_path: Any
):
    token_file = tmp_path / "token"
    with serving(demo_run, options=("--token", "--token-file", str(token_file))) as server:
        page = open_page("#/funnel", address=server.address)
        page.get_by_role("heading", name="This page asks for its token").wait_for()
        page.watch.faults.clear()  # 401 is what this test asks for.

        page.get_by_label("Token").fill("not-the-token")
        page.get_by_role("button", name="Open the page").click()
        page.get_by_role("alert").get_by_text("not this page's token").wait_for()
        page.watch.faults.clear()
        page.goto("about:blank")
        page.goto(f"{server.address}#token={token_file.read_text(encoding='utf-8').strip()}")

        page.wait_for_selector("main h1:text-is('Overview')")
        assert "token" not in page.url
        assert page.evaluate("document.cookie") == ""
        page.goto("about:blank")


@pytest.mark.parametrize("view", ["overview", "rollouts", "lengths"])
def test_the_page_works_below_a_prefix_that_a_proxy_strips(
    open_page: OpenPage, server: Server, view: str
):
    with below("/user/me/proxy", server.address) as address:
        page = settled(open_page(f"#/{view}", address=address))

        assert page.locator("main [role=alert]").all_text_contents() == []
        assert page.locator(".live").inner_text() == "finished"
        page.goto("about:blank")


@pytest.mark.parametrize("view", ["overview", "rollouts", "funnel", "lengths", "health"])
def test_nothing_moves_once_a_view_stands(open_page: OpenPage, view: str):
    page = settled(open_page(f"#/{view}"))
    page.evaluate(
        """window.moved = 0;
        new PerformanceObserver(list => {
            for (const entry of list.getEntries()) window.moved += entry.value;
        }).observe({type: 'layout-shift'});"""
    )
    page.wait_for_timeout(2500)

    assert page.evaluate("window.moved") == 0
