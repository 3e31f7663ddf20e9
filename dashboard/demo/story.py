"""What a made-up run says of itself besides its rollouts: steps, events, state, evaluations."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from configs.run_files import EVENTS, METRICS, STATE, SUMMARY
from dashboard.demo import rollouts as r
from dashboard.demo.shape import BEGAN_US, GENERATORS
from dashboard.demo.tally import Tally

Row = dict[str, Any]
LR = 1e-6
WARMUP = 5
SYNC_BYTES = 3_554_214_752


def metric_rows(world: r.World, tally: Tally) -> list[Row]:
    """A line for each optimizer step, with the names that a real one has."""
    shape, times = world.shape, world.times_us
    rng = np.random.default_rng((shape.seed, 5))
    generated = np.cumsum(tally.tokens)
    trained_tokens = tally.trained_tokens()
    trained = np.cumsum(trained_tokens)
    rows = []
    for step in range(shape.steps):
        asked = int(times[step]) + 20_000
        turn = int(times[step + 1]) - asked
        leased, stepped = asked + int(0.4 * turn), asked + int(0.9 * turn)
        is_bad = step == shape.bad_step
        written, accepted = int(tally.rollouts[step]), int(tally.accepted[step])
        nll = -float(tally.logp[step]) / max(1, written)
        drift = 0.004 + 0.002 * rng.random()
        row = {
            "at_us": int(times[step + 1]),
            "steps": shape.steps,
            "version": step + 1,
            "step": step + 1,
            "loss": None if is_bad else nll + rng.normal(0, 0.004),
            "nll": None if is_bad else nll,
            "entropy": nll,
            "drift": drift,
            "drift_kl": drift**2 * 3,
            "worst_drift": drift * float(rng.uniform(20, 60)),
            "num_tokens": int(tally.accepted_tokens[step]),
            "num_rollouts": accepted - int(tally.stale[step]),
            "grad_norm": None if is_bad else float(rng.lognormal(-0.9, 0.18)),
            "lr": LR * min(1.0, (step + 1) / WARMUP),
            "skipped": is_bad,
            "diverged": is_bad,
            "seconds": (stepped - leased) / 1e6,
            "fetch_s": 0.03 * turn / 1e6,
            "compute_s": 0.44 * turn / 1e6,
            "padded_tokens": int(tally.accepted_tokens[step] * 1.06),
            "micro_batches": 1 + int(tally.accepted_tokens[step]) // 16384,
            "peak_rss_mib": 21_400.0 + float(rng.normal(0, 60)),
            "accepted": accepted,
            "rollouts": written,
            "stale": int(tally.stale[step]),
            "equal": 0,
            "mean_tokens": int(tally.tokens[step]) / max(1, written),
            "accepted_tokens_mean": int(tally.accepted_tokens[step]) / max(1, accepted),
            "lag_max": int(tally.lag_max[step]),
            "generated_tokens_per_s": int(tally.tokens[step]) / (turn / 1e6),
            "wait_s": (leased - asked) / 1e6,
            "train_s": (stepped - leased) / 1e6,
            "publish_s": 0.1 * turn / 1e6,
            "sync_s": 0.09 * turn / 1e6,
            "stall_s": 0.02 * turn / 1e6,
            "prepare_s": 0.06 * turn / 1e6,
            "sync_bytes": int(SYNC_BYTES * rng.uniform(0.04, 0.09)),
            "queued": int(accepted * rng.uniform(0.2, 1.3)),
            "running_groups": int(shape.groups_per_step * rng.uniform(0.3, 1.0)),
            "generated_tokens": int(generated[step]),
            "trained_tokens": int(trained[step]),
            "judge_judged": int(tally.judged[: step + 1].sum()),
            "judge_cached": int(0.012 * tally.judged[: step + 1].sum()),
            "judge_killed": int(
                tally.reasons[r.REASONS.index("verifier_timeout"), : step + 1].sum()
            ),
            "judge_errors": int(tally.reasons[r.REASONS.index("verifier_error"), : step + 1].sum()),
            "judge_workers": 4,
            "judge_waiting": int(rng.integers(0, 6)),
            "judge_ms_p50": 3.3 + float(rng.normal(0, 0.1)),
            "judge_ms_p90": 7.2 + float(rng.normal(0, 0.3)),
            "judge_ms_p99": 13.5 + float(rng.normal(0, 1)),
            "asked_us": asked,
            "leased_us": leased,
            "stepped_us": stepped,
            "published_us": int(times[step + 1]),
            **{
                f"rejected_{name}": count
                for name, count in tally.rejected(slice(step, step + 1)).items()
            },
        }
        rows.append(row | ({"nan": ["loss", "nll", "grad_norm"]} if is_bad else {}))
    return rows


def event_rows(world: r.World, evaluations: list[Row]) -> list[Row]:
    """In the order of time."""
    shape, times = world.shape, world.times_us
    pids = {"driver": 4100, "recorder": 4110, "queue": 4111, "judge-0": 4112, "learner-0": 4120}
    pids |= {name: 4130 + number for number, name in enumerate(GENERATORS)}
    started = {"boot": 1, "step": 0, "reissued": 0, "parameters": 1_777_088_000}
    started |= {"processes": pids}
    events = [_event(BEGAN_US + 41_000_000, "started", **started)]
    for row in evaluations:
        at_us = row["at_us"]
        events.append(_event(at_us, "evaluated", **{k: v for k, v in row.items() if k != "at_us"}))
    for version in range(1, shape.steps + 1):
        at_us = int(times[version])
        events.append(
            _event(
                at_us, "published", version=version, fingerprint=f"{version * 2654435761:016x}",
                bytes=SYNC_BYTES // 14, sent="full" if version % 16 == 1 else "delta",
                engines=len(GENERATORS), seconds=1.4, stall_s=0.31, prepare_s=0.9, in_flight=57,
            )
        )  # fmt: skip
        if version % 10 == 0 or version == shape.steps:
            events.append(_event(at_us + 900_000, "checkpoint", step=version))
    bad, restart = int(times[shape.bad_step]), int(times[shape.restart_step])
    lost = GENERATORS[1]
    events += [
        _event(bad + 2_000_000, "judge_alarm", on=True, share=0.021),
        _event(bad + 62_000_000, "judge_alarm", on=False, share=0.002),
        _event(bad + 9_000_000, "engine_lost", name=lost, why="it has said nothing for 60 s",
               tickets=5),
        _event(bad + 55_000_000, "engine_joined", name=lost, version=shape.bad_step + 1,
               seconds=44.2, pid=5203),
        _event(bad + 12_000_000, "batch_extended", step=shape.bad_step, reasons={"wrong": 112}),
        _event(restart + 150_000_000, "started", boot=2, step=shape.restart_step,
               reissued=shape.groups_per_step, processes=pids),
        _event(restart + 121_000_000, "recorder_restarted", boot=2, recovered_segments=1),
    ]  # fmt: skip
    return sorted(events, key=lambda event: event["at_us"])


def state(world: r.World, tally: Tally, tokens_of: np.ndarray) -> Row:
    """At the end. ``tokens_of``: what each generator wrote."""
    shape, end_us = world.shape, int(world.times_us[-1]) + 4_000_000
    return {
        "phase": "finished",
        "seconds": (end_us - BEGAN_US) / 1e6,
        "counts": tally.counts(),
        "judges": {
            "judged": int(tally.judged.sum()), "cached": int(0.012 * tally.judged.sum()),
            "killed": int(tally.reasons[r.REASONS.index("verifier_timeout")].sum()),
            "errors": int(tally.reasons[r.REASONS.index("verifier_error")].sum()),
            "workers": 4, "waiting": 0, "ms_p50": 3.3, "ms_p90": 7.2, "ms_p99": 13.5,
        },
        "engines": [
            engine_row(name, shape.steps, int(tokens_of[number]), running=0, waiting=0, kv_use=0.0)
            for number, name in enumerate(GENERATORS)
        ],
        "disk": None,
        "heartbeat_us": end_us,
        "boot": 2,
        "dropped": 0,
        "dropped_by_kind": {},
        "disk_free_bytes": 212 << 30,
        "disk_bytes": 512 << 30,
    }  # fmt: skip


def engine_row(
    name: str, version: int, tokens: int, *, running: int, waiting: int, kv_use: float
) -> Row:
    return {
        "name": name,
        "state": "serving",
        "version": version,
        "running": running,
        "waiting": waiting,
        "kv_use": kv_use,
        "generated_tokens": tokens,
        "requests_done": tokens // 250,
        "limit": 64,
        "preemptions": tokens // 900_000,
        "prompt_tokens": tokens // 4,
        "cached_tokens": tokens // 5,
        "first_token_ms": 1840.0,
        "ttft_ms": 210.0,
        "itl_ms": 31.0,
        "stalled_s": 0.0,
        "silent_s": 0.4,
    }


def write_story(
    run_dir: Path, world: r.World, tally: Tally, evaluations: list[Row], tokens_of: np.ndarray
) -> Row:
    """Everything but the rollouts; the state at the end."""
    _write_lines(run_dir / METRICS, metric_rows(world, tally))
    _write_lines(run_dir / EVENTS, event_rows(world, evaluations))
    at_end = state(world, tally, tokens_of)
    (run_dir / STATE).write_text(json.dumps(at_end))
    before, after = (
        next(({k: v for k, v in row.items() if k not in ("at_us", "label")} for row in evaluations
              if row["label"] == label), None)
        for label in ("before", "after")
    )  # fmt: skip
    summary = {
        "before": before,
        "after": after,
        "steps": world.shape.steps,
        "generated_tokens": at_end["counts"]["generated_tokens"],
        "trained_tokens": at_end["counts"]["trained_tokens"],
        "seconds": round(at_end["seconds"], 2),
        "counts": at_end["counts"],
    }
    (run_dir / SUMMARY).write_text(json.dumps(summary, indent=1))
    return at_end


def _event(at_us: int, kind: str, **fields: Any) -> Row:
    return {"at_us": at_us, "kind": kind, **fields}


def _write_lines(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
