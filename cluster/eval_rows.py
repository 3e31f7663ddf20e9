"""Responses of evaluations, read back from the files of a run or of ``laconic eval``."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from configs.run_files import read_table
from verifiers.types import EvalSample


def samples_of(folder: Path) -> dict[str, list[EvalSample]]:
    """By set of problems, or by label where they are a run's own; of a response that was written
    twice, the last."""
    found: dict[str, dict[tuple[str, int], EvalSample]] = defaultdict(dict)
    for row in read_table(folder, "evals").to_pylist():
        found[row["benchmark"] or row["label"]][row["problem_id"], row["sample"]] = _sample(row)
    return {label: list(samples.values()) for label, samples in found.items()}


def problems_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Text and reference answer of each problem, by its id."""
    rows = read_table(folder, "problems").select(["problem_id", "text", "gold"]).to_pylist()
    return {row["problem_id"]: row for row in rows}


def _sample(row: dict[str, Any]) -> EvalSample:
    return EvalSample(
        problem_id=row["problem_id"],
        sample=row["sample"],
        version=row["version"],
        status=row["verdict"],
        finish_reason=row["finish_reason"],
        num_tokens=row["n_tokens"],
        text=row["text"] or "",
        extracted=row["answer"],
        num_think=row["n_think"],
        logprob_mean=row["logp_mean"],
    )
