"""``laconic compare``: evaluations side by side, from their files alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cluster.eval_dir import KIND
from cluster.eval_rows import problems_of, samples_of
from cluster.live import printable
from configs.errors import UserError
from configs.run_files import RUN
from evaluation.comparison import Flip, Paired, compare, flip_row
from evaluation.figures import by_problem
from evaluation.intervals import bootstrap
from evaluation.plots import Point, pareto_plot
from verifiers.types import EvalSample

SHOWN = 400
"""Characters of a text on the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    name: str
    sets: Mapping[str, Sequence[EvalSample]]
    """By label, under ids without the label."""
    problems: Mapping[str, Mapping[str, dict[str, Any]]]
    """As ``sets``: two may ask different problems under one id."""
    sampling: Mapping[str, Any]
    """How it was sampled; empty where the files do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One set of one model beside the base."""

    name: str
    label: str
    paired: Paired
    flips: list[Flip]


def open_source(text: str) -> Source:
    """``FOLDER`` of an evaluation or a run, or ``FOLDER@LABEL``; a run's own label is ``after``."""
    path, label = Path(text), None
    if not path.exists():
        name, at, label = text.rpartition("@")
        path = Path(name) if at else path
    if not (path / RUN).is_file():
        raise UserError(f"{text} is neither an evaluation's nor a run's folder")
    run = json.loads((path / RUN).read_text())
    found = samples_of(path)
    wanted = label or (None if run.get("kind") == KIND else "after")
    if wanted is not None and wanted not in found:
        there = ", ".join(sorted(found)) or "none"
        raise UserError(f"{text} has no evaluation {wanted!r}; there is {there}")
    sets = found if wanted is None else {wanted: found[wanted]}
    if not sets:
        raise UserError(f"{text} holds no responses yet")
    texts = problems_of(path)
    return Source(
        name=path.name if label is None else f"{path.name}@{label}",
        sets={name: [_bare(sample, name) for sample in group] for name, group in sets.items()},
        problems={name: _problems(group, name, texts) for name, group in sets.items()},
        sampling=run.get("sampling", {}),
    )


def compare_all(base: Source, others: Sequence[Source]) -> list[Row]:
    """Every other beside the base, set by set; the only sets of both are taken to be the same."""
    rows: list[Row] = []
    for other in others:
        for label, theirs in _common(base, other):
            found = compare(base.sets[label], other.sets[theirs])
            if found is None:
                raise UserError(f"{base.name} and {other.name} have no problem in common")
            rows.append(Row(name=other.name, label=label, paired=found[0], flips=found[1]))
    return rows


def notes(base: Source, others: Sequence[Source]) -> list[str]:
    """What makes a comparison less than fair."""
    found = []
    for other in others:
        for key in sorted(set(base.sampling) & set(other.sampling) - {"decode", "prompt"}):
            if base.sampling[key] != other.sampling[key]:
                found.append(
                    f"{other.name} was sampled with another {key}: {other.sampling[key]}, not "
                    f"{base.sampling[key]}"
                )
    return found


def lines(base: Source, rows: Sequence[Row], show: int) -> list[str]:
    """For people, with the texts of the first ``show`` flips of each row."""
    said: list[str] = []
    for row in rows:
        said += _row_lines(base, row)
        for flip in row.flips[:show]:
            said += _flip_lines(flip, base.problems[row.label].get(flip.problem_id))
    return said


def as_dict(base: Source, rows: Sequence[Row], warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "base": base.name,
        "notes": list(warnings),
        "rows": [{"name": r.name, "set": r.label, **r.paired.as_dict()} for r in rows],
    }


def write(folder: Path, sources: Sequence[Source], rows: Sequence[Row], found: Any) -> None:
    """comparison.json, flips.jsonl with the texts, and a Pareto plot of every set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps(found, indent=1))
    with (folder / "flips.jsonl").open("w", encoding="utf-8", errors="replace") as file:
        for row in rows:
            for flip in row.flips:
                line = {"name": row.name, "set": row.label}
                line |= flip_row(flip, sources[0].problems[row.label].get(flip.problem_id))
                file.write(json.dumps(line, ensure_ascii=True) + "\n")
    for label in sources[0].sets:
        points = [
            _point(source, theirs)
            for source in sources
            for ours, theirs in _common(sources[0], source)
            if ours == label
        ]
        stem = "pareto" if len(sources[0].sets) == 1 else f"pareto-{_file_name(label)}"
        pareto_plot(points, folder / stem, label)


def _common(base: Source, other: Source) -> list[tuple[str, str]]:
    if len(base.sets) == len(other.sets) == 1:
        return [(next(iter(base.sets)), next(iter(other.sets)))]
    shared = [(label, label) for label in base.sets if label in other.sets]
    if not shared:
        raise UserError(
            f"{base.name} has {', '.join(base.sets)} and {other.name} has {', '.join(other.sets)}: "
            "there is no set in common; name one with FOLDER@LABEL"
        )
    return shared


def _point(source: Source, label: str) -> Point:
    answers = by_problem(source.sets[label])
    accuracy = np.array([np.mean(each.right) for each in answers])
    tokens = np.array([np.mean(each.num_tokens) for each in answers])
    return Point(
        label=source.name,
        tokens=float(tokens.mean()),
        tokens_ci=bootstrap(tokens),
        accuracy=float(accuracy.mean()),
        accuracy_ci=bootstrap(accuracy),
    )


def _bare(sample: EvalSample, label: str) -> EvalSample:
    return replace(sample, problem_id=sample.problem_id.removeprefix(f"{label}/"))


def _problems(
    samples: Sequence[EvalSample], label: str, texts: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Of one set, by ids without the label."""
    asked = {sample.problem_id for sample in samples} & texts.keys()
    return {id.removeprefix(f"{label}/"): texts[id] for id in asked}


def _row_lines(base: Source, row: Row) -> list[str]:
    p = row.paired
    low, high = (100 * end for end in p.accuracy_change_ci)
    least, most = (100 * (end - 1) for end in p.tokens_ratio_ci)
    said = [
        f"{row.name} beside {base.name} on {row.label}, {p.problems} problems",
        f"  accuracy {100 * p.base_accuracy:.1f} -> {100 * p.other_accuracy:.1f} %: "
        f"{100 * p.accuracy_change:+.1f} points [{low:+.1f}, {high:+.1f}], p {p.accuracy_p:.4f}",
        f"  tokens {p.base_tokens:.1f} -> {p.other_tokens:.1f}: "
        f"{100 * (p.tokens_ratio - 1):+.1f} % [{least:+.1f}, {most:+.1f}], p {p.tokens_p:.4f}",
        f"  {p.gained} problems became right, {p.lost} wrong (McNemar p {p.mcnemar_p:.4f})",
    ]
    if p.base_only or p.other_only:
        said.append(f"  left out: {p.base_only} problems of the base alone, {p.other_only} others")
    return [printable(line) for line in said]


def _flip_lines(flip: Flip, problem: Mapping[str, Any] | None) -> list[str]:
    said = [f"  {flip.change}: {flip.problem_id}"]
    if problem is not None:
        said.append(f"    problem: {_short(problem['text'])} (answer {_short(problem['gold'])})")
    for side, sample in (("base", flip.base), ("other", flip.other)):
        said.append(
            f"    {side}, {sample.num_tokens} tokens, {sample.status}: {_short(sample.text)}"
        )
    return [printable(line) for line in said]


def _short(text: str) -> str:
    """The end counts: there the answer is."""
    return text if len(text) <= SHOWN else f"…{text[-SHOWN:]}"


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in label)[:60]
