"""What one optimizer step did with the samples of its groups: trained each, or left it out for a
reason that holds. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from actors.history_types import SKIPPED, Faults, Record, Sample

Samples = dict[str, Sample]
"""By id."""


@dataclass(slots=True, kw_only=True)
class Taken:
    """The account of one acknowledgement."""

    step: int
    max_lag: int
    ends: dict[str, str] = field(default_factory=dict)
    """Of every sample ``trained``, or why it was left out. Empty where the log only counts them."""
    faults: Faults = field(default_factory=Faults)
    wrong: list[str] = field(default_factory=list)

    def read(self, record: Record, kept: Samples) -> None:
        """``kept``: what the groups of the step hold for the learner."""
        left_out = self._left_out(record, kept)
        if left_out is None:
            self._count(record, kept)
            return
        trained = {name: sample for name, sample in kept.items() if name not in left_out}
        self._compare(record["trained"], len(trained))
        tokens = sum(sample.tokens for sample in trained.values())
        if record["tokens"] != tokens:
            self._say(f"counts {record['tokens']} trained tokens, and there are {tokens}")
        for name, sample in trained.items():
            self._require_fresh(name, sample)
        self.ends = {name: left_out.get(name, "trained") for name in kept}

    def _left_out(self, record: Record, kept: Samples) -> dict[str, str] | None:
        """Reasons by id. None: the log is of a version that counted them and named none."""
        dropped = Counter[str](record["dropped"])
        if "left_out" not in record:
            if dropped[SKIPPED] == len(kept):
                return dict.fromkeys(kept, SKIPPED)
            return None if dropped.total() else {}
        reasons: dict[str, str] = {}
        for reason, names in record["left_out"].items():
            for name in names:
                if name in kept and name not in reasons:
                    reasons[name] = reason
                    self._require_reason(name, reason, kept)
                else:
                    self.faults.unexpected += 1
                    self._say(f"leaves out {name}, which it does not have")
        named = {reason: len(names) for reason, names in record["left_out"].items()}
        if named != dict(dropped):
            self._say(f"counts {dict(dropped)} rollouts left out, and names {named}")
        return reasons

    def _require_reason(self, name: str, reason: str, kept: Samples) -> None:
        """Groups that are learned from as a whole share one end: it must hold for one of them."""
        group = [sample for sample in kept.values() if sample.ticket == kept[name].ticket]
        is_stale = any(sample.lag(self.step) > self.max_lag for sample in group)
        is_equal = len({sample.reward for sample in group if not sample.is_expert}) <= 1
        if (reason == "stale" and not is_stale) or (reason == "equal" and not is_equal):
            self.faults.lost += 1
            self._say(f"leaves out {name} as {reason}, which it is not")

    def _require_fresh(self, name: str, sample: Sample) -> None:
        lag = sample.lag(self.step)
        if lag > self.max_lag:
            self.faults.over_stale += 1
            self._say(f"trains {name} with lag {lag}, above max_lag {self.max_lag}")

    def _count(self, record: Record, kept: Samples) -> None:
        trained = record["trained"]
        self._compare(trained, len(kept) - sum(record["dropped"].values()))
        fresh = sum(sample.lag(self.step) <= self.max_lag for sample in kept.values())
        if trained > fresh:
            self.faults.over_stale += trained - fresh
            self._say(f"trains {trained} rollouts, and {fresh} are within max_lag {self.max_lag}")

    def _compare(self, counted: int, there: int) -> None:
        if counted != there:
            self.faults.lost += max(0, there - counted)
            self.faults.unexpected += max(0, counted - there)
            self._say(f"counts {counted} trained rollouts, and there are {there}")

    def _say(self, what: str) -> None:
        self.wrong.append(f"step {self.step} {what}")
