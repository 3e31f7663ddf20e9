"""Rows of a run directory, read back into what a filter decides over."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from verifiers.filters import GUARDS
from verifiers.steps import Step
from verifiers.types import Abort, Check, Completion, Verdict

Row = Mapping[str, Any]

COLUMNS = (
    *("rollout_id", "group_id", "sample", "problem_id", "budget", "max_tokens", "n_tokens"),
    *("finish_reason", "answer", "verdict", "filters", "reason", "logp_mean"),
    *("is_expert", "origin", "first_version", "last_version"),
)

OF_DECIDE = 3
"""Checks that ``verifiers.filters.decide`` makes of every rollout, before a judge's scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Reads completions and verdicts back out of rows."""

    steps: tuple[Step, ...]
    """Of the run."""
    texts: Mapping[str, str]

    def completion(self, row: Row) -> Completion:
        return Completion(
            text=self.texts.get(row["rollout_id"], ""),
            token_ids=(0,) * row["n_tokens"],  # a decision looks at no token, only at their number
            finish_reason=row["finish_reason"],
            first_version=row["first_version"],
            last_version=row["last_version"],
            start_us=0,
            end_us=0,
            is_expert=bool(row["is_expert"]),
            origin=row["origin"] or "self",
            aborted_by=row["reason"] if row["reason"] in get_args(Abort) else None,
            score=self._score(row),
        )

    def verdict(self, row: Row) -> Verdict:
        end = len(row["filters"]) - len(self._of_steps(row))
        return Verdict(
            status=row["verdict"],
            extracted=row["answer"],
            reason=row["reason"] if row["reason"] in GUARDS else "",
            scores={check["name"]: check["value"] for check in row["filters"][OF_DECIDE:end]},
        )

    def limits(self, group: Sequence[Row]) -> dict[str, float]:
        """Thresholds that the run followed, as the group's ticket had them."""
        following = {step.name for step in self.steps if step.quantile is not None}
        checks = [check for row in group for check in self._of_steps(row)]
        return {c.name: c.threshold for c in checks if c.name in following}

    def _of_steps(self, row: Row) -> list[Check]:
        """The last ones, of what finished."""
        if row["finish_reason"] != "stop" or not self.steps:
            return []
        return [
            Check(name=c["name"], passed=c["pass"], value=c["value"], threshold=c["threshold"])
            for c in row["filters"][-len(self.steps) :]
        ]

    def _score(self, row: Row) -> float | None:
        """What ``grape`` compared, where the run had it, else what the engine said."""
        for check in self._of_steps(row):
            if check.name == "grape":
                return None if math.isnan(check.value) else check.value
        return None if row["is_expert"] else row["logp_mean"]
