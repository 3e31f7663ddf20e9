"""The names, columns and readers of a run directory: all that the recorder and the page share.

Parquet parts never change once the manifest lists them, so a reader opens what the manifest names
and nothing else. Files of lines grow at their end; a line counts once its newline is there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

FORMAT = 1
"""Of a run directory as this version writes it; ``run.json`` has it as ``format``. A directory with
a larger one is refused, not misread."""

RUN = "run.json"
RESOLVED = "resolved.yaml"
SUMMARY = "summary.json"
STATE = "state.json"
CONTROL = "control.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
VERDICTS = "verdicts.jsonl"
HISTORY = "history.jsonl"
"""Earlier contents of ``state.json``, one a line, closer together at the beginning."""
SOURCES = "sources.json"
"""Of every setting that is not its default: the file, ``environment`` or ``command line``."""
GUARDRAIL = "guardrail.json"
MANIFEST = "rollouts/manifest.jsonl"

Kind = Literal["meta", "text", "tokens", "fate", "problems", "evals"]

FOLDERS: dict[Kind, str] = {
    "meta": "rollouts/meta",
    "text": "rollouts/text",
    "tokens": "rollouts/tokens",
    "fate": "rollouts/fate",
    "problems": "problems",
    "evals": "evals",
}

_FILTER = pa.struct(
    [
        ("name", pa.string()),
        ("pass", pa.bool_()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
    ]
)

SCHEMAS: dict[Kind, pa.Schema] = {
    "meta": pa.schema(
        [
            ("rollout_id", pa.string()),
            ("attempt", pa.int64()),
            ("problem_id", pa.string()),
            ("group_id", pa.string()),
            ("sample", pa.int64()),
            ("source", pa.string()),
            ("template_id", pa.string()),
            ("generator_id", pa.string()),
            ("first_version", pa.int64()),
            ("last_version", pa.int64()),
            ("temperature", pa.float64()),
            ("top_p", pa.float64()),
            ("max_tokens", pa.int64()),
            ("budget", pa.int64()),
            ("start_us", pa.int64()),
            ("end_us", pa.int64()),
            ("gen_ms", pa.float64()),
            ("verify_ms", pa.float64()),
            ("n_prompt", pa.int64()),
            ("n_think", pa.int64()),
            ("n_answer", pa.int64()),
            ("n_tokens", pa.int64()),
            ("finish_reason", pa.string()),
            ("answer", pa.string()),
            ("verdict", pa.string()),
            ("filters", pa.list_(_FILTER)),
            ("accepted", pa.bool_()),
            ("reason", pa.string()),
            ("logp_mean", pa.float64()),
            ("entropy_mean", pa.float64()),
            ("repetition", pa.float64()),
            ("dup_of", pa.string()),
            ("text_seq", pa.int64()),  # the part of kind text, of the same boot, that has the text
            ("text_level", pa.string()),  # all; none, dropped or disk say why there is no text
            ("is_expert", pa.bool_()),  # it came with the data
            ("weight_mean", pa.float64()),  # of its tokens in the loss; null: all 1
            ("origin", pa.string()),  # self, paraphrase or gold
            ("propensity", pa.float64()),  # how likely it was to be asked for and written
            ("explores", pa.bool_()),  # its budget was not its problem's own
            ("level", pa.string()),  # the length that its prompt asked for
            ("seen", pa.int64()),  # tickets that its ticket's decisions knew of
            ("size", pa.int64()),  # rollouts that its group was to have
            ("reward", pa.float64()),
        ]
    ),
    "text": pa.schema(
        [
            ("rollout_id", pa.string()),
            ("text", pa.string()),
            ("answer_start", pa.int64()),  # characters up to the end of thinking; null without one
        ]
    ),
    "tokens": pa.schema(
        [
            ("rollout_id", pa.string()),
            ("ends", pa.list_(pa.int64())),
            ("logp", pa.list_(pa.float32())),
            ("entropy", pa.list_(pa.float32())),
            ("weight", pa.list_(pa.float32())),
            ("mask", pa.list_(pa.bool_())),
        ]
    ),
    "fate": pa.schema(
        [
            ("rollout_id", pa.string()),
            ("fate", pa.string()),
            ("step", pa.int64()),
            ("lag", pa.int64()),
            ("version", pa.int64()),
            ("at_us", pa.int64()),
            ("queue_ms", pa.float64()),
            ("weight", pa.float64()),
            ("loss_tokens", pa.int64()),
            ("learner_logp_mean", pa.float64()),
        ]
    ),
    "problems": pa.schema(
        [
            ("problem_id", pa.string()),
            ("hash", pa.string()),
            ("source", pa.string()),
            ("text", pa.string()),
            ("gold", pa.string()),
            ("difficulty", pa.float64()),
        ]
    ),
    "evals": pa.schema(
        [
            ("label", pa.string()),
            ("version", pa.int64()),
            ("problem_id", pa.string()),
            ("sample", pa.int64()),
            ("verdict", pa.string()),
            ("finish_reason", pa.string()),
            ("n_tokens", pa.int64()),
            ("answer", pa.string()),
            ("text", pa.string()),
            ("at_us", pa.int64()),
            ("n_think", pa.int64()),  # tokens up to the end of thinking, the tag included
            ("n_answer", pa.int64()),
            ("logp_mean", pa.float64()),
            ("benchmark", pa.string()),  # the set of problems; null: the run's held-out ones
        ]
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a rollout after its birth: one row of ``rollouts/fate``."""

    rollout_id: str
    fate: Literal["trained", "stale", "equal", "aborted", "lost"]
    step: int | None = None
    """The optimizer step that trained it, or at which it was dropped."""
    lag: int | None = None
    version: int | None = None
    """Weight version of the learner at that step."""
    at_us: int | None = None
    """None: when the recorder received the row."""
    queue_ms: float | None = None
    weight: float | None = None
    loss_tokens: int | None = None
    learner_logp_mean: float | None = None


def part_name(boot: int, seq: int) -> str:
    return f"part-{boot}-{seq}.parquet"


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The objects of a file of lines; nothing when there is no file, a torn last line left out."""
    return list(_lines(Path(path)))


def read_manifest(run_dir: str | Path) -> list[dict[str, Any]]:
    """The sealed parts in the order of sealing, without those that a later part replaces."""
    entries = read_jsonl(Path(run_dir) / MANIFEST)
    replaced = {file for entry in entries for file in entry["replaces"]}
    return [entry for entry in entries if entry["file"] not in replaced]


def read_table(run_dir: str | Path, kind: Kind) -> pa.Table:
    """Every sealed row of a kind, oldest first; columns that a part does not have are null."""
    files = [entry["file"] for entry in read_manifest(run_dir) if entry["kind"] == kind]
    parts = [_aligned(_read_part(Path(run_dir) / file), SCHEMAS[kind]) for file in files]
    return pa.concat_tables([SCHEMAS[kind].empty_table(), *parts])


def latest_rollouts(run_dir: str | Path) -> pa.Table:
    """One row for every rollout that counts: its birth, and its last fate (null when it has none).

    A group that was handed out again replaces what its older attempts wrote.
    """
    meta, fate = read_table(run_dir, "meta"), read_table(run_dir, "fate")
    meta = meta.take(pa.array(_rows_that_count(meta), pa.int64()))
    last_fate = {id: row for row, id in enumerate(fate["rollout_id"].to_pylist())}
    found = [last_fate.get(id) for id in meta["rollout_id"].to_pylist()]
    fates = fate.drop_columns(["rollout_id"]).take(pa.array(found, pa.int64()))
    for name in fates.column_names:
        meta = meta.append_column(name, fates[name])
    return meta


def newest_rollouts(run_dir: str | Path, count: int) -> list[dict[str, Any]]:
    """Some of the rollouts that were sealed last and have a text, spread over their part."""
    parts = {entry["kind"]: Path(run_dir) / entry["file"] for entry in read_manifest(run_dir)}
    if not parts.keys() >= {"meta", "text"}:
        return []
    texts = _read_part(parts["text"]).to_pylist()
    chosen = texts[:: max(1, -(-len(texts) // count))]
    wanted = pc.field("rollout_id").isin([row["rollout_id"] for row in chosen])
    meta = {row["rollout_id"]: row for row in _read_part(parts["meta"]).filter(wanted).to_pylist()}
    return [meta[row["rollout_id"]] | row for row in chosen if row["rollout_id"] in meta]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path} line {number} is damaged; remove that line") from error


def _read_part(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as part:  # not read_table: it would take "a=b" in a path for a column
        return part.read()


def _aligned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _rows_that_count(meta: pa.Table) -> list[int]:
    """Row numbers: of every ticket the newest attempt, of every rollout the last row."""
    tickets = [group_id.partition(".")[0] for group_id in meta["group_id"].to_pylist()]
    attempts: list[int] = meta["attempt"].to_pylist()
    newest: dict[str, int] = {}
    for ticket, attempt in zip(tickets, attempts, strict=True):
        newest[ticket] = max(attempt, newest.get(ticket, attempt))
    ids = meta["rollout_id"].to_pylist()
    last = {ids[row]: row for row in range(len(ids)) if attempts[row] == newest[tickets[row]]}
    return sorted(last.values())
