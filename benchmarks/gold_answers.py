"""Every reference answer of a data set judged against itself, in ``\\boxed{}``.

    python -m benchmarks.gold_answers FILE.parquet … [--no-shortcut]

An answer that is its reference letter by letter is right without being parsed. ``--no-shortcut``
switches that off, so that numbers, words and the parser have to find every answer equal to itself.
"""

import argparse
import asyncio
import itertools
from collections import Counter
from unittest import mock

from actors.problem_files import read_problem_file
from configs.schema import JudgeConfig
from verifiers.pool import JudgePool, usable_cores
from verifiers.types import Task, Verdict

_differing = itertools.count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--no-shortcut", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments))


async def _main(arguments: argparse.Namespace) -> None:
    verifier = "benchmarks.gold_answers:without_shortcut" if arguments.no_shortcut else "math"
    pool = JudgePool(JudgeConfig(workers=usable_cores(), timeout_s=30))
    await pool.start()
    try:
        for name in arguments.files:
            rows = read_problem_file(name).rows
            golds = [row.answer for row in rows]
            verdicts = await asyncio.gather(
                *(pool.judge(verifier, gold, rf"It is \boxed{{{gold}}}.") for gold in golds)
            )
            _report(name, golds, verdicts)
    finally:
        await pool.close()


def without_shortcut(task: Task, response: str) -> Verdict:
    """``math``, for which no two texts are the same letter by letter. Runs in judge processes."""
    from verifiers import math_answer  # noqa: PLC0415  sympy

    def always_new(text: str) -> str:
        return f"{text}{next(_differing)}"

    with mock.patch.object(math_answer, "bare", always_new):
        return math_answer.math_answer(task, response)


def _report(name: str, golds: list[str], verdicts: list[Verdict]) -> None:
    counts = Counter(verdict.status for verdict in verdicts)
    share = counts["correct"] / len(verdicts)
    print(f"{name}: {len(verdicts)} answers, {share:.2%} correct {dict(counts)}")
    for gold, verdict in zip(golds, verdicts, strict=True):
        if verdict.status != "correct":
            print(f"  {verdict.status:10} {gold!r} {verdict.detail}")


if __name__ == "__main__":
    main()
