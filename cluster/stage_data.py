"""The problems of a pipeline's stages: read once, dealt by hash, one file a stage."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from actors.problem_files import read_problem_file, resolve_data
from actors.problem_rows import DataError, Row
from cluster.models import models_dir
from configs.schema import RunConfig
from evaluation.split import overlaps, problem_hash, stages_of
from learner.tiny_solutions import lesson

SELF_MADE = "tiny"
"""Problems that bring no responses: the teacher that made the model writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one stage learns from."""

    source: str
    """The data that it is a part of."""
    rows: tuple[Row, ...]
    hashes: frozenset[str]


def deal(
    configs: Mapping[str, RunConfig], shares: Mapping[str, float], overlap: float
) -> dict[str, Part]:
    """For every stage its part of its ``data.train``; stages of the same data share it."""
    parts: dict[str, Part] = {}
    for source in dict.fromkeys(config.data.train for config in configs.values()):
        stages = [name for name, config in configs.items() if config.data.train == source]
        with_responses = {n for n in stages if configs[n].data.responses != "ignore"}
        rows = _read(source, with_responses=bool(with_responses))
        dealt: dict[str, list[Row]] = {name: [] for name in stages}
        hashes: dict[str, set[str]] = {name: set() for name in stages}
        for row in rows:
            hash = problem_hash([message.content for message in row.messages])
            for name in stages_of(hash, {name: shares[name] for name in stages}, overlap):
                dealt[name].append(row)
                hashes[name].add(hash)
        for name in stages:
            if not dealt[name]:
                raise DataError(
                    f"stage {name!r} gets none of the {len(rows)} problems of {source}: raise its "
                    "share, give more problems, or raise overlap"
                )
            if source == SELF_MADE and name in with_responses:
                dealt[name] = [_solved(row) for row in dealt[name]]
            parts[name] = Part(
                source=source, rows=tuple(dealt[name]), hashes=frozenset(hashes[name])
            )
    return {name: parts[name] for name in configs}


def seen_by_both(parts: Mapping[str, Part]) -> dict[str, dict[str, float]]:
    """Measured, whatever the data: of each stage's problems, those that each other one sees."""
    return overlaps({name: set(part.hashes) for name, part in parts.items()})


def write(part: Part, path: Path) -> None:
    """As a file of problems that a run reads; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for row in part.rows:
            file.write(json.dumps(_record(row), ensure_ascii=False) + "\n")
    os.replace(temporary, path)


def _read(source: str, *, with_responses: bool) -> list[Row]:
    path = resolve_data(source, "train", models_dir())
    asked = with_responses and source != SELF_MADE
    return list(read_problem_file(path, with_responses=asked).rows)


def _solved(row: Row) -> Row:
    """With a response of the made model's teacher, and maybe another wording."""
    last = row.messages[-1]
    asked, response = lesson(last.content, row.answer)
    return replace(
        row, messages=(*row.messages[:-1], replace(last, content=asked)), response=response
    )


def _record(row: Row) -> dict[str, object]:
    turns = [{"role": turn.role, "content": turn.content} for turn in row.messages]
    record = {"id": row.id, "prompt": turns, "answer": row.answer, "data_source": row.source}
    if row.verifier is not None:
        record["verifier"] = row.verifier
    if row.response is not None:
        record["response"] = row.response
    return record
