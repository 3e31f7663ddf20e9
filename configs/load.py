"""Compose a preset, further files, the environment and dotted overrides; check the result once."""

import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from yaml import YAMLError

from configs.errors import UserError
from configs.schema import FilterConfig, JudgeConfig, RunConfig
from configs.secrets import is_secret_name, redact_values, secret_keys, secrets_of

PRESETS = Path(__file__).parent / "presets"
RECIPES = Path(__file__).parent / "recipes"
"""What a method sets, whatever the model and the data."""

EXTENDS = "extends"
"""Key of a file that names what it builds upon: presets, recipes or files beside it."""

ENVIRONMENT_PREFIX = "LACONIC__"
TEXTS = (
    "data.system_prompt",
    "data.suffix",
    "data.paraphrase",
    "learner.teacher.prompt",
    "eval.prompt",
)
"""Keys whose values may begin with a brace."""

OPEN_SECTIONS = (
    "learner.objective_settings.",
    "curriculum.policy_settings.",
    "sampling.policy.settings.",
)
"""Their keys are those of a part which may be somebody's own."""


class ConfigError(UserError):
    """What the user wrote cannot be run; the message is one line and names the way out."""


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def recipe_names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(preset: str, arguments: list[str]) -> RunConfig:
    """``load("tiny", ["rlvr", "steps=5", "more.yaml"])``: preset, environment, then the
    arguments, each a recipe, a file or a pair."""
    return validate(_container([layer for _, layer in _layers(preset, arguments)]))


def load_layers(preset: str, layers: Sequence[str | Mapping[str, Any]]) -> RunConfig:
    """The same with presets, recipes or files, and values as they are, instead of pairs."""
    named = _layers(preset, [])
    return validate(_container([*(layer for _, layer in named), *map(_layer, layers)]))


def read_values(path: Path, arguments: list[str]) -> Any:
    """A file that is no run's, with ``key=value`` pairs whose keys nobody checks here."""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise ConfigError(f"an override reads key=value, got {argument!r}")
        if "${" in value or value == "???":
            raise ConfigError(f"{argument}: write the value itself")
    try:
        pairs = OmegaConf.from_dotlist(arguments)
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"cannot read {' '.join(arguments)!r}: {_one_line(error)}") from error
    return _container([_read_file(path), pairs])


def _container(layers: list[DictConfig]) -> Any:
    try:
        merged = OmegaConf.to_container(
            OmegaConf.merge(*layers), resolve=True, throw_on_missing=True
        )
    except MissingMandatoryValue as error:
        key = error.full_key
        raise ConfigError(f"{key} is required and has no value; set it with {key}=…") from error
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error)) from error
    for key in secret_keys(merged):
        raise ConfigError(_secret(key))
    return merged


def _layer(what: str | Mapping[str, Any]) -> DictConfig:
    return _read_all(find_file(what)) if isinstance(what, str) else OmegaConf.create(dict(what))


def sources(preset: str, arguments: list[str]) -> dict[str, str]:
    """Where ``load`` has each value from that somebody gave: the file's name, ``environment`` or
    ``command line``. A key that is not in it has its default."""
    found: dict[str, str] = {}
    for source, layer in _layers(preset, arguments):
        for key in leaves(OmegaConf.to_container(layer)):
            found[key] = source
    return found


def load_judge(arguments: list[str]) -> JudgeConfig:
    """``load_judge(["judge.strictness=lenient"])``: the judges alone, for who has no run."""
    for argument in arguments:
        if not argument.startswith("judge."):
            raise ConfigError(f"only judge.key=value can be set here, got {argument!r}")
    layers = [OmegaConf.create({"judge": {}}), *map(_from_argument, arguments)]
    try:
        return JudgeConfig.model_validate(OmegaConf.to_container(OmegaConf.merge(*layers).judge))
    except ValidationError as error:
        raise ConfigError(_explain(error, "judge.")) from error


def load_filter(base: FilterConfig, arguments: list[str]) -> FilterConfig:
    """``load_filter(run.filter, ["filter.length_budget=90"])``: a run's filter with changes."""
    layers = [OmegaConf.create({"filter": base.model_dump(mode="json")})]
    layers += [_from_argument(argument) for argument in arguments]
    try:
        return FilterConfig.model_validate(OmegaConf.to_container(OmegaConf.merge(*layers).filter))
    except ValidationError as error:
        raise ConfigError(_explain(error, "filter.")) from error
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error)) from error


def validate(values: Any) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def dump(config: RunConfig) -> str:
    """The whole configuration as YAML; ``validate`` of it gives the same configuration back, but
    for values that look like secrets, which are not written down."""
    values = redact_values(config.model_dump(mode="json"), secrets_of(os.environ))
    return OmegaConf.to_yaml(OmegaConf.create(values))


def load_resolved(path: Path) -> RunConfig:
    """Read back what ``dump`` wrote into a run directory."""
    return validate(OmegaConf.to_container(_read_file(path), resolve=False))


def known_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None:
            yield from known_keys(section, f"{prefix}{name}.")
        if is_settable(field):
            yield prefix + name


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, one that may be None included."""
    kinds = get_args(field.annotation) or (field.annotation,)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def is_settable(field: FieldInfo) -> bool:
    """It has a value of its own, if only None in place of a section."""
    return section_of(field) is not field.annotation


def _layers(preset: str, arguments: list[str]) -> list[tuple[str, DictConfig]]:
    """What is composed, each with its name; the later wins."""
    path = _preset_path(preset)
    layers = [(path.name, _read_all(path)), ("environment", _from_environment(os.environ))]
    for argument in arguments:
        source = "command line" if "=" in argument else Path(argument).name
        layers.append((source, _from_argument(argument)))
    return layers


def leaves(values: Any, prefix: str = "") -> Iterator[str]:
    """``{"a": {"b": 1}}`` has ``a.b``; a list is one value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _preset_path(preset: str) -> Path:
    if (PRESETS / f"{preset}.yaml").is_file():
        return PRESETS / f"{preset}.yaml"
    if preset.endswith((".yaml", ".yml")) and Path(preset).is_file():
        return Path(preset)
    near = difflib.get_close_matches(preset, preset_names(), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(preset_names())}"
    raise ConfigError(f"no preset and no YAML file is called {preset!r}; {hint}")


def find_file(name: str, beside: Path | None = None) -> Path:
    """What ``extends`` or a stage means: a preset, a recipe, or a file (``beside`` that one)."""
    for folder in (PRESETS, RECIPES):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    if name.endswith((".yaml", ".yml")):
        return (beside.parent / name) if beside is not None else Path(name)
    names = [*preset_names(), *recipe_names()]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    raise ConfigError(f"no preset, recipe or YAML file is called {name!r}; {hint}")


def _read_all(path: Path, above: tuple[Path, ...] = ()) -> DictConfig:
    """The file over all that it extends."""
    if path in above:
        raise ConfigError(f"{path} extends itself; remove it from the key {EXTENDS!r}")
    values = _read_file(path)
    names = values.pop(EXTENDS, [])
    names = [names] if isinstance(names, str) else list(names)
    below = [_read_all(find_file(str(name), path), (*above, path)) for name in names]
    try:
        return OmegaConf.merge(*below, values)  # pyright: ignore[reportReturnType]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from error


def _read_file(path: Path) -> DictConfig:
    if not path.is_file():
        raise ConfigError(f"configuration file {str(path)!r} does not exist")
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable as YAML: {_one_line(error)}") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path} must hold keys and values, not a list")
    if "${oc.env" in path.read_text():
        raise ConfigError(
            f"{path} uses ${{oc.env:…}}, which would copy the environment into the run's files; "
            f"set {ENVIRONMENT_PREFIX}SECTION__KEY instead"
        )
    return loaded


def _from_environment(environment: Mapping[str, str]) -> DictConfig:
    """``LACONIC__FILTER__LENGTH_BUDGET=100`` is ``filter.length_budget=100``."""
    names = sorted(name for name in environment if name.startswith(ENVIRONMENT_PREFIX))
    pairs = [
        f"{name[len(ENVIRONMENT_PREFIX) :].lower().replace('__', '.')}={environment[name]}"
        for name in names
    ]
    return _from_pairs(pairs)


def _from_argument(argument: str) -> DictConfig:
    if "=" not in argument and argument.endswith((".yaml", ".yml")):
        return _read_all(Path(argument))
    if argument in recipe_names():
        return _read_all(RECIPES / f"{argument}.yaml")
    key, equals, _ = argument.partition("=")
    if not equals or not key:
        raise ConfigError(
            "an override reads key=value (or names a YAML file or a recipe, which are "
            f"{', '.join(recipe_names())}), got {argument!r}"
        )
    return _from_pairs([argument])


def _from_pairs(pairs: list[str]) -> DictConfig:
    for pair in pairs:
        key, _, value = pair.partition("=")
        if is_secret_name(key.rpartition(".")[2]) and not _is_number(value):
            raise ConfigError(_secret(key))
        if value == "???":
            raise ConfigError(f"{key}=??? gives no value")
        if "${" in value:
            raise ConfigError(f"{key}={value}: interpolation is for files, write the value")
        _require_known(key)
    try:
        return OmegaConf.from_dotlist([_with_text_quoted(pair) for pair in pairs])
    except (OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"cannot read {' '.join(pairs)!r}: {_one_line(error)}") from error


def _secret(key: str) -> str:
    return (
        f"{key} is named like a secret, and settings are written into the run's folder; put it in "
        f"the environment instead, where its reader finds it (HF_TOKEN, WANDB_API_KEY)"
    )


def _is_number(value: str) -> bool:
    """Nobody's password, but perhaps what a part of one's own takes off for each token."""
    try:
        float(value)
    except ValueError:
        return value in ("true", "false")
    return True


def _with_text_quoted(pair: str) -> str:
    """To YAML, what begins with a brace is a mapping."""
    key, _, value = pair.partition("=")
    is_text = key in TEXTS and value.startswith("{")
    return f"{key}={json.dumps(value)}" if is_text else pair


def _require_known(key: str) -> None:
    keys = list(known_keys())
    if key in keys or key.startswith(OPEN_SECTIONS):
        return
    if any(known.startswith(f"{key}.") for known in keys):
        raise ConfigError(f"{key!r} is a section; name one of its keys, like {key}.…=value")
    raise ConfigError(_unknown(key, keys))


def _unknown(key: str, keys: list[str]) -> str:
    """Compare with whole names and with last parts: people leave the section out."""
    leaf = key.rsplit(".", 1)[-1]
    scored = {
        known: max(
            difflib.SequenceMatcher(None, key, known).ratio(),
            difflib.SequenceMatcher(None, leaf, known.rsplit(".", 1)[-1]).ratio() - 0.01,
        )
        for known in keys
    }
    nearest = max(keys, key=lambda known: scored[known])
    hint = f"did you mean {nearest!r}?" if scored[nearest] > 0.6 else "see docs/configuration.md"
    return f"unknown key {key!r}; {hint}"


def _explain(error: ValidationError, section: str = "") -> str:
    first = error.errors(include_url=False)[0]
    key = section + ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown(key, list(known_keys()))
    if first["type"] == "missing":
        return f"{key} is required and has no value; set it with {key}=…"
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key}={first['input']!r}: {message[0].lower()}{message[1:]}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
