"""Verdicts a second: the pool with one and two processes beside a plain math-verify loop.

    python -m benchmarks.verdicts [--answers FILE.jsonl] [--rounds 5] [--json FILE]

All sides judge the same 2,000 answers, in turns, and medians are compared. Half of the answers are
such that only the parser can tell; plain integers and answers that are the reference letter by
letter never reach it, so the loop is also timed on the half that does. With ``--poison`` a hanging
answer stands among every 50, and latencies of the good ones are compared with and without.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from math_verify import LatexExtractionConfig, parse, verify

from configs.schema import JudgeConfig
from verifiers.pool import JudgePool
from verifiers.types import Verdict

NUM_ANSWERS = 2000
HANGING = [r"(x+y+z+w)^{500}", r"\prod_{i=1}^{9999} (x+i)"]
Pair = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=Path, help="JSONL with answer and response")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--poison", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pairs = _read(arguments.answers) if arguments.answers else made_answers()
    if arguments.poison:
        _poison(pairs)
        return
    hard = [pair for pair in pairs if _needs_parser(pair)]
    everything = _compare("all", pairs, arguments.rounds)
    parsed = _compare("only the parser can tell", hard, arguments.rounds)
    if arguments.json is not None:
        found = {"figures": {"all": everything, "parsed": parsed}, "ratios": {}}
        for name, rates in found["figures"].items():
            loop, one, two = rates.values()
            found["ratios"] |= {
                f"{name}_one_over_loop": one / loop,
                f"{name}_two_over_one": two / one,
            }
        arguments.json.write_text(json.dumps(found, indent=1))


def made_answers(count: int = NUM_ANSWERS, seed: int = 0) -> list[Pair]:
    """Half integers and fractions as written, half the same value in another form."""
    draw = random.Random(seed)
    pairs: list[Pair] = []
    while len(pairs) < count:
        a, b, c = draw.randint(2, 999), draw.randint(2, 999), draw.randint(2, 99)
        fraction = (rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{a * c}}}{{{b * c}}}")
        root = (rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}")
        square = (rf"x^2+{2 * c}x+{c * c}", rf"(x+{c})^2")
        pair = (rf"\left( {a}, \frac{{{b}}}{{{c}}} \right)", rf"({a}, {b}/{c})")
        for gold, other in (fraction, root, square, pair):
            pairs += [(str(a), str(a)), (gold, other if draw.random() < 0.7 else f"{other}+1")]
    return [(gold, rf"Thus it is \boxed{{{given}}}.") for gold, given in pairs[:count]]


def _compare(name: str, pairs: Sequence[Pair], rounds: int) -> dict[str, float]:
    """Verdicts a second of each side. A fresh pool for every round: a verdict that is remembered
    costs nothing."""
    sides: dict[str, Callable[[], float]] = {
        "math-verify loop": lambda: _serial_seconds(pairs),
        "pool, 1 process": lambda: _pool_seconds(pairs, 1),
        "pool, 2 processes": lambda: _pool_seconds(pairs, 2),
    }
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            taken[side].append(run())
    median = {side: statistics.median(seconds) for side, seconds in taken.items()}
    loop, one, two = (median[side] for side in sides)
    print(f"{name}: {len(pairs)} answers, medians of {rounds}")
    for side, seconds in median.items():
        print(f"  {side:18} {len(pairs) / seconds:8.0f} verdicts/s  {seconds:6.2f} s")
    print(f"  two processes over one: {one / two:.2f}; one over the loop: {one / loop - 1:+.1%}")
    return {side: len(pairs) / seconds for side, seconds in median.items()}


def _serial_seconds(pairs: Sequence[Pair]) -> float:
    config = [LatexExtractionConfig()]
    began = time.perf_counter()
    for gold, response in pairs:
        verify(
            parse(rf"\boxed{{{gold}}}", config, parsing_timeout=0),
            parse(response, config, parsing_timeout=0),
            timeout_seconds=None,
        )
    return time.perf_counter() - began


def _pool_seconds(pairs: Sequence[Pair], workers: int) -> float:
    pool = JudgePool(JudgeConfig(workers=workers, timeout_s=60, recycle_after=10**6))
    pool.open()
    try:
        began = time.perf_counter()
        _judge_all(pool, pairs)
        return time.perf_counter() - began
    finally:
        pool.shutdown()


def _judge_all(pool: JudgePool, pairs: Sequence[Pair]) -> list[Verdict]:
    futures = [pool.submit("math", gold, [response]) for gold, response in pairs]
    return [verdict for parts in futures for part in parts for verdict in part.result()]


def _needs_parser(pair: Pair) -> bool:
    gold, response = pair
    return not gold.isdigit() and f"{{{gold}}}" not in response


def _poison(pairs: Sequence[Pair]) -> None:
    """How long good answers take, alone and with an answer that hangs among every 50."""
    for name, step in (("alone", 0), ("among poison", 50)):
        pool = JudgePool(JudgeConfig(workers=2, timeout_s=0.5))
        pool.open()
        good = []
        for number, (gold, response) in enumerate(pairs):
            if step and number % step == 0:
                hang = HANGING[number // step % 2]
                pool.submit("math", str(number), [rf"\boxed{{{hang}}}"])
            good.append(pool.submit("math", gold, [response]))
        ms = sorted(part.result()[0].ms for parts in good for part in parts)
        stats = pool.stats
        pool.shutdown()
        print(
            f"{name:13} {len(ms)} good answers: p50 {ms[len(ms) // 2]:.1f} ms, "
            f"p99 {ms[len(ms) * 99 // 100]:.1f} ms; {stats.killed} killed, {stats.workers} workers"
        )


def _read(path: Path) -> list[Pair]:
    rows = map(json.loads, path.read_text().splitlines())
    return [(str(row["answer"]), row["response"]) for row in rows]


if __name__ == "__main__":
    main()
