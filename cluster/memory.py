"""``--dry-run``'s lines about the memory of a learner rank. Nothing is fetched, made or loaded."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from cluster.models import models_dir
from configs.schema import RunConfig
from learner.made_folder import RECIPES

WORDS = {
    "process": "the process itself",
    "weights": "weights",
    "optimizer": "optimizer",
    "teacher": "teacher",
    "published": "what was published last, to send only what changes (rank 0; sync.delta)",
    "gradients": "gradients",
    "activations": "activations of one pack",
    "loss": "output layer and loss",
    "heap": "lost between allocations",
    "copy": "a copy to publish or save, while no pack is computed",
    "saved": "the copy that a checkpoint is written from (checkpoint.background)",
}


def memory_lines(config: RunConfig, device: Literal["cpu", "cuda"]) -> list[str]:
    """What one learner rank is estimated to need; one line when nobody can know yet."""
    try:
        return list(_lines(config, device))
    except (OSError, ValueError, RuntimeError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [f"no estimate of the learner's memory: {reason}"]


def _lines(config: RunConfig, device: Literal["cpu", "cuda"]) -> Iterator[str]:
    settings = config.learner
    model_config = _config_of(config.model.path, config)
    teacher = settings.teacher.model
    teacher_config = None if teacher is None else _config_of(teacher, config)
    from learner.memory import MIB, estimate  # noqa: PLC0415  heavy

    parts = estimate(config, model_config, settings.world_size, device, teacher_config)
    where = "memory" if device == "cpu" else "GPU memory (an estimate that nobody measured yet)"
    yield f"{where} of one learner rank, with full packs"
    for field in fields(parts):
        if size := getattr(parts, field.name):
            yield f"  {size / MIB:8,.0f} MiB  {WORDS[field.name]}"
    yield f"  {parts.total / MIB:8,.0f} MiB  together, at most"


def _config_of(name: str, config: RunConfig) -> Any:
    """The model's configuration, if it is on this machine."""
    from transformers import AutoConfig  # noqa: PLC0415  heavy

    is_policy = name == config.model.path
    try:
        return AutoConfig.from_pretrained(
            models_dir() / name if name in RECIPES else name,
            revision=config.model.revision if is_policy else None,
            trust_remote_code=config.model.trust_remote_code and is_policy,
            local_files_only=True,
        )
    except OSError as error:
        raise OSError(f"{name!r} is not on this machine; {_way_out(name)}") from error


def _way_out(name: str) -> str:
    if name in RECIPES:
        return f"the first run makes it, or now: laconic validate {name}"
    if Path(name).is_absolute() or name.count("/") != 1:
        return "name a folder with config.json, or a hub model as owner/name"
    return f"for the estimate: hf download {name} config.json"
