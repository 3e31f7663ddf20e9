"""The built page: made from the sources beside it, whole, no way to run a model's words."""

import hashlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "dashboard" / "web"
STATIC = ROOT / "dashboard" / "server" / "static"
SOURCES = (  # the same as in vite.config.ts
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
    "public",
    "src",
)
NO_PART_OF_THE_PAGE = re.compile(r"\.test\.tsx?$|\.md$")
SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc"
    r"|setAttribute\(\s*[\"']style"
)
MOST_BYTES = 1_500_000


def _source_files() -> list[Path]:
    found = [WEB / name for name in SOURCES if (WEB / name).is_file()]
    folders = [WEB / name for name in SOURCES if (WEB / name).is_dir()]
    found += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if not NO_PART_OF_THE_PAGE.search(path.name)]


def _hash_of_sources() -> str:
    digest = hashlib.sha256()
    named = {path.relative_to(WEB).as_posix(): path for path in _source_files()}
    for name in sorted(named):
        digest.update(name.encode() + b"\0" + named[name].read_bytes() + b"\0")
    return digest.hexdigest()


def test_the_page_was_built_from_the_sources_beside_it():
    built = json.loads((STATIC / "BUILD.json").read_text(encoding="utf-8"))

    assert built["sources"] == _hash_of_sources(), "stale: run `make page` and commit the result"


def test_every_file_that_the_page_names_is_there():
    html = (STATIC / "index.html").read_text(encoding="utf-8")

    named = re.findall(r'(?:src|href)="([^"]+)"', html)

    assert named
    assert all(name.startswith("./") and (STATIC / name).is_file() for name in named)


def test_the_page_is_small_and_brings_only_fonts_that_every_browser_reads():
    files = [path for path in STATIC.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert {path.suffix for path in files} <= {".html", ".js", ".css", ".svg", ".json", ".woff2"}


def test_the_page_asks_no_other_machine():
    for path in STATIC.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text(encoding="utf-8")
            hosts = set(re.findall(r"https?://([a-z0-9.-]+)", text))
            assert hosts <= {"www.w3.org", "katex.org", "preactjs.com"}, path.name


@pytest.mark.parametrize("path", _source_files(), ids=lambda path: path.name)
def test_no_source_can_turn_text_into_markup(path: Path):
    if path.suffix in (".ts", ".tsx", ".html"):
        assert not SINKS.search(path.read_text(encoding="utf-8"))


def test_the_lock_names_no_registry():
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))

    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
