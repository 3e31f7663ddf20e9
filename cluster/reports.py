"""Turn what the loop returns into the figures that people read: files, panel, wandb."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from actors.temperature import entropy_of
from cluster.judge_alarm import JudgeAlarm
from cluster.live import Display
from cluster.metrics import Metrics
from cluster.neighbours import Loaded, StepTimes
from cluster.tracker import Tracker
from configs.schema import RunConfig
from evaluation.guardrail import Look
from verifiers.pool_stats import PoolStats
from verifiers.types import Lease, PublishedWeights


class Reports:
    """The one place where metrics get their names. Nothing here decides anything."""

    def __init__(
        self,
        config: RunConfig,
        *,
        recorder: Any,
        queue: Any,
        judges: Any,
        display: Display,
        tracker: Tracker,
        metrics: Metrics,
        seconds_before: float,
    ) -> None:
        self._config = config
        self._recorder = recorder
        self._queue = queue
        self.engines: Callable[[], list[dict[str, Any]]] = list
        """A row for each engine, as it was when it was last heard of."""
        self._judges = judges
        self._judge_alarm = JudgeAlarm()
        self._display = display
        self._tracker = tracker
        self._metrics = metrics
        self._started = time.monotonic() - seconds_before
        self._sync: dict[str, float] = {}
        self._written = (time.monotonic(), 0)
        self._state: dict[str, Any] = {}
        self._disk: str | None = None
        self.phase = "starting"

    @property
    def seconds(self) -> float:
        """Wall time of the run, its earlier processes included."""
        return time.monotonic() - self._started

    async def waiting(self, lease: Lease) -> None:
        reasons = {**lease.reasons, **({"equal": lease.num_equal} if lease.num_equal else {})}
        words = ", ".join(f"{name} {count}" for name, count in reasons.items())
        self._display.note(
            f"step {lease.step + 1}: {lease.num_accepted} of {lease.num_written} rollouts accepted "
            f"({words}); taking more problems"
        )
        await self._recorder.event("batch_extended", step=lease.step, reasons=reasons)

    async def alarm(self, step: int, text: str) -> None:
        """Of the length budget."""
        self._display.note(f"step {step + 1}: {text}")
        await self._recorder.event("budget_alarm", step=step, text=text)

    async def stepped(self, lease: Lease, metrics: Any, times: StepTimes) -> None:
        counts, judges = await asyncio.gather(self._queue.counts(), self._judges.stats())
        row = {
            "at_us": times.published_us,
            "steps": self._config.steps,
            "version": lease.step + 1,
            **asdict(metrics),
            "step": lease.step + 1,
            "accepted": lease.num_accepted,
            "rollouts": lease.num_written,
            "stale": lease.num_stale,
            "equal": lease.num_equal,
            "mean_tokens": lease.written_tokens / max(1, lease.num_written),
            "entropy": entropy_of(lease.groups),
            "accepted_tokens_mean": lease.accepted_tokens / max(1, lease.num_accepted),
            "lag_max": lease.max_lag,
            "generated_tokens_per_s": self._rate(counts.generated_tokens),
            "wait_s": (times.leased_us - times.asked_us) / 1e6,
            "train_s": (times.stepped_us - times.leased_us) / 1e6,
            "publish_s": (times.published_us - times.stepped_us) / 1e6,
            "sync_s": self._sync.get("seconds", 0.0),
            "stall_s": self._sync.get("stall_s", 0.0),
            "prepare_s": self._sync.get("prepare_s", 0.0),
            "sync_bytes": self._sync.get("bytes", 0),
            "queued": counts.queued,
            "running_groups": counts.running_groups,
            "generated_tokens": counts.generated_tokens,
            "trained_tokens": counts.trained_tokens,
            **{f"judge_{name}": value for name, value in asdict(judges).items()},
            **asdict(times),
        }
        self._display.step({**row, "reasons": lease.reasons})
        self._tracker.step(row, lease.step + 1)
        if self._tracker.is_table_due(lease.step + 1):
            rollouts = await self._recorder.newest(self._config.wandb.rollouts)
            self._tracker.table(rollouts, lease.step + 1)
        self._metrics.step(row, lease.reasons)
        rejected = {f"rejected_{reason}": count for reason, count in lease.reasons.items()}
        await self._recorder.step({**row, **rejected})

    async def synced(self, weights: PublishedWeights, loads: Sequence[Loaded]) -> None:
        # None at all: those that had older weights are gone, and another one has joined with these.
        slowest = max(loads, key=lambda load: load.seconds, default=None)
        times = {
            "seconds": slowest.seconds if slowest else 0.0,
            "stall_s": slowest.stall_s if slowest else 0.0,
            "prepare_s": slowest.prepare_s if slowest else 0.0,
        }
        self._sync = times | {"bytes": weights.num_bytes}
        self._metrics.synced(weights.version, times["seconds"], weights.num_bytes)
        await self._recorder.event(
            "published",
            version=weights.version,
            fingerprint=weights.fingerprint,
            bytes=weights.num_bytes,
            sent=_sent_as(weights),
            engines=len(loads),
            **times,
            in_flight=sum(load.in_flight for load in loads),
        )

    async def heartbeat(self) -> None:
        counts, judges, disk = await asyncio.gather(
            self._queue.counts(), self._judges.stats(), self._queue.disk()
        )
        await self._heed(judges)
        await self._heed_disk(disk)
        self._state = {
            "phase": self.phase,
            "seconds": self.seconds,
            "counts": asdict(counts),
            "judges": asdict(judges),
            "engines": self.engines(),
            "disk": disk,
        }
        self._metrics.state(self._state)
        await self._recorder.state(self._state)

    @property
    def progress(self) -> tuple[Any, ...]:
        """Changes with every token, group and step."""
        engines = self._state.get("engines", [])
        tokens = sum(row.get("generated_tokens", 0) for row in engines)
        return (tokens, str(self._state.get("counts")), self.phase)

    @property
    def flow(self) -> str:
        """Where everything is just now, for people."""
        return json.dumps(self._state, indent=1, default=str)

    async def changed(self, kind: str, note: str, **fields: Any) -> None:
        self._display.note(note)
        self._metrics.happened(kind)
        await self._recorder.event(kind, **fields)

    async def _heed_disk(self, disk: str | None) -> None:
        """Once when the queue cannot write, and once when it can again."""
        if (disk is None) != (self._disk is None):
            words = f"the queue waits for the disk, and everybody with it: {disk}"
            await self.changed(
                "disk_back" if disk is None else "disk_trouble",
                "the queue can write again" if disk is None else words,
            )
        self._disk = disk

    async def _heed(self, judges: PoolStats) -> None:
        alarm = self._judge_alarm.look(judges)
        if alarm is not None:
            self._display.note(alarm.text)
            await self._recorder.event("judge_alarm", on=alarm.is_on, share=alarm.share)

    async def evaluated(self, label: str, summary: dict[str, Any]) -> None:
        low, high = summary["accuracy_ci"]
        self._display.note(
            f"{label}: accuracy {100 * summary['accuracy']:.1f} % "
            f"[{100 * low:.1f}, {100 * high:.1f}], {summary['mean_tokens']:.1f} tokens "
            f"on {summary['problems']} held-out problems"
        )
        self._tracker.step(
            {f"eval/{k}": v for k, v in summary.items() if isinstance(v, float)}, summary["version"]
        )
        self._metrics.evaluated(label, summary)
        await self._recorder.event("evaluated", label=label, **summary)

    async def looked(self, look: Look, what_next: str) -> None:
        """Of the guardrail."""
        words = {
            "pause": "; the length budget shrinks no further",
            "resume": "; the length budget goes on shrinking",
            "go_back": "; going back to the last good version",
            "end": "; ending with the last good version",
        }
        self._display.note(f"guardrail: step {look.version}: {look}{words.get(what_next, '')}")
        figures = {"accuracy": look.accuracy, "base": look.base, "at_best": look.at_best}
        self._tracker.step({f"guardrail/{k}": v for k, v in figures.items()}, look.version)
        await self._recorder.event("guardrail", what_next=what_next, **asdict(look))

    async def ended(self, why: str) -> None:
        self._display.note(why)
        await self._recorder.event("ended_early", why=why)

    def _rate(self, tokens: int) -> float:
        """Tokens a second since the last step."""
        (then, before), now = self._written, time.monotonic()
        self._written = (now, tokens)
        return (tokens - before) / max(now - then, 1e-9)


def _sent_as(weights: PublishedWeights) -> str:
    if weights.is_streamed:
        return "stream"
    return "full" if weights.files[-1].base is None else "delta"
