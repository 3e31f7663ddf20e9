"""The base of every section of a run's configuration."""

from pydantic import BaseModel, ConfigDict

Setting = float | int | str | bool


class Section(BaseModel):
    """Frozen, and a misspelt key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )
