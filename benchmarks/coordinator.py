"""How many rollouts a second the coordinator can bear: the real queue, ledger and durable log.

    python -m benchmarks.coordinator [--seconds 60] [--tokens 200] [--folder DIR] [--json FILE]

Stand-ins write and learn in no time, so what is measured is issue, settle, lease, payload,
acknowledgement and commit, each on disk (fsync) before anybody is told. Groups of 8 rollouts, of
which 5 are accepted. Pass: 5,000 rollouts a second, and resident memory that grows by no more than
8 MiB between the first quarter and the end, whatever the log's size. Tickets are handed out by the
real ``feed``: those for which somebody waits share a sync, and so do groups that settle together.
The rate of one core that does nothing else is printed beside it.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from actors.replay import ReplayQueue
from cluster.loop import feed
from cluster.tickets import Tickets
from configs.load import load
from verifiers.types import Outcome, Problem, Rollout, Settlement, Ticket, rollout_id

PASS_PER_S = 5000
PASS_MIB = 8.0
GROUP = 8
ACCEPTED = 5
PROBLEMS = 64
"""Groups of a step."""

WRITERS = 16
"""Engines that wait for a ticket at a time."""

COMMIT_EVERY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    seconds: float
    cpu_seconds: float
    rollouts: int
    steps: int
    syncs_per_s: float
    log_mib: float
    rss_mib: tuple[float, ...]
    """At each quarter."""

    @property
    def rollouts_per_s(self) -> float:
        return self.rollouts / self.seconds

    @property
    def rollouts_per_core_s(self) -> float:
        return self.rollouts / self.cpu_seconds

    @property
    def growth_mib(self) -> float:
        return self.rss_mib[-1] - self.rss_mib[0]

    @property
    def passes(self) -> bool:
        return self.rollouts_per_s >= PASS_PER_S and self.growth_mib <= PASS_MIB


class NoFates:
    async def fates(self, rows: list[Any]) -> None: ...


class Source:
    def draw(self, number: int, version: int) -> Ticket:
        return _ticket(number)


class Syncs:
    """Counts what waits for the disk."""

    def __init__(self) -> None:
        self.count = 0
        self._sync = os.fsync

    def __call__(self, descriptor: int) -> None:
        self.count += 1
        self._sync(descriptor)


async def measure(folder: str, seconds: float, tokens: int, syncs: Syncs) -> Load:
    config = load(
        "tiny",
        [f"batch.problems={PROBLEMS}", f"sampling.group_size={GROUP}", "steps=100000000"],
    )
    queue = ReplayQueue(folder, config, NoFates())
    await queue.open(0)
    parts: Any = SimpleNamespace(source=Source(), queue=queue, tickets=Tickets())
    responses = _responses(tokens)
    taken = {"rollouts": 0, "steps": 0}
    began, cpu_began = time.monotonic(), time.process_time()

    async def write() -> None:
        while True:
            ticket = await parts.tickets.get()
            await queue.settle(_settlement(ticket, taken["steps"], responses))
            taken["rollouts"] += GROUP

    async def learn() -> None:
        rss = [0.0] * 4
        while (now := time.monotonic() - began) < seconds:
            lease = await queue.lease(taken["steps"])
            payload = await queue.payload(lease.step, lease.epoch)
            assert len(payload) == PROBLEMS * ACCEPTED
            await queue.ack(lease, skipped=False)
            taken["steps"] += 1
            await queue.published(taken["steps"])
            if taken["steps"] % COMMIT_EVERY == 0:
                await queue.commit(taken["steps"], lease.end_ticket)
            rss[min(3, int(4 * now / seconds))] = _rss_mib()
        marks.extend(rss)

    marks: list[float] = []
    writers = [asyncio.create_task(write()) for _ in range(WRITERS)]
    others = [asyncio.create_task(feed(parts, reissue=[])), *writers]
    try:
        await asyncio.gather(learn())
        took, cpu = time.monotonic() - began, time.process_time() - cpu_began
        (await queue.counts()).check()
    finally:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await queue.close()
    log = list(Path(folder).glob("log-*.jsonl"))
    return Load(
        seconds=took,
        cpu_seconds=cpu,
        rollouts=taken["rollouts"],
        steps=taken["steps"],
        syncs_per_s=syncs.count / took,
        log_mib=sum(path.stat().st_size for path in log) / 2**20,
        rss_mib=tuple(marks),
    )


def _ticket(number: int) -> Ticket:
    problem = Problem(
        id=f"p{number}", messages=(), answer="", source="", verifier="", prompt_ids=(1, 2, 3)
    )
    return Ticket(number=number, attempt=0, problem=problem, size=GROUP, budget=4096, seen=number)


def _settlement(ticket: Ticket, version: int, responses: Sequence[tuple[int, ...]]) -> Settlement:
    outcomes, rollouts = [], []
    for sample in range(GROUP):
        name = rollout_id(ticket.number, 0, sample)
        response = responses[(ticket.number * GROUP + sample) % len(responses)]
        reason = None if sample < ACCEPTED else "wrong"
        outcomes.append(
            Outcome(
                rollout_id=name, status="correct" if reason is None else "wrong", reason=reason,
                num_tokens=len(response), first_version=version, last_version=version,
            )
        )  # fmt: skip
        if reason is None:
            rollouts.append(
                Rollout(
                    id=name, prompt_ids=ticket.problem.prompt_ids or (), response_ids=response,
                    first_version=version, last_version=version,
                )
            )  # fmt: skip
    return Settlement(
        ticket=ticket.number, attempt=0, outcomes=tuple(outcomes), rollouts=tuple(rollouts)
    )


def _responses(mean: int) -> list[tuple[int, ...]]:
    """Made before the clock starts; the queue keeps copies of its own."""
    draw = random.Random(0)
    return [
        tuple(draw.randrange(150_000) for _ in range(draw.randint(mean // 2, mean + mean // 2)))
        for _ in range(997)
    ]


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tokens", type=int, default=200, help="mean of a response")
    parser.add_argument("--folder", help="where the log is written; else a temporary one")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        syncs = Syncs()
        with patch("os.fsync", syncs):
            load = asyncio.run(measure(folder, arguments.seconds, arguments.tokens, syncs))
    if arguments.json is not None:
        found = {name: getattr(load, name) for name in Load.__dataclass_fields__}
        found |= {"rollouts_per_s": load.rollouts_per_s, "passes": load.passes}
        found |= {"rollouts_per_core_s": load.rollouts_per_core_s}
        ratios = {"memory_first_over_last": load.rss_mib[0] / load.rss_mib[-1]}
        arguments.json.write_text(json.dumps({"figures": found, "ratios": ratios}, indent=1))
    marks = " ".join(f"{mib:.0f}" for mib in load.rss_mib)
    print(
        f"{load.rollouts_per_s:,.0f} rollouts/s ({load.rollouts:,} in {load.seconds:.0f} s, "
        f"{load.steps} steps), {load.rollouts_per_core_s:,.0f} a second of one core\n"
        f"{load.syncs_per_s:.0f} syncs/s, log {load.log_mib:.0f} MiB, resident {marks} MiB by "
        f"quarter; load average {os.getloadavg()[0]:.1f}"
    )
    print("pass" if load.passes else f"below {PASS_PER_S} rollouts/s, or memory grows")


if __name__ == "__main__":
    main()
