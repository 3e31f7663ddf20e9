"""``laconic replay``: what another filter would have kept of the rollouts that a run recorded.

It decides with the judges' own functions. Nothing is generated or judged again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from configs.errors import UserError
from configs.load import load_filter, load_resolved
from configs.run_files import RESOLVED, latest_rollouts, read_table
from configs.schema import RunConfig
from verifiers.filters import GUARDS
from verifiers.steps import Step, bind_steps, decide_group
from verifiers.types import Abort, Check, Completion, Decision, Verdict

Row = Mapping[str, Any]

NOTE = "replays recorded rollouts, does not predict training"
KEYS = ("filter.length_budget", "filter.steps")
FIXED = "budget.kind=fixed"
"""What can be changed: no other key decides over rollouts that are already written."""

OF_DECIDE = 3
"""Checks that ``verifiers.filters.decide`` makes of every rollout, before a judge's scores."""

COLUMNS = (
    *("rollout_id", "group_id", "sample", "problem_id", "budget", "max_tokens", "n_tokens"),
    *("finish_reason", "answer", "verdict", "filters", "reason", "logp_mean"),
    *("is_expert", "origin", "first_version", "last_version"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a filter keeps."""

    kept: int
    share: float
    """Of all rollouts."""
    problems_without: int
    """Problems of which nothing is kept."""
    mean_tokens: float | None
    pass_rate: float | None
    """Mean over what is kept of its problem's share of right answers: lower is harder."""
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    rollouts: int
    left_out: int
    """In groups of which a text that a step reads was not kept."""
    agreeing: int | None
    """Recorded decisions that come out the same when they are made again. None: their texts are
    not there."""
    before: Kept
    after: Kept
    not_observed: int
    """Cut off below the new budget: nobody knows what they would have become."""
    decisions: dict[str, Decision]
    """By rollout, with the changes."""
    changed: tuple[dict[str, str | None], ...]
    """Rollouts whose reason is another one."""

    def as_dict(self) -> dict[str, Any]:
        values = asdict(replace(self, decisions={}))
        del values["decisions"]
        return values | {"note": NOTE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decides."""

    steps: tuple[Step, ...]
    budget: int | None
    """For all. None: to each the one that it had."""

    @property
    def reading(self) -> list[str]:
        """Steps that read texts."""
        return [step.name for step in self.steps if step.part.reads_text]


def replay(run_dir: Path, settings: list[str]) -> Replay:
    """Raises UserError, one line, for what cannot be replayed."""
    config = load_run(run_dir)
    recorded = Rules(steps=bind_steps(config.filter.steps), budget=None)
    changed = _changed(config, recorded, settings)
    rows: list[Row] = latest_rollouts(run_dir).select(COLUMNS).to_pylist()
    if not rows:
        raise UserError(f"{run_dir} has recorded no rollout yet")
    wants_texts = recorded.reading + changed.reading
    texts = _texts(run_dir) if wants_texts else {}
    groups = _groups(rows)
    if changed.reading:
        if not texts:
            raise UserError(
                f"filter.steps {changed.reading[0]!r} reads texts, and this run kept none "
                f"(recorder.text={config.recorder.text}); leave it out with --set filter.steps=[]"
            )
        groups = [g for g in groups if all(row["rollout_id"] in texts for row in g)]
    known = _Recorded(steps=recorded.steps, texts=texts)
    can_agree = not recorded.reading or all(r["rollout_id"] in texts for g in groups for r in g)
    decisions = _decide(groups, known, changed)
    same = _decide(groups, known, recorded) if can_agree else {}
    used = [row for group in groups for row in group]
    before = {row["rollout_id"]: row["reason"] for row in used}
    after = {name: decision.reason for name, decision in decisions.items()}
    return Replay(
        rollouts=len(used),
        left_out=len(rows) - len(used),
        agreeing=sum(same[name].reason == before[name] for name in before) if can_agree else None,
        before=_kept(used, before),
        after=_kept(used, after),
        not_observed=sum(_is_cut_off(row, changed) for row in used),
        decisions=decisions,
        changed=tuple(
            {"rollout_id": name, "before": before[name], "after": after[name]}
            for name in before
            if before[name] != after[name]
        ),
    )


def load_run(run_dir: Path) -> RunConfig:
    """The resolved configuration of a run's folder."""
    if not (run_dir / RESOLVED).is_file():
        raise UserError(f"{run_dir} holds no run: it has no {RESOLVED}")
    return load_resolved(run_dir / RESOLVED)


def _changed(config: RunConfig, recorded: Rules, settings: list[str]) -> Rules:
    for setting in settings:
        if setting != FIXED and setting.partition("=")[0] not in KEYS:
            raise UserError(
                f"{setting} decides nothing about rollouts that are written already; "
                f"a replay can set {', '.join(KEYS)} and {FIXED}"
            )
    changes = [setting for setting in settings if setting != FIXED]
    filtered = load_filter(config.filter, changes)
    is_fixed = config.budget.kind == "fixed" or FIXED in settings
    if not is_fixed and filtered.length_budget != config.filter.length_budget:
        raise UserError(
            f"filter.length_budget={filtered.length_budget} alone cannot be replayed: the run has "
            f"budget.kind={config.budget.kind}; add --set {FIXED}"
        )
    steps = bind_steps(filtered.steps)
    _refuse_unknown_limits(steps, recorded.steps)
    return Rules(steps=steps, budget=filtered.length_budget if is_fixed else None)


def _refuse_unknown_limits(steps: Sequence[Step], recorded: Sequence[Step]) -> None:
    """Such a limit is what the run had, so the run must have had the step."""
    quantiles = {step.name: step.quantile for step in recorded}
    for step in steps:
        if step.quantile is not None and quantiles.get(step.name) != step.quantile:
            raise UserError(
                f"filter.steps {step.name!r} with quantile={step.quantile:g} follows the run, and "
                "this run did not follow it; give the step a limit of its own"
            )


def _texts(run_dir: Path) -> dict[str, str]:
    table = read_table(run_dir, "text")
    return dict(zip(table["rollout_id"].to_pylist(), table["text"].to_pylist(), strict=True))


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["group_id"]].append(row)
    return [sorted(group, key=lambda row: row["sample"]) for group in groups.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
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
                return None if check.value != check.value else check.value
        return None if row["is_expert"] else row["logp_mean"]


def _decide(groups: Sequence[Sequence[Row]], known: _Recorded, rules: Rules) -> dict[str, Decision]:
    return dict(
        pair
        for group in groups
        for pair in zip(
            (row["rollout_id"] for row in group), _decided(group, known, rules), strict=True
        )
    )


def _decided(group: Sequence[Row], known: _Recorded, rules: Rules) -> tuple[Decision, ...]:
    return decide_group(
        [known.completion(row) for row in group],
        [known.verdict(row) for row in group],
        group[0]["budget"] if rules.budget is None else rules.budget,
        rules.steps,
        known.limits(group),
    )


def _is_cut_off(row: Row, rules: Rules) -> bool:
    budget = row["budget"] if rules.budget is None else rules.budget
    if row["finish_reason"] == "abort":
        return budget > row["budget"]
    return row["finish_reason"] == "length" and row["max_tokens"] < budget


def _kept(rows: Sequence[Row], reasons: Mapping[str, str | None]) -> Kept:
    kept = [row for row in rows if reasons[row["rollout_id"]] is None]
    rates = _pass_rates(rows)
    known = [rates[row["problem_id"]] for row in kept if row["problem_id"] in rates]
    counts = Counter(reason for row in rows if (reason := reasons[row["rollout_id"]]))
    problems = {row["problem_id"] for row in rows}
    return Kept(
        kept=len(kept),
        share=len(kept) / max(1, len(rows)),
        problems_without=len(problems - {row["problem_id"] for row in kept}),
        mean_tokens=_mean([row["n_tokens"] for row in kept]),
        pass_rate=_mean(known),
        reasons=dict(counts.most_common()),
    )


def _pass_rates(rows: Sequence[Row]) -> dict[str, float]:
    """Of each problem the share of the policy's own answers that are right and whole."""
    right: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if not row["is_expert"]:
            is_right = row["verdict"] == "correct" and row["finish_reason"] == "stop"
            right[row["problem_id"]].append(float(is_right))
    return {problem: sum(values) / len(values) for problem, values in right.items()}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def lines(found: Replay) -> Iterator[str]:
    """The report for people."""
    if found.left_out:
        yield f"{found.left_out} rollouts left out: texts of their groups were not kept"
    if found.agreeing is None:
        yield "recorded decisions were not made again: they read texts that were not kept"
    else:
        yield f"as recorded: {found.agreeing} of {found.rollouts} decisions come out the same"
    rows = [("", "recorded", "replayed"), *_table(found.before, found.after)]
    width = max(len(row[0]) for row in rows)
    for name, before, after in rows:
        yield f"{name:<{width}}  {before:>10}  {after:>10}".rstrip()
    if found.not_observed:
        yield f"not observed: {found.not_observed} rollouts, cut off below the new budget"
    yield NOTE


def _table(before: Kept, after: Kept) -> Iterator[tuple[str, str, str]]:
    def row(name: str, form: str, pick: Any) -> tuple[str, str, str]:
        values = (pick(before), pick(after))
        one, other = ("-" if value is None else format(value, form) for value in values)
        return name, one, other

    yield row("rollouts kept", "d", lambda kept: kept.kept)
    yield row("share kept", ".1%", lambda kept: kept.share)
    yield row("problems left with none", "d", lambda kept: kept.problems_without)
    yield row("mean tokens kept", ".1f", lambda kept: kept.mean_tokens)
    yield row("mean pass rate of their problems", ".3f", lambda kept: kept.pass_rate)
    for reason in dict.fromkeys([*before.reasons, *after.reasons]):
        yield row(f"  {reason}", "d", lambda kept, reason=reason: kept.reasons.get(reason, 0))
