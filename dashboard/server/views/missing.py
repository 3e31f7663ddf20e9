"""Why a value is not there: never a blank, never a zero."""

from collections.abc import Mapping
from typing import Any

AFTER_TRAINING = ("step", "lag", "queue_ms", "trained_version", "fate_us")
IN_TRAINING = ("weight", "loss_tokens", "learner_logp_mean")
"""Only a rollout that was trained has them."""

ALWAYS = ("generator_id", "first_version", "start_us", "gen_ms", "verify_ms", "n_prompt")


def why_of_rollout(row: Mapping[str, Any], never: Mapping[str, str]) -> dict[str, str]:
    """Of each value of a rollout that is null. ``never``: columns that the whole run lacks."""
    return {name: _why(name, row, never) for name, value in row.items() if value is None}


def _why(name: str, row: Mapping[str, Any], never: Mapping[str, str]) -> str:
    if name in AFTER_TRAINING + IN_TRAINING:
        if row["fate"] == "waiting":
            return "not_yet"
        if row["fate"] == "rejected" or (name in IN_TRAINING and row["fate"] != "trained"):
            return "not_applicable"
        return "not_recorded"
    if name == "reason":
        return "not_applicable" if row["accepted"] else "not_recorded"
    if name in never:
        return never[name]
    return "not_recorded" if name in ALWAYS else "not_applicable"
