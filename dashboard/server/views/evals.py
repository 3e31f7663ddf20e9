"""V11: evaluations, and which problems changed sides between two of them."""

from typing import Any

import numpy as np

from dashboard.server.errors import Refused
from dashboard.server.look import Look
from dashboard.server.views import evaluations, problems
from dashboard.server.views.evaluations import Evaluation
from dashboard.server.views.rows import problems_of

SHOWN = 200


def evals(look: Look) -> dict[str, Any]:
    settings = evaluations.settings_of(look)
    rows = [evaluations.row(one, settings.get(one.label, {})) for one in evaluations.load(look)]
    return {"rows": rows, "disagreements": _disagreements(look)}


def flips(look: Look) -> dict[str, Any]:
    """Over the problems that both evaluations asked. What was gained less what was lost, each as a
    share of these problems, is exactly the difference of the accuracies."""
    a, b = (_named(look, name) for name in ("a", "b"))
    shares = [one.by_problem(one.right) for one in (a, b)]
    tokens = [one.by_problem(one.tokens) for one in (a, b)]
    both = sorted(shares[0].keys() & shares[1].keys())
    if not both:
        raise Refused("bad_request", f"{a.label} and {b.label} share no problem", "b")
    before = np.array([shares[0][name] for name in both])
    after = np.array([shares[1][name] for name in both])
    change = after - before
    counts = _counts(look)
    order = sorted(range(len(both)), key=lambda at: (-abs(change[at]), both[at]))
    changed = [both[at] for at in order if change[at] != 0]
    texts = problems_of(look, changed[:SHOWN])
    return {
        "a": a.label,
        "b": b.label,
        "problems": len(both),
        "accuracy_a": float(before.mean()),
        "accuracy_b": float(after.mean()),
        "gained": float(change[change > 0].sum() / len(both)),
        "lost": float(-change[change < 0].sum() / len(both)),
        "same_right": int(((change == 0) & (before == 1)).sum()),
        "same_wrong": int(((change == 0) & (before == 0)).sum()),
        "mixed": int(((change == 0) & (before > 0) & (before < 1)).sum()),
        "changed": len(changed),
        "rows": [
            {
                "problem_id": name,
                "problem": texts.get(name, {}).get("text"),
                "gold": texts.get(name, {}).get("gold"),
                "share_a": shares[0][name],
                "share_b": shares[1][name],
                "tokens_a": tokens[0][name],
                "tokens_b": tokens[1][name],
                "rollouts": counts.get(name, 0),
            }
            for name in changed[:SHOWN]
        ],
    }


def samples(look: Look) -> dict[str, Any]:
    """What was answered to one problem, with whole texts."""
    rows = problems.eval_samples(look, look.args.required("id"), look.args.several("label"))
    return {"rows": rows}


def _named(look: Look, side: str) -> Evaluation:
    label = look.args.required(side)
    benchmark = look.args.text("benchmark")
    for one in evaluations.load(look):
        if one.label == label and benchmark in ("", one.benchmark):
            return one
    raise Refused("bad_request", f"{side}={label[:60]!r} is no evaluation of this run", side)


def _counts(look: Look) -> dict[str, int]:
    """Training rollouts of problems that were evaluated as well: held-out ones have none."""
    return dict(
        look.db.tuples(
            """SELECT problem_id, count(*) FROM rollouts
                WHERE problem_id IN (SELECT problem_id FROM evals) GROUP BY problem_id"""
        )
    )


def _disagreements(look: Look) -> dict[str, Any]:
    """Of the sample of verdicts that a second judge looked at."""
    checked = [row for row in look.run.files.verdicts if isinstance(row.get("second"), dict)]
    differ = [row for row in checked if row.get("agree") is False]
    return {
        "total": len(differ),
        "checked": len(checked),
        "rows": [
            {
                "rollout_id": row.get("rollout_id"),
                "problem_id": str(row.get("problem_id")),
                "verdict": str(row.get("status")),
                "second": str(row["second"].get("status")),
                "answer": row.get("extracted"),
                "gold": row.get("gold"),
                "text": row.get("response"),
            }
            for row in differ[-SHOWN:]
        ],
    }
