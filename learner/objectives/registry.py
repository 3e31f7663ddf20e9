"""Which objective a name means. Nothing is imported until somebody asks for it."""

from configs.errors import UserError
from learner.objectives.base import Objective
from verifiers import plugins

OBJECTIVES = {
    "sft": "learner.objectives.sft:SFT",
    "raft": "learner.objectives.clipped:RAFT",
    "grpo": "learner.objectives.clipped:GRPO",
    "dr_grpo": "learner.objectives.clipped:DR_GRPO",
    "dapo": "learner.objectives.clipped:DAPO",
    "tldr": "learner.objectives.clipped:TLDR",
    "dft": "learner.objectives.dft:DFT",
    "asft": "learner.objectives.dft:ASFT",
    "chord": "learner.objectives.chord:CHORD",
    "chord_grpo": "learner.objectives.chord:CHORD_GRPO",
    "opsd": "learner.objectives.opsd:OPSD",
    "curio": "learner.objectives.curio:CURIO",
    "one_token_rollout": "learner.objectives.one_token_rollout:ONE_TOKEN_ROLLOUT",
}


def resolve(name: str) -> Objective:
    """``resolve("grpo")``, or somebody's own: ``resolve("my_module:MINE")``, which runs its module.

    Raises UserError, one line."""
    found = plugins.resolve("objective", name, OBJECTIVES, own="module:OBJECTIVE")
    if not isinstance(found, Objective):
        raise UserError(f"objective {name!r} is no learner.objectives.base.Objective")
    return found
