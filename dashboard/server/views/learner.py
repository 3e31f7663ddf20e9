"""V10: what the learner's steps were like. The curves come from ``metrics``."""

from typing import Any

from dashboard.server.look import Look

CHARTS = (
    ("Learning", "Loss", "", ("loss", "nll"), False),
    ("Learning", "Gradient norm", "", ("grad_norm",), True),
    ("Learning", "Learning rate", "", ("lr",), True),
    ("Learning", "Entropy", "nats", ("entropy",), True),
    ("Engine against learner", "Gap of log-probabilities", "nats", ("drift",), True),
    ("Engine against learner", "Largest gap of a token", "nats", ("worst_drift",), True),
    ("Engine against learner", "Divergence", "nats", ("drift_kl",), False),
    ("Batch", "Tokens of a step", "tokens", ("num_tokens", "padded_tokens"), True),
    ("Batch", "Rollouts of a step", "rollouts", ("num_rollouts", "stale", "equal"), True),
    ("Batch", "Dropped tokens", "tokens", ("dropped_tokens",), True),
    ("Time and memory", "Seconds of a step", "s", ("fetch_s", "compute_s", "publish_s"), True),
    ("Time and memory", "Waiting for rollouts", "s", ("wait_s",), True),
    ("Time and memory", "Model FLOP utilisation", "share", ("mfu",), True),
    ("Time and memory", "Largest memory", "MiB", ("peak_rss_mib", "peak_gpu_mib"), True),
)


def learner(look: Look) -> dict[str, Any]:
    rows = look.run.files.metrics
    there = {name for row in rows for name in row}
    charts = []
    for group, title, unit, names, zero in CHARTS:
        known = [name for name in names if name in there]
        charts.append(
            {
                "group": group,
                "title": title,
                "unit": unit,
                "names": known or list(names),
                "zero_based": zero,
                "missing": {
                    name: "not_recorded" if rows else "not_yet"
                    for name in names
                    if name not in there
                },
            }
        )
    return {
        "charts": charts,
        **_batch(look),
        "skipped_steps": _count(rows, "skipped"),
        "diverged_steps": _count(rows, "diverged"),
    }


def _batch(look: Look) -> dict[str, Any]:
    """Whether steps are of what the configuration says; a step that lacks rollouts takes more."""
    config, rows = look.run.config, look.run.files.metrics
    written = [row["rollouts"] for row in rows if isinstance(row.get("rollouts"), int)]
    mean = sum(written) / len(written) if written else None
    configured = config.batch.problems * config.group_size if config else None
    if configured is None or mean is None:
        return {
            "configured_batch": configured,
            "actual_batch_mean": mean,
            "batch_unequal": False,
            "batch_text": "no step yet",
        }
    others = sum(num != configured for num in written)
    text = (
        f"every step took {configured} rollouts, as configured"
        if not others
        else f"configured {configured} rollouts a step; {others} of {len(written)} steps took "
        f"another number, {mean:.1f} on average"
    )
    return {
        "configured_batch": configured,
        "actual_batch_mean": mean,
        "batch_unequal": others > 0,
        "batch_text": text,
    }


def _count(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row.get(name) is True for row in rows)
