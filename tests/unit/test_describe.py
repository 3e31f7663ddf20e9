"""The configuration page says what the schema says."""

from pathlib import Path

from configs.describe import page
from configs.load import known_keys
from configs.schema import RunConfig

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_made_from_the_schema_as_it_is():
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_key_is_on_the_page_with_a_meaning():
    rows = {line.split("|")[1].strip(" `"): line for line in page().splitlines() if "| `" in line}

    assert set(rows) == set(known_keys(RunConfig))
    assert [key for key, row in rows.items() if row.split("|")[3].strip() == ""] == []
