"""Rules that say, when most of its budget is used, that a rollout cannot be accepted any more.

Your own is a function in a module of yours, named ``module:NAME`` by ``economy.doomed``:

    def doomed(text: str, problem: Problem) -> bool

``text`` is what was written so far, behind the ``<think>`` that the prompt ended with, if it did.
It is asked once for each rollout, in the generator's own loop, so it has to be quick. It may err:
while ``economy.doomed_continue`` is above 0 some of what it dooms goes on, with its probability.
"""

import importlib
from collections.abc import Callable
from typing import cast

from configs.errors import UserError
from verifiers.registry import is_importable
from verifiers.types import Problem

Rule = Callable[[str, Problem], bool]

THINK_OPENS, THINK_CLOSES = "<think>", "</think>"


def thinking(text: str, problem: Problem) -> bool:
    """It thinks still. Who never began to think is not doomed."""
    return THINK_OPENS in text and THINK_CLOSES not in text


def boxed(text: str, problem: Problem) -> bool:
    r"""No ``\boxed`` or ``\fbox`` was begun."""
    return "\\boxed" not in text and "\\fbox" not in text


RULES: dict[str, Rule] = {"thinking": thinking, "boxed": boxed}


def check_rule(name: str) -> None:
    """UserError, one line, for a name that means nothing. Imports no module of the user's."""
    if name not in RULES and not is_importable(name):
        raise UserError(
            f"economy.doomed={name} is no rule: there are {', '.join(RULES)}, or name your own as "
            "module:NAME, of a module that can be imported"
        )


def rule_of(name: str) -> Rule:
    """The function that a checked name means. Runs the code of the user's module."""
    if name in RULES:
        return RULES[name]
    check_rule(name)
    module, _, function = name.partition(":")
    rule = getattr(importlib.import_module(module), function, None)
    if not callable(rule):
        raise UserError(f"economy.doomed={name}: {module} has no function {function}")
    return cast(Rule, rule)
