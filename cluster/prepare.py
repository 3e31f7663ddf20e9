"""Everything that can be wrong with a run, found before anything is written or started."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors.curriculum import check_curriculum
from actors.doomed import check_rule
from actors.prompts import PromptSource
from cluster.models import models_dir, resolve_model
from configs.errors import UserError
from configs.schema import RunConfig
from learner.provided import bound_objective, needs_rejected
from verifiers.hooks import bind_hooks
from verifiers.registry import path_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    model_dir: str
    teacher_dir: str | None
    """Of ``learner.teacher.model``. None: the teacher, if there is one, starts as the policy."""
    source: PromptSource
    keep_rejected: bool
    """The objective learns from whole groups, not from what was accepted alone."""
    fingerprints: dict[str, str]
    """Of what a run must find again when it goes on, by what a person would call it."""
    summary: str
    warnings: tuple[str, ...]


def prepare(config: RunConfig, report: Callable[[str], None]) -> Prepared:
    """The model is there and every row of the data can be asked; else one line says why not."""
    for key in ("prompt", "decode"):
        if getattr(config.eval, key) is not None:
            raise UserError(
                f"eval.{key} is for `laconic eval`: a run is evaluated as it samples; leave it out"
            )
    if config.judge.audit_verifier is not None:
        path_of(config.judge.audit_verifier)
    if config.economy.doomed is not None:
        check_rule(config.economy.doomed)
    bind_hooks(config.filter)
    objective = bound_objective(config)
    check_curriculum(config)
    teacher = config.learner.teacher.model
    model_dir = resolve_model(config.model.path, report)
    source = PromptSource(config, model_dir, models_dir())
    loaded = source.load()
    return Prepared(
        model_dir=model_dir,
        teacher_dir=resolve_model(teacher, report) if teacher is not None else None,
        source=source,
        keep_rejected=needs_rejected(objective),
        fingerprints={
            "problems": loaded.fingerprint,
            "tokenizer": loaded.tokenizer_fingerprint,
        },
        summary=(
            f"{loaded.num_train} problems to learn from, {loaded.num_heldout} held out, "
            f"longest prompt {loaded.longest_prompt} tokens"
        ),
        warnings=tuple(loaded.warnings),
    )


def needed_bytes(config: RunConfig, model_dir: str) -> int:
    """Disk for the checkpoints: weights and two moments in float32, and the plain weights."""
    weights = sum(path.stat().st_size for path in Path(model_dir).glob("*.safetensors"))
    return (config.checkpoint.keep + 1) * 8 * weights + (64 << 20)
