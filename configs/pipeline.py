"""What a pipeline is: runs one after the other, each from what the one before ended with."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from configs.load import ConfigError, read_values
from configs.section import Section

PIPELINES = Path(__file__).parent / "pipelines"

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class StageConfig(Section):
    recipe: str | None = None
    """A recipe (``sft``, ``rlvr``, ``opsd`` …) or a YAML file. None: only what ``set`` says."""

    share: float = Field(default=1.0, gt=0)
    """How much of the problems it gets, against the shares of the others that read the same
    data."""

    set: dict[str, Any] = Field(default={})
    """Keys of a run that this stage sets, such as ``{steps: 50}``."""


class PipelineConfig(Section):
    name: str | None = Field(default=None, pattern=NAME)
    """Folder under ``runs_dir``. None: the pipeline's name and the time."""

    runs_dir: str = "runs"
    """Where it lives; every stage is a run in its folder."""

    run: str
    """Preset or YAML file that every stage starts from: model, data, limits."""

    first: str | None = None
    """Stage to begin with, for a model that has been through the ones before. None: the first."""

    overlap: float = Field(default=0.0, ge=0, le=1)
    """Share of the problems of other stages that a stage gets as well. 0: no two stages see the
    same problem. 1: every stage sees all of them."""

    set: dict[str, Any] = Field(default={})
    """Keys of a run that all stages set."""

    stages: dict[str, StageConfig]
    """By name, in their order."""

    @field_validator("set")
    @classmethod
    def _leaves_what_is_ours(cls, values: dict[str, Any]) -> dict[str, Any]:
        return _free(values)

    @model_validator(mode="after")
    def _stages_are_there(self) -> "PipelineConfig":
        if not self.stages:
            raise ValueError("stages names none; give at least one")
        for name, stage in self.stages.items():
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"stages.{name}: a name has letters, digits, - and _ only")
            _free(stage.set, f"stages.{name}.")
        if self.first is not None and self.first not in self.stages:
            raise ValueError(f"first={self.first!r} is none of {', '.join(self.stages)}")
        return self

    @property
    def run_stages(self) -> dict[str, StageConfig]:
        """Those from ``first`` on."""
        names = list(self.stages)
        start = names.index(self.first) if self.first is not None else 0
        return {name: self.stages[name] for name in names[start:]}


def _free(values: dict[str, Any], where: str = "") -> dict[str, Any]:
    for key in ("name", "runs_dir"):
        if key in values:
            raise ValueError(f"{where}set.{key} is the pipeline's own; set {key} beside stages")
    return values


def pipeline_names() -> list[str]:
    return sorted(path.stem for path in PIPELINES.glob("*.yaml"))


def load_pipeline(pipeline: str, arguments: list[str]) -> PipelineConfig:
    """``load_pipeline("sft-rlvr-opsd", ["stages.rlvr.set.steps=3"])``."""
    return validate_pipeline(read_values(_path_of(pipeline), arguments))


def validate_pipeline(values: Any) -> PipelineConfig:
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(_unknown(key)) from error
        if first["type"] == "missing":
            raise ConfigError(f"a pipeline needs {key}; see docs/pipelines.md") from error
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{key}: {message}" if key else message) from error


def _unknown(key: str) -> str:
    section = StageConfig if key.startswith("stages.") else PipelineConfig
    near = difflib.get_close_matches(key.rpartition(".")[2], list(section.model_fields), 1)
    hint = f"did you mean {near[0]!r}?" if near else "what a run sets goes below set"
    return f"unknown key {key!r} of a pipeline; {hint}"


def _path_of(pipeline: str) -> Path:
    if (PIPELINES / f"{pipeline}.yaml").is_file():
        return PIPELINES / f"{pipeline}.yaml"
    if pipeline.endswith((".yaml", ".yml")) and Path(pipeline).is_file():
        return Path(pipeline)
    near = difflib.get_close_matches(pipeline, pipeline_names(), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(pipeline_names())}"
    raise ConfigError(f"no pipeline and no YAML file is called {pipeline!r}; {hint}")
