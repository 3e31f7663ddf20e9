"""Mirrors the run's figures to Ray's metrics, which every node exports for Prometheus as ``ray_…``.

Nothing depends on it: a failure is one warning. Labels never name a problem or a rollout, of which
there are too many.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

logger = logging.getLogger(__name__)

Kind = Literal["gauge", "counter", "histogram"]
Make = Callable[[Kind, str, str, tuple[str, ...]], Any]

SECONDS = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0]

METRICS: dict[str, tuple[Kind, str, tuple[str, ...]]] = {
    "laconic_step": ("gauge", "Optimizer steps taken.", ()),
    "laconic_steps": ("gauge", "Optimizer steps of the whole run.", ()),
    "laconic_weight_version": ("gauge", "What every engine writes with.", ()),
    "laconic_loss": ("gauge", "Of the last step.", ()),
    "laconic_grad_norm": ("gauge", "Of the last step, before clipping.", ()),
    "laconic_lag_max": ("gauge", "Optimizer steps by which a trained token was too old.", ()),
    "laconic_accept_ratio": ("gauge", "Accepted of all rollouts of the last step.", ()),
    "laconic_mean_tokens": ("gauge", "Of the last step's rollouts.", ("of",)),
    "laconic_learner_idle_ratio": ("gauge", "Share of the last step spent waiting.", ()),
    "laconic_step_seconds": ("gauge", "Of the last step, by phase.", ("phase",)),
    "laconic_generated_tokens_per_second": ("gauge", "All engines together.", ()),
    "laconic_queue_depth": ("gauge", "Rollouts that wait for the learner.", ()),
    "laconic_running_groups": ("gauge", "Problems that are being written or judged.", ()),
    "laconic_engines": ("gauge", "By what they do.", ("state",)),
    "laconic_engine_sequences": ("gauge", "Of one engine.", ("generator", "state")),
    "laconic_engine_kv_use": ("gauge", "Used share of the KV cache.", ("generator",)),
    "laconic_engine_preemptions": ("gauge", "Since the engine started.", ("generator",)),
    "laconic_engine_silent_seconds": ("gauge", "Since it last answered.", ("generator",)),
    "laconic_judge_milliseconds": ("gauge", "Of one verdict.", ("quantile",)),
    "laconic_judge_waiting": ("gauge", "Responses that wait for a verdict.", ()),
    "laconic_sync_bytes": ("gauge", "Of the last weights that were published.", ()),
    "laconic_eval_accuracy": ("gauge", "Of the last evaluation.", ("label",)),
    "laconic_eval_mean_tokens": ("gauge", "Of the last evaluation.", ("label",)),
    "laconic_rollouts": ("counter", "Settled, by what was decided.", ("fate",)),
    "laconic_tokens": ("counter", "Response tokens.", ("kind",)),
    "laconic_weight_publishes": ("counter", "Versions that the engines have taken.", ()),
    "laconic_skipped_steps": ("counter", "Whose gradient was not finite.", ()),
    "laconic_events": ("counter", "What happened to parts of the run.", ("kind",)),
    "laconic_weight_sync_seconds": ("histogram", "A swap of weights, slowest engine.", ()),
}
"""Everything that is exported: kind, meaning, labels beside ``run``. A counter gains ``_total``."""

PHASES = ("wait", "train", "publish")
STATES = ("starting", "serving", "leaving", "gone")


class Metrics:
    """Of one run, from the driver, which hears of everything."""

    def __init__(self, run: str, make: Make | None = None) -> None:
        self._run = run
        self._make = make or of_ray
        self._made: dict[str, Any] = {}
        self._totals: dict[tuple[str, str], float] = {}
        self._engines: set[str] = set()
        """Of which something was told last."""
        self._is_off = False

    def step(self, row: Mapping[str, Any], reasons: Mapping[str, int]) -> None:
        """A row of ``metrics.jsonl``."""
        self._set("laconic_step", row["step"])
        self._set("laconic_steps", row["steps"])
        for name in ("loss", "grad_norm", "lag_max"):
            self._set(f"laconic_{name}", row.get(name))
        self._set("laconic_accept_ratio", row["accepted"] / max(1, row["rollouts"]))
        self._set("laconic_mean_tokens", row["mean_tokens"], of="all")
        self._set("laconic_mean_tokens", row["accepted_tokens_mean"], of="accepted")
        seconds = {phase: row[f"{phase}_s"] for phase in PHASES}
        for phase, value in seconds.items():
            self._set("laconic_step_seconds", value, phase=phase)
        self._set("laconic_learner_idle_ratio", seconds["wait"] / max(1e-9, sum(seconds.values())))
        self._set("laconic_generated_tokens_per_second", row["generated_tokens_per_s"])
        self._add("laconic_rollouts", row["accepted"], fate="accepted")
        for reason, count in reasons.items():
            self._add("laconic_rollouts", count, fate=reason)
        self._add("laconic_skipped_steps", 1 if row.get("skipped") else 0)

    def state(self, state: Mapping[str, Any]) -> None:
        """What ``state.json`` holds."""
        counts, judges = state["counts"], state["judges"]
        self._set("laconic_queue_depth", counts["queued"])
        self._set("laconic_running_groups", counts["running_groups"])
        self._grow("laconic_tokens", counts["generated_tokens"], kind="generated")
        self._grow("laconic_tokens", counts["trained_tokens"], kind="trained")
        self._set("laconic_judge_waiting", judges["waiting"])
        for quantile in ("p50", "p90", "p99"):
            self._set("laconic_judge_milliseconds", judges[f"ms_{quantile}"], quantile=quantile)
        for kind in STATES:
            found = sum(row["state"] == kind for row in state["engines"])
            self._set("laconic_engines", found, state=kind)
        for row in state["engines"]:
            self._engine(row)
        told = {row["name"] for row in state["engines"]}
        for name in self._engines - told:  # many went at once: not all of them are shown as gone
            self._engine({"name": name, "state": "gone", "silent_s": 0.0})
        self._engines = told

    def _engine(self, row: Mapping[str, Any]) -> None:
        """One that is gone writes nothing; its series end at zero."""
        name, is_gone = row["name"], row["state"] == "gone"
        for state in ("running", "waiting"):
            held = 0 if is_gone else row.get(state, 0)
            self._set("laconic_engine_sequences", held, generator=name, state=state)
        self._set("laconic_engine_kv_use", 0 if is_gone else row.get("kv_use", 0), generator=name)
        self._set("laconic_engine_preemptions", row.get("preemptions", 0), generator=name)
        self._set("laconic_engine_silent_seconds", row["silent_s"], generator=name)

    def synced(self, version: int, seconds: float, num_bytes: int) -> None:
        self._set("laconic_weight_version", version)
        self._set("laconic_sync_bytes", num_bytes)
        self._add("laconic_weight_publishes", 1)
        self._do("laconic_weight_sync_seconds", "observe", seconds, {})

    def happened(self, kind: str) -> None:
        """An event of ``events.jsonl`` that says what became of a part."""
        self._add("laconic_events", 1, kind=kind)

    def evaluated(self, label: str, summary: Mapping[str, Any]) -> None:
        # Not a label for every step of a long run.
        label = label if label in ("before", "after") else "latest"
        self._set("laconic_eval_accuracy", summary["accuracy"], label=label)
        self._set("laconic_eval_mean_tokens", summary["mean_tokens"], label=label)

    def _grow(self, name: str, total: float, **labels: str) -> None:
        """A counter of what is only known as a sum; one that falls, after a step was taken back,
        waits until it is what it was."""
        key = (name, str(labels))
        before = self._totals.get(key, 0.0)
        if total > before:
            self._totals[key] = total
            self._add(name, total - before, **labels)

    def _set(self, name: str, value: float | None, **labels: str) -> None:
        if value is not None:
            self._do(name, "set", float(value), labels)

    def _add(self, name: str, value: float, **labels: str) -> None:
        if value > 0:  # Ray refuses to add nothing
            self._do(name, "inc", float(value), labels)

    def _do(self, name: str, method: str, value: float, labels: dict[str, str]) -> None:
        if self._is_off:
            return
        kind, meaning, keys = METRICS[name]
        assert set(labels) == set(keys), (name, labels)
        try:
            if name not in self._made:
                self._made[name] = self._make(kind, name, meaning, ("run", *keys))
            getattr(self._made[name], method)(value, tags={"run": self._run, **labels})
        except Exception as error:  # whatever Ray raises, the run goes on without it
            self._is_off = True
            logger.warning("no metrics any more: %s: %s", type(error).__name__, error)


def of_ray(kind: Kind, name: str, meaning: str, keys: tuple[str, ...]) -> Any:
    from ray.util.metrics import Counter, Gauge, Histogram  # noqa: PLC0415  only where Ray is up

    if kind == "histogram":
        return Histogram(name, meaning, boundaries=SECONDS, tag_keys=keys)
    return (Gauge if kind == "gauge" else Counter)(name, meaning, tag_keys=keys)


def exported_names() -> dict[str, tuple[str, ...]]:
    """Name as Prometheus has it, and its labels."""
    found: dict[str, tuple[str, ...]] = {}
    for name, (kind, _, keys) in METRICS.items():
        suffixes = {
            "gauge": ("",),
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }
        for suffix in suffixes[kind]:
            found[f"ray_{name}{suffix}"] = ("run", *keys)
    return found
