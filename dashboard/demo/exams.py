"""Evaluations of a made-up run: the same held-out problems at every checkpoint."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from configs.run_files import SCHEMAS
from dashboard.demo import rollouts as r
from dashboard.demo.bodies import cut
from dashboard.demo.parts import Parts
from dashboard.demo.problems import MadeProblem, make_problems
from dashboard.demo.shape import EVAL_CAP, EVAL_SAMPLES, HELDOUT

RESAMPLES = 2000


def write_evaluations(
    run_dir: Path, parts: Parts, world: r.World, boot: int, seq: int
) -> list[dict[str, Any]]:
    """Samples as a part, summaries beside it; a row for each evaluation, with its time."""
    shape = world.shape
    problems = heldout_problems(shape.seed)
    exam = r.make_world(shape, problems)
    parts.write("problems", problems_of(problems), boot, seq)
    tables, found = [], []
    for version in shape.eval_versions:
        label = _label(version, shape.steps)
        at_us = int(world.times_us[version]) + (-6_000_000 if version == 0 else 3_000_000)
        tables.append(_samples(exam, label, version, at_us))
        summary = _summary(tables[-1], version)
        (run_dir / f"evals/{label}.json").write_text(json.dumps(summary, indent=1))
        found.append({"at_us": at_us, "label": label, **summary})
    parts.write("evals", pa.concat_tables(tables), boot, seq)
    return found


def heldout_problems(seed: int) -> list[MadeProblem]:
    return [
        MadeProblem(
            id=f"heldout-{problem.id}",
            source=problem.source,
            text=problem.text,
            gold=problem.gold,
            difficulty=problem.difficulty,
            steps=problem.steps,
            checks=problem.checks,
            wrong=problem.wrong,
        )
        for problem in make_problems(HELDOUT, seed + 1)
    ]


def problems_of(problems: list[MadeProblem]) -> pa.Table:
    rows = [
        {
            "problem_id": problem.id,
            "hash": f"{number:016x}",
            "source": problem.source,
            "text": problem.text,
            "gold": problem.gold,
            "difficulty": problem.difficulty,
        }
        for number, problem in enumerate(problems)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS["problems"])


def _label(version: int, steps: int) -> str:
    if version == 0:
        return "before"
    return "after" if version == steps else f"step-{version:06d}"


def _samples(exam: r.World, label: str, version: int, at_us: int) -> pa.Table:
    rng = np.random.default_rng((exam.shape.seed, 7, version))
    problem = np.repeat(np.arange(HELDOUT), EVAL_SAMPLES)
    versions = np.full(len(problem), version)
    bodies, written = r.write_answers(exam, problem, versions, rng, cap=EVAL_CAP)
    rows = []
    for row in range(len(problem)):
        of, ending = exam.problems[problem[row]], int(written["ending"][row])
        text = bodies.text(exam.pool, row) + (exam.pool.texts[ending] if ending >= 0 else "")
        stopped = written["finish"][row] == r.STOP
        answers = [of.gold, *of.wrong, None]
        answer = answers[ending - exam.pool.endings[problem[row], 0]] if ending >= 0 else None
        rows.append(
            {
                "label": label,
                "version": version,
                "problem_id": of.id,
                "sample": row % EVAL_SAMPLES,
                "verdict": r.VERDICTS[written["verdict"][row]],
                "finish_reason": r.FINISHES[written["finish"][row]],
                "n_tokens": int(written["n_tokens"][row]),
                "answer": answer if stopped else None,
                "text": text if stopped else cut(text, int(written["n_tokens"][row])),
                "at_us": at_us,
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMAS["evals"])


def _summary(table: pa.Table, version: int) -> dict[str, Any]:
    verdicts = np.array(table["verdict"].to_pylist())
    finishes = np.array(table["finish_reason"].to_pylist())
    tokens = np.array(table["n_tokens"].to_pylist(), float)
    right = (verdicts == "correct") & (finishes == "stop")
    by_problem = right.reshape(HELDOUT, EVAL_SAMPLES).mean(axis=1)
    tokens_by_problem = tokens.reshape(HELDOUT, EVAL_SAMPLES).mean(axis=1)
    return {
        "version": version,
        "problems": HELDOUT,
        "samples": EVAL_SAMPLES,
        "accuracy": float(right.mean()),
        "accuracy_ci": _interval(by_problem),
        "mean_tokens": float(tokens.mean()),
        "mean_tokens_ci": _interval(tokens_by_problem),
        "p90_tokens": float(np.percentile(tokens, 90)),
        "truncated": float((finishes == "length").mean()),
        "max_tokens": EVAL_CAP,
        "temperature": 1.0,
    }


def _interval(values: np.ndarray) -> tuple[float, float]:
    draws = np.random.default_rng(0).integers(0, len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
