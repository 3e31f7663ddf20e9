"""A real run in a process of its own, whose parts can be found and killed while it trains."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from configs.run_files import read_jsonl
from tests.integration.conftest import World, command
from tests.integration.runs import events, processes, records, wait_until
from verifiers.parent import die_with_parent


@dataclass
class Live:
    folder: Path
    driver: subprocess.Popen[bytes]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return events(self.folder, kind)

    def serving(self) -> dict[str, dict[str, Any]]:
        state = json.loads((self.folder / "state.json").read_text())
        return {row["name"]: row for row in state["engines"] if row["state"] == "serving"}

    def pids(self) -> dict[str, int]:
        """Of every part the newest process that has its name."""
        found = processes(self.folder)
        for event in read_jsonl(self.folder / "events.jsonl"):
            match event["kind"]:
                case "started" | "learner_back":
                    found |= event["processes"]
                case "engine_joined" | "part_back":
                    found[event["name"]] = event["pid"]
        return found

    def pid(self, name: str) -> int:
        return self.pids()[name]

    def core(self, name: str) -> int:
        """vLLM's process that computes, a child of the engine's."""
        children = Path(f"/proc/{self.pid(name)}/task")
        pids = [
            int(p) for task in children.iterdir() for p in (task / "children").read_text().split()
        ]
        return max(pids, key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]))

    def wait(self, ready: Callable[[], Any], what: str, timeout_s: float) -> Any:
        def alive_and_ready() -> Any:
            assert self.driver.poll() is None, f"the run ended: {self.driver.returncode}"
            return ready()

        return wait_until(alive_and_ready, what, timeout_s)

    def wait_for_more(self, kind: str, number: int, timeout_s: float = 300) -> None:
        """Records of the queue's log."""
        before = len(records(self.folder, kind))
        self.wait(
            lambda: len(records(self.folder, kind)) >= before + number,
            f"{number} more of {kind!r}",
            timeout_s,
        )

    def wait_for_steps(self, number: int) -> None:
        self.wait_for_more("ack", number)


@contextmanager
def training(
    world: World,
    name: str,
    *settings: str,
    environment: dict[str, str] | None = None,
    stderr: int | None = None,
) -> Iterator[Live]:
    """From its first step on, in this process of it."""
    folder = world.run_dir(name)
    starts = len(events(folder, "started"))
    driver = subprocess.Popen(
        command("train", "tiny", *world.settings, f"name={name}", *settings),
        env=os.environ | (environment or {}),
        stderr=stderr,
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    run = Live(folder, driver)
    try:
        run.wait(lambda: len(run.events("started")) > starts, "the parts to start", 240)
        run.wait(lambda: (folder / "metrics.jsonl").exists(), "the first step", 60)
        yield run
    finally:
        driver.kill()
        driver.wait()
