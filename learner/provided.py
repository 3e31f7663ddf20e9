"""What an objective asks for, and whether the run's configuration has it."""

from configs.errors import UserError
from configs.schema import RunConfig
from learner.loss import AS_PUBLISHED, Normalizer
from learner.objectives.base import Need
from learner.objectives.bind import Bound, bind

FROZEN = {"ref_logits": "ref_logits_NV", "teacher_logits": "teacher_logits_NV"}
"""Needs that a frozen policy serves, and the fields of a view that they fill."""

OF_SAMPLES: frozenset[Need] = frozenset({"advantages", "old_logprobs"})
"""What only a sample of the policy has."""


def bound_objective(config: RunConfig) -> Bound:
    """The run's objective with its numbers. Raises UserError, one line, for what it lacks."""
    name = config.learner.objective
    bound = bind(name, config.learner.objective_settings)
    needs, responses = bound.objective.needs, config.data.responses
    if "expert_batch" in needs and responses != "beside":
        raise UserError(
            f"learner.objective={name} learns from given responses beside the policy's own, and "
            f"data.responses is {responses}; set data.responses=beside"
        )
    if "expert_batch" not in needs and responses != "ignore" and needs & OF_SAMPLES:
        raise UserError(
            f"learner.objective={name} learns from the policy's own samples alone, and "
            f"data.responses={responses} brings others; set it to ignore, or take chord_grpo"
        )
    if config.batch.drop_equal and not needs_rejected(bound):
        raise UserError(
            f"batch.drop_equal is for objectives that compare the rollouts of a group, and "
            f"learner.objective={name} learns from accepted ones alone; leave it out"
        )
    if config.sampling.policy is not None and bound.objective.on_policy:
        raise UserError(
            f"sampling.policy={config.sampling.policy.use} changes the temperature, and "
            f"learner.objective={name} learns from samples of the policy as it is; leave it out, "
            "or take an objective of ratios, such as raft or grpo"
        )
    if config.filter.reward is not None and not needs_rejected(bound):
        raise UserError(
            f"filter.reward={config.filter.reward.use} is for objectives that compare the rollouts "
            f"of a group, and learner.objective={name} counts all it accepts alike; leave it out"
        )
    if "advantages" in needs and bound.objective.advantages is None:
        raise UserError(f"learner.objective={name} needs advantages and does not say which")
    if "uniforms" in needs and bound.objective.uniforms is None:
        raise UserError(f"learner.objective={name} needs uniforms and does not say how many")
    if set(FROZEN) <= needs:
        raise UserError(f"learner.objective={name} needs {' and '.join(FROZEN)}: one of them only")
    _refuse_idle_teacher(config, bound)
    return bound


def _refuse_idle_teacher(config: RunConfig, bound: Bound) -> None:
    teacher = config.learner.teacher
    if bound.name == "opsd" and teacher.prompt is None and teacher.model is None:
        raise UserError(
            "learner.objective=opsd learns from a teacher that knows more: set "
            "learner.teacher.prompt, with {problem} and maybe {answer} in it, or "
            "learner.teacher.model"
        )
    if not needs_teacher(bound) and teacher.model is not None:
        raise UserError(
            f"learner.teacher.model={teacher.model!r} would never be asked: "
            f"learner.objective={bound.name} has no teacher"
        )


def needs_teacher(bound: Bound) -> bool:
    return bool(set(FROZEN) & bound.objective.needs)


def needs_rejected(bound: Bound) -> bool:
    """Advantages are relative to the whole group, so its rejected rollouts are learnt from too."""
    return "advantages" in bound.objective.needs


def normalizer_of(config: RunConfig, bound: Bound) -> Normalizer:
    return config.learner.normalizer or AS_PUBLISHED[bound.objective.aggregation]
