"""The schema as a page: ``python -m configs.describe > docs/configuration.md``."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from configs.load import is_settable, preset_names, section_of
from configs.schema import RunConfig

HEAD = """# Configuration

Made from `configs/schema.py` by `make docs`; a test compares the two.

A run is a preset, then further YAML files and `key=value` pairs in the order of the command line;
the later wins. Presets: {presets}. An environment variable
`LACONIC__FILTER__LENGTH_BUDGET=100` sets `filter.length_budget` between preset and command line.
An unknown key, a wrong type or a contradiction stops the command with one line and exit code 2.

    laconic train tiny steps=5 filter.length_budget=100 --dry-run

shows the resolved configuration, the placement and the arithmetic of a batch, and starts nothing.
"""


def page() -> str:
    parts = [HEAD.format(presets=", ".join(f"`{name}`" for name in preset_names()))]
    parts.append("## Top level\n\n" + _table("", RunConfig))
    parts += _sections(RunConfig, "")
    return "\n".join(parts)


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            continue
        intro = inspect.cleandoc(section.__doc__ or "")
        title = f"## `{prefix}{name}`\n"
        table = _table(f"{prefix}{name}.", section)
        yield "\n".join(filter(None, [title, intro and f"{intro}\n", table]))
        yield from _sections(section, f"{prefix}{name}.")


def _table(prefix: str, section: type[BaseModel]) -> str:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in section.model_fields.items():
        if not is_settable(field):
            continue
        meaning = " ".join((field.description or "").split())
        meaning = meaning.replace("|", "\\|").replace("``", "`")
        rows.append(f"| `{prefix}{name}` | {_default(field)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    return "required" if value is PydanticUndefined else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
