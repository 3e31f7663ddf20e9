import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster import supervisor
from cluster.supervisor import Supervisor
from configs.load import load


@dataclass
class Part:
    name: str
    pid: int | None = 1
    hangs: bool = False
    start_s: float = 0.0
    started_again: int = 0


@dataclass
class Actors:
    served: list[Part] = field(default_factory=lambda: [Part("judge-0"), Part("queue")])

    @property
    def all(self) -> list[Part]:
        return [Part("generator-0"), *self.served]


@dataclass
class Reports:
    progress: tuple[Any, ...] = (0,)
    flow: str = "12 groups running"
    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    async def changed(self, kind: str, note: str, **fields: Any) -> None:
        assert "\n" not in note
        self.told.append((kind, note, fields))


class World:
    def __init__(self, folder: Path, *settings: str) -> None:
        self.actors, self.reports = Actors(), Reports()
        config = load("tiny", ["cluster.part_timeout_s=0.05", *settings])
        self.supervisor = Supervisor(config, self.actors, self.reports, folder)

    async def look(self, times: int = 3) -> None:
        for _ in range(times):
            await self.supervisor.look()
            await asyncio.sleep(0.03)

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.reports.told]


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer_of(part: Part, seconds: float) -> int | None:
        silent_s = 60 if part.hangs else part.start_s if part.started_again else 0
        await asyncio.sleep(min(silent_s, seconds))
        if silent_s > seconds:
            raise TimeoutError
        part.start_s = 0.0
        return part.pid

    def start_again(part: Part) -> None:
        part.hangs, part.pid = False, (part.pid or 0) + 1
        part.started_again += 1

    async def stacks_of(part: Part, seconds: float) -> str:
        return f"{part.name} does this\n"

    monkeypatch.setattr(supervisor, "ASK_S", 0.01)
    monkeypatch.setattr(supervisor, "answer_of", answer_of)
    monkeypatch.setattr(supervisor, "start_again", start_again)
    monkeypatch.setattr(supervisor, "stacks_of", stacks_of)


async def test_nothing_is_said_of_parts_that_answer(tmp_path: Path):
    world = World(tmp_path)

    await world.look()

    assert world.reports.told == []


async def test_a_part_with_another_process_has_started_again(tmp_path: Path):
    world = World(tmp_path)
    await world.look(1)
    world.actors.served[0].pid = None  # nobody is there just now
    await world.look(1)
    world.actors.served[0].pid = 7
    await world.look(2)

    [(kind, note, fields)] = world.reports.told
    assert kind == "part_back" and "judge-0" in note
    assert fields == {"name": "judge-0", "pid": 7}


async def test_a_part_that_hangs_is_ended_and_the_others_are_asked_meanwhile(tmp_path: Path):
    world = World(tmp_path)
    queue = world.actors.served[1]
    await world.look(1)
    queue.hangs, queue.start_s = True, 0.15

    await world.look(20)

    assert queue.started_again == 1, "a start may take longer than an answer"
    assert world.kinds == ["part_hung", "part_back"]
    assert world.actors.served[0].started_again == 0


async def test_a_run_that_stands_still_is_described_once(tmp_path: Path):
    world = World(tmp_path, "cluster.stall_timeout_s=0.05")
    await world.look(6)

    [(kind, note, fields)] = world.reports.told
    assert kind == "stalled" and fields["file"] in note
    text = (tmp_path / fields["file"]).read_text()
    assert text.startswith("12 groups running")
    for name in ("driver", "generator-0", "judge-0", "queue"):
        assert f"=== {name}" in text
    assert "queue does this" in text
    assert "test_supervisor" in text, "the driver's own stack"

    world.reports.progress = (1,)
    await world.look(6)
    assert world.kinds == ["stalled", "stalled"], "a further stall is a further file"


async def test_a_run_that_moves_is_left_alone(tmp_path: Path):
    world = World(tmp_path, "cluster.stall_timeout_s=0.05")
    for step in range(6):
        world.reports.progress = (step,)
        await world.look(1)

    assert world.reports.told == []
