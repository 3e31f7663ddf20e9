"""A run directory as a whole run leaves it, written by the real queue, recorder and store, with
made-up rollouts: a step taken back, one skipped, a group asked twice, a stale rollout."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from actors.recorder import Recorder
from actors.replay import ReplayQueue
from actors.replay_log import ReplayLog, log_files, read_log
from actors.settlement import settlement_of
from cluster.checkpoint import CheckpointStore, TrainState
from configs.load import dump, load
from tests.fakes import make_problem, make_ticket
from verifiers.hooks import bind_hooks, judged_group
from verifiers.types import Completion, Group, Verdict

Record = dict[str, Any]

CONFIG = load(
    "tiny", ["batch.problems=2", "sampling.group_size=2", "steps=5", "max_lag=1", "debug=true"]
)


class MadeRun:
    """Driver, generators, judge and learner in one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = CheckpointStore(folder / "checkpoints", keep=2)
        self._hooks = bind_hooks(CONFIG.filter)

    async def start(self, step: int) -> None:
        self._recorder = Recorder(str(self.folder), CONFIG.recorder)
        await self._recorder.start()
        self._queue = ReplayQueue(str(self.folder / "queue"), CONFIG, self._recorder)
        await self._queue.open(step)

    async def kill(self) -> None:
        await self._queue.close()
        await self._recorder.close()

    async def issue(self, *numbers: int) -> None:
        for number in numbers:
            problem = make_problem(f"p-{number}")
            await self._queue.issue(make_ticket(number, size=2, problem=problem))

    async def settle(self, number: int, version: int, attempt: int = 0) -> bool:
        """One right answer, one wrong."""
        ticket = make_ticket(number, size=2, problem=make_problem(f"p-{number}"))
        verdicts = (
            Verdict(status="correct", extracted="42"),
            Verdict(status="wrong", extracted="41"),
        )
        completions = tuple(
            Completion(
                text=text,
                token_ids=(7,) * (3 + number),
                finish_reason="stop",
                first_version=version,
                last_version=version,
                start_us=0,
                end_us=1,
            )
            for text in ("42", "41")
        )
        group = Group(
            ticket=replace(ticket, attempt=attempt),
            generator_id="g",
            completions=completions,
            temperature=1.0,
            top_p=1.0,
            max_tokens=100,
        )
        judged = judged_group(group, verdicts, self._hooks)
        await self._recorder.rollouts(judged)
        return await self._queue.settle(settlement_of(judged, keep_rejected=False))

    async def step(self, step: int, *, skipped: bool = False) -> None:
        lease = await self._queue.lease(step)
        await self._queue.ack(lease, skipped=skipped)
        counts = await self._queue.counts()
        await self._recorder.step(
            {
                "step": step + 1,
                "rollouts": lease.num_written,
                "stale": lease.num_stale,
                "equal": lease.num_equal,
                "trained_tokens": counts.trained_tokens,
            }
        )
        await self._queue.published(step + 1)

    async def commit(self, step: int, end_ticket: int) -> None:
        folder = self._store.begin(step)
        (folder / "shard").write_bytes(bytes(range(256)))
        state = TrainState(step=step, end_ticket=end_ticket, seconds=1.0)
        self._store.commit(folder, state)
        await self._queue.commit(step, self._store.oldest_ticket())

    async def finish(self) -> None:
        counts = asdict(await self._queue.counts())
        (self.folder / "summary.json").write_text(json.dumps({"steps": 5, "counts": counts}))
        await self._recorder.state({"phase": "finished"})
        await self.kill()


async def make_run(folder: Path) -> None:
    folder.mkdir()
    (folder / "resolved.yaml").write_text(dump(CONFIG))
    run = MadeRun(folder)
    await run.start(0)
    await run.issue(0, 1, 2, 3)
    for number in (3, 1, 0, 2):
        await run.settle(number, version=0)
    await run.step(0)
    await run.issue(4, 5)
    await run.settle(4, version=1)
    await run.step(1)
    await run.commit(2, end_ticket=4)
    await run.issue(6, 7, 8)
    for number in (7, 5, 6):
        await run.settle(number, version=2)
    await run.step(2, skipped=True)
    await run.kill()
    await run.start(2)
    await run.issue(8)
    await run.settle(8, version=2, attempt=0)  # late: refused
    await run.step(2)
    await run.step(3)
    await run.commit(4, end_ticket=8)
    await run.issue(9)
    await run.settle(9, version=4)
    await run.settle(8, version=2, attempt=1)  # too old when its turn comes
    await run.step(4)
    await run.commit(5, end_ticket=10)
    await run.finish()


def rewrite(queue: Path, boot: int, change: Callable[[list[Record]], list[Record]]) -> None:
    """Change the records of one log, and write it as if it had always been so: numbered and with
    checksums."""
    [path] = [path for path in log_files(queue) if path.name == f"log-{boot:04d}.jsonl"]
    scratch = queue / "scratch"
    scratch.mkdir()
    path.rename(scratch / "log-0001.jsonl")
    records = change([without_seq(record) for record in read_log(scratch)])
    (scratch / "log-0001.jsonl").unlink()
    log = ReplayLog(scratch)
    for record in records:
        log.append(record)
    log.close()
    (scratch / "log-0001.jsonl").rename(path)
    scratch.rmdir()


def without_seq(record: Record) -> Record:
    return {name: value for name, value in record.items() if name != "seq"}
