"""Everything that can be wrong with a run, found before anything is written or started."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from actors.prompts import PromptSource
from cluster.models import models_dir, resolve_model
from configs.errors import UserError
from configs.schema import RunConfig
from learner.objectives.base import Need
from learner.objectives.bind import bind
from learner.objectives.registry import resolve
from verifiers.registry import path_of

OF_SAMPLES: frozenset[Need] = frozenset({"advantages", "old_logprobs"})
"""What only a sample of the policy has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    model_dir: str
    source: PromptSource
    keep_rejected: bool
    """The objective learns from whole groups, not from what was accepted alone."""
    summary: str
    warnings: tuple[str, ...]


def prepare(config: RunConfig, report: Callable[[str], None]) -> Prepared:
    """The model is there and every row of the data can be asked; else one line says why not."""
    if config.judge.audit_verifier is not None:
        path_of(config.judge.audit_verifier)
    bind(config.learner.objective, config.learner.objective_settings)
    needs = resolve(config.learner.objective).needs
    refuse_contradictions(config, needs)
    model_dir = resolve_model(config.model.path, report)
    source = PromptSource(config, model_dir, models_dir())
    loaded = source.load()
    return Prepared(
        model_dir=model_dir,
        source=source,
        keep_rejected="advantages" in needs,
        summary=(
            f"{loaded.num_train} problems to learn from, {loaded.num_heldout} held out, "
            f"longest prompt {loaded.longest_prompt} tokens"
        ),
        warnings=tuple(loaded.warnings),
    )


def refuse_contradictions(config: RunConfig, needs: frozenset[Need]) -> None:
    """Between what the objective learns from and what the data and the batch give it."""
    objective, responses = config.learner.objective, config.data.responses
    if "expert_batch" in needs and responses != "beside":
        raise UserError(
            f"learner.objective={objective} learns from given responses beside the policy's own, "
            f"and data.responses is {responses}; set data.responses=beside"
        )
    if "expert_batch" not in needs and responses != "ignore" and needs & OF_SAMPLES:
        raise UserError(
            f"learner.objective={objective} learns from the policy's own samples alone, and "
            f"data.responses={responses} brings others; set it to ignore, or take chord_grpo"
        )
    if config.batch.drop_equal and "advantages" not in needs:
        raise UserError(
            f"batch.drop_equal is for objectives that compare the rollouts of a group, and "
            f"learner.objective={objective} learns from accepted ones alone; leave it out"
        )


def needed_bytes(config: RunConfig, model_dir: str) -> int:
    """Disk for the checkpoints: weights and two moments in float32, and the plain weights."""
    weights = sum(path.stat().st_size for path in Path(model_dir).glob("*.safetensors"))
    return (config.checkpoint.keep + 1) * 8 * weights + (64 << 20)
