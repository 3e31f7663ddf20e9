"""``laconic demo-data``: a run directory of any size that nobody ran, for tests and screenshots."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.load import dump, leaves, validate
from configs.run_files import RESOLVED, RUN, SOURCES
from dashboard.demo import rollouts as r
from dashboard.demo import rows
from dashboard.demo.exams import write_evaluations
from dashboard.demo.hostile import hostile_problems, make_hostile
from dashboard.demo.logs import write_logs
from dashboard.demo.parts import Parts
from dashboard.demo.past import write_history
from dashboard.demo.problems import make_problems
from dashboard.demo.shape import (
    BRANCHY_LIMIT,
    BUDGET,
    CAP,
    EVAL_CAP,
    EVAL_SAMPLES,
    GENERATORS,
    GROUP,
    HELDOUT,
    MAX_LAG,
    Shape,
)
from dashboard.demo.story import write_story
from dashboard.demo.tally import Tally

Report = Callable[[str], None]
MIN_ROLLOUTS = 8 * GROUP
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What a run may be called; the folder of a made-up one may have any name."""

MAX_CHUNK = 3000
"""Groups that are made, and sealed, at a time."""


def write_demo(
    target: Path, rollouts: int, *, seed: int = 0, hostile: bool = False, report: Report
) -> None:
    """The folder must not exist, or be empty. The same arguments give the same rows."""
    if rollouts < MIN_ROLLOUTS:
        raise UserError(
            f"--rollouts {rollouts} is too few to show anything; {MIN_ROLLOUTS} or more"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists; choose another folder")
    shape = Shape(rollouts=rollouts, seed=seed)
    problems = make_problems(shape.problems, seed)
    if hostile:
        problems = hostile_problems(problems)
    world = r.make_world(shape, problems)
    try:
        target.mkdir(parents=True, exist_ok=True)
        _write(target, world, hostile, report)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error}") from error


def _write(target: Path, world: r.World, hostile: bool, report: Report) -> None:
    shape, parts, tally = world.shape, Parts(target), Tally(world.shape)
    settings = _settings(target.name, shape)
    (target / RESOLVED).write_text(dump(validate(settings)))
    given = dict.fromkeys(leaves(settings), "demo-data.yaml")
    (target / SOURCES).write_text(json.dumps(given, indent=1))
    tokens_of = np.zeros(len(GENERATORS), np.int64)
    boot, seq, done = 1, 0, 0
    parts.write("problems", rows.problems_table(world), boot, seq)
    for start, end in _chunks(shape):
        if boot == 1 and start >= shape.restart_step * shape.groups_per_step:
            boot, seq = 2, 0
        made = r.make_rollouts(world, start, end)
        tally.add(made)
        tokens_of += np.bincount(made.generator, made.n_tokens, len(GENERATORS)).astype(np.int64)
        _write_chunk(parts, world, made, boot, seq, hostile)
        seq, done = seq + 1, done + (end - start) * GROUP
        report(f"{done:,} of {shape.groups * GROUP:,} rollouts")
    evaluations = write_evaluations(target, parts, world, boot, seq)
    parts.write_manifest()
    at_end = write_story(target, world, tally, evaluations, tokens_of)
    write_history(target, world, tally, at_end, tokens_of)
    write_logs(target, world, hostile)
    (target / RUN).write_text(json.dumps(_run(target.name, shape), indent=1))


def _chunks(shape: Shape) -> list[tuple[int, int]]:
    """Ranges of groups; none reaches over the restart, and small runs have several parts too."""
    size = int(np.clip(shape.groups // 24, 8, MAX_CHUNK))
    bounds = [0, shape.restart_step * shape.groups_per_step, shape.groups]
    return [
        (start, min(start + size, end))
        for begin, end in itertools.pairwise(bounds)
        for start in range(begin, end, size)
    ]


def _write_chunk(
    parts: Parts, world: r.World, made: r.Rollouts, boot: int, seq: int, hostile: bool
) -> None:
    rng = np.random.default_rng((world.shape.seed, 4, boot, seq))
    ids = rows.rollout_ids(made)
    # For a while the recorder had no room for texts: readers must be told why there is none.
    dropped = (made.ticket // 16) % 61 == 21
    has_text = ~dropped
    texts = {int(row): made.text(world.pool, int(row)) for row in np.flatnonzero(has_text)}
    kept = [row for row in texts if int(made.ticket[row]) * GROUP % rows.TOKENS_SHARE < GROUP]
    with_tokens = {row: texts[row] for row in kept if made.sample[row] % 4 == 1}
    tokens = rows.tokens_table(made, ids, with_tokens, rng)
    if hostile:
        make_hostile(texts, made, keep=with_tokens)
    text_ids = [ids[row] for row in texts]
    parts.write("meta", rows.meta_table(world, made, ids, seq, has_text), boot, seq)
    parts.write("text", rows.text_table(text_ids, list(texts.values())), boot, seq)
    parts.write("tokens", tokens, boot, seq)
    parts.write("fate", rows.fate_table(world, made, ids, rng), boot, seq)


def _settings(name: str, shape: Shape) -> dict[str, Any]:
    return {
        "name": name if NAME.fullmatch(name) else None,
        "seed": shape.seed,
        "steps": shape.steps,
        "max_lag": MAX_LAG,
        "model": {"path": "made-up-1.5b"},
        "data": {"train": "problems.jsonl", "heldout": "heldout.jsonl", "verifier": "math"},
        "sampling": {"group_size": GROUP, "max_tokens": CAP},
        "filter": {
            "length_budget": BUDGET,
            "steps": [
                {"use": "branchy", "settings": {"max": BRANCHY_LIMIT}},
                {"use": "duplicate"},
            ],
        },
        "batch": {"problems": shape.groups_per_step},
        "engine": {"num_engines": len(GENERATORS), "max_model_len": 4096},
        "eval": {
            "problems": HELDOUT,
            "samples": EVAL_SAMPLES,
            "max_tokens": EVAL_CAP,
            "every": shape.eval_every,
        },
    }


def _run(name: str, shape: Shape) -> dict[str, Any]:
    command = ["laconic", "demo-data", name, "--rollouts", str(shape.rollouts)]
    starts = [{"at": at, "command": command, "pid": 4100} for at in ("2025-10-09T08:53:20Z",)]
    return {
        "name": name,
        "preset": "demo-data",
        "synthetic": True,
        "starts": starts,
        "fingerprints": {"problems": "made up", "tokenizer": "made up"},
    }
