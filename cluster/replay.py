"""``laconic replay``: what another filter would have kept of the rollouts that a run recorded.

It decides with the judges' own functions. Nothing is generated or judged again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cluster.recorded import COLUMNS, Recorded, Row
from configs.errors import UserError
from configs.load import load_filter, load_resolved
from configs.run_files import RESOLVED, latest_rollouts, read_table
from configs.schema import RunConfig
from verifiers.steps import Step, bind_steps, decide_group
from verifiers.types import Decision

NOTE = "replays recorded rollouts, does not predict training"
KEYS = ("filter.length_budget", "filter.steps")
FIXED = "budget.kind=fixed"
"""What can be changed: no other key decides over rollouts that are already written."""


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
    texts = _texts(run_dir) if recorded.reading or changed.reading else {}
    groups = _groups(rows)
    if changed.reading:
        _require_texts(texts, changed.reading[0], config)
        groups = [group for group in groups if _have_texts(group, texts)]
    known = Recorded(steps=recorded.steps, texts=texts)
    used = [row for group in groups for row in group]
    before = {row["rollout_id"]: row["reason"] for row in used}
    decisions = _decide(groups, known, changed)
    after = {name: decision.reason for name, decision in decisions.items()}
    agreeing = None
    if not recorded.reading or _have_texts(used, texts):
        again = _decide(groups, known, recorded)
        agreeing = sum(again[name].reason == reason for name, reason in before.items())
    return Replay(
        rollouts=len(used),
        left_out=len(rows) - len(used),
        agreeing=agreeing,
        before=_kept(used, before),
        after=_kept(used, after),
        not_observed=sum(_is_cut_off(row, changed) for row in used),
        decisions=decisions,
        changed=tuple(
            {"rollout_id": name, "before": reason, "after": after[name]}
            for name, reason in before.items()
            if reason != after[name]
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


def _require_texts(texts: Mapping[str, str], step: str, config: RunConfig) -> None:
    if not texts:
        raise UserError(
            f"filter.steps {step!r} reads texts, and this run kept none "
            f"(recorder.text={config.recorder.text}); leave it out with --set filter.steps=[]"
        )


def _have_texts(rows: Sequence[Row], texts: Mapping[str, str]) -> bool:
    return all(row["rollout_id"] in texts for row in rows)


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["group_id"]].append(row)
    return [sorted(group, key=lambda row: row["sample"]) for group in groups.values()]


def _decide(groups: Sequence[Sequence[Row]], known: Recorded, rules: Rules) -> dict[str, Decision]:
    return dict(
        pair
        for group in groups
        for pair in zip(
            (row["rollout_id"] for row in group), _decided(group, known, rules), strict=True
        )
    )


def _decided(group: Sequence[Row], known: Recorded, rules: Rules) -> tuple[Decision, ...]:
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
