"""Pictures of every view in both themes, for docs/dashboard: ``--screenshots docs/dashboard``."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import OpenPage, Server, make_demo, serving
from tests.browser.test_shell import VIEWS, settled

ON_A_PHONE = ("overview", "health")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two runs, so that there is something to compare; the second is the longer one."""
    folder = tmp_path_factory.mktemp("runs")
    first = make_demo(folder / "seed-0")
    second = make_demo(folder / "seed-1", "--seed", "1", rollouts=30_000)
    with serving(first, second) as running:
        yield running


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path | None = request.config.getoption("--screenshots")
    if path is None:
        pytest.skip("takes pictures when --screenshots FOLDER says where to")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_of_every_view(open_page: OpenPage, folder: Path, view: str, theme: str):
    page = settled(open_page(f"#/{view}", theme=theme))
    page.wait_for_timeout(400)  # canvases are drawn a frame after their data

    _save(page, folder / f"{view}-{theme}.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", ["rollouts", "problem"])
def test_a_picture_of_what_a_row_opens(open_page: OpenPage, folder: Path, view: str, theme: str):
    page = settled(open_page(f"#/{view}", theme=theme))
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"open=|[?&]id="))
    settled(page).wait_for_timeout(800)

    _save(page, folder / f"{view}-open-{theme}.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", ON_A_PHONE)
def test_a_picture_on_a_phone(open_page: OpenPage, folder: Path, view: str, theme: str):
    page = settled(open_page(f"#/{view}", theme=theme, width=390, height=844))
    page.wait_for_timeout(400)

    _save(page, folder / f"{view}-phone-{theme}.png")


def _save(page: Any, path: Path) -> None:
    """With 256 colours: a third of the bytes, and nobody sees a difference."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256).save(path, optimize=True)
