"""V15: what ran, key by key, with the place that each value came from."""

import shlex
from typing import Any

import yaml
from omegaconf import OmegaConf
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from configs.load import section_of
from configs.run_files import RESOLVED, SOURCES
from configs.schema import RunConfig
from configs.secrets import redact, redact_values
from dashboard.server.lines import read_object
from dashboard.server.look import Look
from dashboard.server.run import Run, micros


def config(look: Look) -> dict[str, Any]:
    run = look.run
    values, text = flat_values(run), _text(run)
    defaults = dict(flatten(_defaults(RunConfig)))
    sources = read_object(run.run_dir / SOURCES)
    words = _descriptions(RunConfig)
    starts = [start for start in run.files.run.get("starts") or [] if isinstance(start, dict)]
    return {
        "entries": [
            {
                "key": key,
                "value": value,
                "is_default": defaults[key] == value if key in defaults else None,
                "default": defaults.get(key),
                "source": _source(key, sources, defaults.get(key) == value),
                "description": words.get(key),
            }
            for key, value in values.items()
        ],
        "command": _command(run, starts),
        "starts": [
            {
                "at_us": micros(start.get("at")),
                "command": [redact(str(word)) for word in start.get("command") or []],
                "pid": start.get("pid"),
            }
            for start in starts
        ],
        "yaml": text,
        "fingerprints": {
            str(name): str(value)
            for name, value in (run.files.run.get("fingerprints") or {}).items()
        },
    }


def flat_values(run: Run) -> dict[str, str]:
    """Dotted keys and their values as YAML, also of a run that another version wrote."""
    try:
        loaded = OmegaConf.to_container(OmegaConf.create(_text(run)), resolve=False)
    except Exception:
        return {}
    return dict(flatten(redact_values(loaded))) if isinstance(loaded, dict) else {}


def flatten(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += flatten(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", as_yaml(value)))
    return found


def as_yaml(value: Any) -> str:
    """In one line, as one would type it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _text(run: Run) -> str:
    try:
        return (run.run_dir / RESOLVED).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Nested defaults; a key without one is left out."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        section = section_of(field)
        if field.default is None:
            found[name] = None
        elif section is not None and section is field.annotation:
            found[name] = _defaults(section)
        elif field.default is not PydanticUndefined:
            found[name] = _plain(field.default)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _descriptions(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            found |= _descriptions(section, f"{prefix}{name}.")
        if field.description:
            found[prefix + name] = " ".join(field.description.split())
    return found


def _source(key: str, sources: dict[str, Any] | None, is_default: bool) -> str | None:
    if sources is None:
        return "default" if is_default else None
    for known in (key, *(key.rsplit(".", number)[0] for number in range(1, key.count(".") + 1))):
        if known in sources:
            return str(sources[known])
    return "default"


def _command(run: Run, starts: list[dict[str, Any]]) -> str:
    """The resolved values alone reproduce the run, whatever presets say by now."""
    first = [str(word) for word in starts[0].get("command") or []] if starts else []
    if run.files.run.get("synthetic"):
        return shlex.join([redact(word) for word in first])
    return f"laconic train {shlex.quote(str(run.run_dir / RESOLVED))} name={run.name}-again"
