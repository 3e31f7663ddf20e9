"""Problems that can be learned from, of a published file: ``python -m benchmarks.clean_problems
SOURCE TARGET.jsonl [BENCHMARK …]``.

A run refuses a file with a row that has no answer, so that nothing is skipped unseen. This says
what it leaves out: rows without an answer, problems that a benchmark asks in the same words, and
repetitions; of a problem with two answers the first one stays.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.problem_files import read_rows
from actors.problem_rows import ANSWER_KEYS, PROMPT_KEYS
from evaluation.split import problem_hash


def clean(source: Path, target: Path, benchmarks: Sequence[Path]) -> dict[str, int]:
    """How many rows were read, left out for which reason, and written."""
    asked = {
        problem_hash([message.content for message in row.messages])
        for path in benchmarks
        for row in read_rows(str(path))
    }
    counts = Counter({"read": 0})
    seen: set[str] = set()
    with target.open("w", encoding="utf-8") as file:
        for row in _rows(source):
            counts["read"] += 1
            hash = problem_hash(_turns(row))
            why = "written"
            if not _has_answer(row):
                why = "without an answer"
            elif hash in asked:
                why = "asked in a benchmark"
            elif hash in seen:
                why = "asked twice"
            counts[why] += 1
            if why == "written":
                seen.add(hash)
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return dict(counts)


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    if source.suffix == ".parquet":
        for batch in pq.ParquetFile(source).iter_batches():
            yield from batch.to_pylist()
    elif source.suffix == ".jsonl":
        with source.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    else:
        yield from json.loads(source.read_text(encoding="utf-8"))


def _turns(row: dict[str, Any]) -> list[str]:
    asked = next((row[key] for key in PROMPT_KEYS if row.get(key) is not None), "")
    return [asked] if isinstance(asked, str) else [turn["content"] for turn in asked]


def _has_answer(row: dict[str, Any]) -> bool:
    labels = [row.get(key) for key in ANSWER_KEYS]
    labels.append((row.get("reward_model") or {}).get("ground_truth"))
    return any(str(label).strip() for label in labels if label is not None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("benchmarks", type=Path, nargs="*")
    arguments = parser.parse_args()
    counts = clean(arguments.source, arguments.target, arguments.benchmarks)
    print("  ".join(f"{what} {count:,}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
