"""``history.jsonl`` of a made-up run: its state as it was, from the start to the end."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from configs.run_files import HISTORY
from dashboard.demo import rollouts as r
from dashboard.demo.shape import BEGAN_US, GENERATORS, GROUP
from dashboard.demo.story import engine_row
from dashboard.demo.tally import Tally

LINES = 1200


def write_history(
    run_dir: Path, world: r.World, tally: Tally, at_end: dict[str, Any], tokens_of: np.ndarray
) -> None:
    """``at_end``: the last state, whose counts everything grows to."""
    times = world.times_us
    count = int(np.clip(world.shape.steps * 8, 40, LINES))
    at = np.linspace(BEGAN_US + 30_000_000, times[-1], count).astype(np.int64)
    lines = [
        json.dumps(_line(world, tally, at_end, tokens_of, int(at_us), number))
        for number, at_us in enumerate(at[:-1])
    ]
    (run_dir / HISTORY).write_text("\n".join([*lines, json.dumps(at_end)]) + "\n")


def _line(
    world: r.World,
    tally: Tally,
    at_end: dict[str, Any],
    tokens_of: np.ndarray,
    at_us: int,
    number: int,
) -> dict[str, Any]:
    shape, times = world.shape, world.times_us
    rng = np.random.default_rng((shape.seed, 9, number))
    version = int(np.searchsorted(times, at_us, side="right")) - 1
    step = min(max(version, 0), shape.steps - 1)
    within = (at_us - times[step]) / (times[step + 1] - times[step]) if version >= 0 else 0.0
    running = int(shape.groups_per_step * rng.uniform(0.3, 0.9)) if version >= 0 else 0
    settled = int(min(shape.groups, (step + within) * shape.groups_per_step))
    upto, here = slice(0, step), max(0.0, min(1.0, within))
    accepted = int(tally.accepted[upto].sum() + here * tally.accepted[step])
    trained = int((tally.accepted - tally.stale)[upto].sum())
    tokens = int(tally.tokens[upto].sum() + here * tally.tokens[step])
    is_down = 0.0 < (at_us - times[shape.bad_step]) / 1e6 - 9 < 46
    share = tokens / max(1, int(tally.tokens.sum()))
    engines = []
    for place, name in enumerate(GENERATORS):
        row = engine_row(
            name,
            max(0, version - int(rng.random() < 0.05)),
            int(tokens_of[place] * share),
            running=int(np.clip(rng.normal(52 - 6 * place, 5), 0, 64)) if version >= 0 else 0,
            waiting=int(np.clip(rng.normal(9, 4), 0, None)) if version >= 0 else 0,
            kv_use=float(np.clip(rng.normal(0.62 + 0.05 * place, 0.05), 0, 1)),
        )
        if place == 1 and is_down:
            row |= {"state": "gone", "running": 0, "waiting": 0, "kv_use": 0.0, "silent_s": 60.0}
        engines.append(row)
    counts = at_end["counts"] | {
        "issued_groups": settled + running,
        "running_groups": running,
        "settled_groups": settled,
        "settled": settled * GROUP,
        "accepted": accepted,
        "rejected": tally.rejected(upto),
        "kept": accepted,
        "trained": trained,
        "queued": max(0, accepted - trained),
        "dropped": {"stale": int(tally.stale[upto].sum())},
        "generated_tokens": tokens,
        "trained_tokens": int(tally.trained_tokens()[upto].sum()),
    }
    judged = int(tally.judged[upto].sum())
    judges = at_end["judges"] | {"judged": judged, "waiting": int(rng.integers(0, 9))}
    return at_end | {
        "phase": "starting" if version < 0 else "training",
        "seconds": (at_us - BEGAN_US) / 1e6,
        "counts": counts,
        "judges": judges,
        "engines": engines,
        "heartbeat_us": at_us,
        "boot": 1 if version < shape.restart_step else 2,
        "disk_free_bytes": int(at_end["disk_free_bytes"] * (1.15 - 0.15 * share)),
    }
