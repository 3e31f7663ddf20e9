"""The knobs of methods that shorten, or lengthen, thinking while a model decodes."""

from pydantic import Field

from configs.section import Section


class DecodeConfig(Section):
    """Methods that change what is sampled and not the model: to compare with, in ``laconic eval``
    and nowhere else. Any key of this section switches them on."""

    stop_temperature: float = Field(default=1.0, gt=0)
    """While the model thinks, the logits of ``stop_tokens`` are divided by it: below 1 raises a
    positive logit, and lowers a negative one."""

    stop_bias: float = 0.0
    """Added to them after that, whatever their sign: above 0 ends the thinking sooner."""

    stop_tokens: tuple[str, ...] = Field(default=("</think>",), strict=False)
    """Each must be one token of the model."""

    thinking_budget: int | None = Field(default=None, ge=0)
    """Response tokens after which ``forced_end`` is written, if the model still thinks: s1."""

    forced_end: str = "</think>"
    """It may go on behind the tag, such as with ``Final Answer:``."""

    waits: int = Field(default=0, ge=0)
    """The first so many times that the model would end its thinking, ``wait_text`` stands there
    instead: s1. ``</think>`` must be one token of the model."""

    wait_text: str = "Wait"
    """What makes it think on."""
