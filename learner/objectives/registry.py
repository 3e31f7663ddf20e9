"""Which objective a name means. Nothing is imported until somebody asks for it."""

import difflib
import importlib

from configs.errors import UserError
from learner.objectives.base import Objective

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


class UnknownObjective(UserError):
    """The message is one line and names the nearest known objective."""


def resolve(name: str) -> Objective:
    """``resolve("grpo")``, or somebody's own: ``resolve("my_module:MINE")``, which runs its module.

    Raises UnknownObjective."""
    path = OBJECTIVES.get(name.strip().lower(), name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise UnknownObjective(_explain(name))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownObjective(
            f"objective {name!r} names no importable module and object (module:OBJECTIVE): "
            + " ".join(str(error).split())
        ) from error
    if not isinstance(found, Objective):
        raise UnknownObjective(f"objective {name!r} is no learner.objectives.base.Objective")
    return found


def _explain(name: str) -> str:
    near = difflib.get_close_matches(name.strip().lower(), OBJECTIVES, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OBJECTIVES)}"
    return f"no objective is called {name!r}; {hint} (or name your own as module:OBJECTIVE)"
