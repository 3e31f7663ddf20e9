"""Sees to the parts that start again by themselves, and to a run that goes nowhere.

Judges, queue and recorder are asked once in a while whether they are there; one that hangs is
ended, and Ray starts it again. When nothing at all has moved for ``cluster.stall_timeout_s`` what
every process does is written to the run's folder, once for each stall.
"""

import asyncio
import time
from pathlib import Path
from typing import Any, Protocol

from cluster.run_dir import replace_file
from cluster.spawn import answer_of, stacks, stacks_of, start_again
from configs.schema import RunConfig

ASK_S = 2.0
STACKS_S = 5.0


class Staffed(Protocol):
    @property
    def served(self) -> list[Any]: ...
    @property
    def all(self) -> list[Any]: ...


class Reports(Protocol):
    @property
    def progress(self) -> tuple[Any, ...]:
        """Changes with every token, group and step."""
        ...

    @property
    def flow(self) -> str:
        """Where everything is just now, for people."""
        ...

    async def changed(self, kind: str, note: str, **fields: Any) -> None: ...


class Supervisor:
    def __init__(self, config: RunConfig, actors: Staffed, reports: Reports, folder: Path) -> None:
        self._config = config
        self._actors = actors
        self._reports = reports
        self._folder = folder
        self._pids: dict[str, int] = {}
        self._starting: set[str] = set()
        """Those that did not answer when they were asked last."""
        self._asked: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._progress: tuple[Any, ...] = ()
        self._moved = time.monotonic()
        self._has_told = False

    async def look(self) -> None:
        """Never waits for a part that is slow to answer."""
        now = time.monotonic()
        for part in self._actors.served:
            since, task = self._asked.get(part.name, (0.0, None))
            if task is not None and task.done():
                task.result()
            if now - since >= ASK_S and (task is None or task.done()):
                self._asked[part.name] = (now, asyncio.create_task(self._ask(part)))
        await self._watch(now)

    async def _ask(self, part: Any) -> None:
        cluster, is_starting = self._config.cluster, part.name in self._starting
        limit = cluster.start_timeout_s if is_starting else cluster.part_timeout_s
        self._starting.add(part.name)  # unless it answers
        try:
            pid = await answer_of(part, limit)
        except TimeoutError:
            note = f"{part.name} has said nothing for {limit:.0f} s; it is started again"
            await self._reports.changed("part_hung", note, name=part.name)
            start_again(part)
            return
        if pid is None:
            return  # it is starting again, or whoever needs it will say that it is gone
        self._starting.remove(part.name)
        if self._pids.setdefault(part.name, pid) != pid:
            self._pids[part.name] = pid
            note = f"{part.name} died and has started again"
            await self._reports.changed("part_back", note, name=part.name, pid=pid)

    async def _watch(self, now: float) -> None:
        if self._reports.progress != self._progress:
            self._progress, self._moved, self._has_told = self._reports.progress, now, False
            return
        still_s = now - self._moved
        if still_s < self._config.cluster.stall_timeout_s or self._has_told:
            return
        self._has_told = True
        path = self._folder / f"stall-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.txt"
        found = await asyncio.gather(*(stacks_of(part, STACKS_S) for part in self._actors.all))
        parts = [
            f"=== {part.name}\n{text}" for part, text in zip(self._actors.all, found, strict=True)
        ]
        text = "\n".join([self._reports.flow, f"=== driver\n{stacks()}", *parts])
        await asyncio.to_thread(replace_file, path, text)
        note = f"no token, group or step for {still_s:.0f} s; {path.name} says what everyone does"
        await self._reports.changed("stalled", note, seconds=round(still_s), file=path.name)
