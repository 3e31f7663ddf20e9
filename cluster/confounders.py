"""``laconic confounders``: did anything but the method decide how long trained answers are?"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.replay import load_run
from configs.errors import UserError
from configs.run_files import latest_rollouts
from evaluation.confounders import Report, Rollouts, Shift, confounders

LEVEL = 0.01
"""A p-value below it is called a shift."""

UNSEEN = ("truncated", "doomed", "cancelled", "aborted", "verifier_timeout", "verifier_error")
"""Reasons that say nothing about what the rollout would have become."""

STOP_AFTER = (
    "economy.stop_after cancels the rest of a group once enough were accepted: short answers "
    "finish first, so lengths are biased by construction"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    report: Report
    rollouts: int
    experts: int
    """Not looked at: the policy did not write them to its prompt."""
    shares: dict[str, float]
    """Of what was generated: why it could not go on, lengths unseen or unused."""
    trained_rejected: int
    """Trained beside the accepted ones of their groups; not in the stages."""
    stop_after: bool

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": _on_trained(self.report), "lag": _on_lag(self.report)}


def find(run_dir: Path) -> Found:
    """Raises UserError, one line, when there is nothing to look at."""
    config = load_run(run_dir)
    everything = latest_rollouts(run_dir)
    table = everything.filter(pa.array(~_is(everything, "is_expert", True)))
    if not table.num_rows:
        raise UserError(f"{run_dir} has recorded no rollout that the policy wrote")
    rollouts = _columns(table)
    return Found(
        report=confounders(rollouts),
        rollouts=table.num_rows,
        experts=everything.num_rows - table.num_rows,
        shares=_shares(table, rollouts),
        trained_rejected=int((rollouts.trained & ~rollouts.kept).sum()),
        stop_after=config.economy.stop_after is not None,
    )


def _columns(table: pa.Table) -> Rollouts:
    trained = _is(table, "fate", "trained")
    return Rollouts(
        tokens=table["n_tokens"].to_numpy(),
        group=_codes(table["group_id"]),
        problem=_codes(table["problem_id"]),
        propensity=table["propensity"].fill_null(1.0).to_numpy(),
        finished=_is(table, "finish_reason", "stop"),
        correct=_is(table, "verdict", "correct"),
        kept=_is(table, "accepted", True),
        consumed=~_is(table, "fate", None),
        trained=trained,
        lag=np.where(trained, _values(table, "lag"), -1).astype(int),
    )


def _values(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table[name].to_pylist(), dtype=object)


def _is(table: pa.Table, name: str, value: object) -> np.ndarray:
    return np.asarray(_values(table, name) == value, dtype=bool)


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    return np.unique(column.to_numpy(), return_inverse=True)[1]


def _shares(table: pa.Table, rollouts: Rollouts) -> dict[str, float]:
    """A rejection's reason, a fate after acceptance, or none yet."""
    masks = {name: _is(table, "reason", name) for name in UNSEEN}
    masks |= {name: rollouts.kept & _is(table, "fate", name) for name in ("stale", "equal")}
    masks["waiting"] = rollouts.kept & ~rollouts.consumed
    return {name: float(mask.mean()) for name, mask in masks.items()}


def lines(found: Found) -> Iterator[str]:
    """The report for people."""
    report = found.report
    weighted = any(stage.weighted_mean is not None for stage in report.stages)
    header = ("", "rollouts", "problems", "mean", *(["weighted"] if weighted else []))
    yield from _aligned(
        [
            (*header, "p10", "p50", "p90"),
            *(
                (
                    *(stage.name, str(stage.rollouts), str(stage.problems), _number(stage.mean)),
                    *([_number(stage.weighted_mean)] if weighted else []),
                    *(_number(value, 0) for value in (stage.p10, stage.p50, stage.p90)),
                )
                for stage in report.stages
            ),
        ]
    )
    for shifts in (report.shifts, report.lags):
        if shifts:
            yield ""
            yield from _aligned([_SHIFT_HEADER, *map(_shift_row, shifts)])
    yield ""
    shares = (f"{name} {share:.1%}" for name, share in found.shares.items() if share)
    yield f"unseen or unused of all generated: {', '.join(shares) or 'nothing'}"
    if found.experts:
        yield f"{found.experts} rollouts that the policy did not write to its prompt are left out"
    if found.trained_rejected:
        yield f"{found.trained_rejected} rejected rollouts were trained beside accepted ones"
    if weighted:
        yield "weighted: each rollout counts 1 / its probability of having been written"
    if found.stop_after:
        yield STOP_AFTER
    yield _on_trained(report)
    yield _on_lag(report)


_SHIFT_HEADER = ("", "rollouts", "mean tokens", "95 % interval", "KS", "p", "mix", "p")


def _shift_row(shift: Shift) -> tuple[str, ...]:
    return (
        shift.name,
        f"{shift.after} of {shift.before}",
        f"{shift.difference:+.1f}",
        f"{shift.low:+.1f} to {shift.high:+.1f}",
        f"{shift.ks:.3f}",
        f"{shift.p:.3f}",
        f"{shift.mix:.3f}",
        f"{shift.mix_p:.3f}",
    )


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for first, *rest in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([f"{first:<{widths[0]}}", *cells])


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _on_trained(report: Report) -> str:
    shift = report.kept_to_trained
    if shift is None:
        return "kept -> trained: nothing was trained yet."
    if shift.before == shift.after:
        return "kept -> trained: no shift, whatever was kept and had its step was trained."
    words = f"({shift.difference:+.1f} tokens, p = {shift.p:.3f}; problems p = {shift.mix_p:.3f})"
    if shift.p < LEVEL:
        return (
            f"kept -> trained: SHIFTED {words}: what was dropped as stale or equal has other "
            "lengths than the rest, so lengths changed for another reason than the method."
        )
    if shift.mix_p < LEVEL:
        return (
            f"kept -> trained: SHIFTED {words}: lengths are alike, but what was dropped as stale "
            "or equal belongs to other problems than the rest."
        )
    return f"kept -> trained: no shift to be seen {words}."


def _on_lag(report: Report) -> str:
    if not report.lags:
        return "lag: all trained rollouts have the same, so it explains no length."
    worst = min(report.lags, key=lambda shift: shift.p)
    words = f"{worst.name}: {worst.difference:+.1f} tokens against all trained, p = {worst.p:.3f}"
    if worst.p < LEVEL:
        return (
            f"lag: rollouts of another lag have other lengths ({words}); the first steps have less "
            "lag than the rest, so the policy may have changed and not the lag."
        )
    return f"lag: no other lengths to be seen ({words})."
