"""Logs of a made-up run: one file a part, times of the run, colours and a traceback among them."""

import random
import time
from pathlib import Path

from dashboard.demo.hostile import TEXTS
from dashboard.demo.rollouts import World
from dashboard.demo.shape import BEGAN_US, GENERATORS

TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "actors/generator.py", line 91, in generate\n'
    "    completions = await self._running().writer.write(ticket, sampling)\n"
    "actors.engine.EngineDied: it has said nothing for 60 s"
)


def write_logs(run_dir: Path, world: World, hostile: bool) -> None:
    folder = run_dir / "logs"
    folder.mkdir(exist_ok=True)
    for name in ("learner-0", "queue", "recorder", "judge-0", *GENERATORS):
        lines = _lines(name, world)
        if hostile and name == "judge-0":
            lines += [f"2025-10-09 09:00:00,000 WARNING verifiers.pool {text}" for text in TEXTS]
        (folder / f"{name}.log").write_text("\n".join(lines) + "\n")


def _lines(name: str, world: World) -> list[str]:
    rng = random.Random(name)
    lines = [_line(BEGAN_US + 9_000_000, "INFO", "cluster.spawn", f"{name} has started")]
    for version in range(world.shape.steps + 1):
        at_us = int(world.times_us[version])
        if name.startswith("learner"):
            lines.append(_line(at_us, "INFO", "learner.trainer", f"step {version}: loss finite"))
        elif name.startswith("generator"):
            words = f"\x1b[32mversion {version}\x1b[0m serves, 57 requests were in flight"
            lines.append(_line(at_us, "INFO", "actors.vllm_engine", words))
        elif rng.random() < 0.2:
            lines.append(_line(at_us, "INFO", f"actors.{name}", f"version {version} is known"))
        if rng.random() < 0.02:
            lines.append(_line(at_us + 40_000, "WARNING", "actors.waiting", "it took 3.1 s"))
    if name == GENERATORS[1]:
        at_us = int(world.times_us[world.shape.bad_step]) + 9_000_000
        lines.append(_line(at_us, "ERROR", "cluster.spawn", f"{name} failed in generate"))
        lines += TRACEBACK.splitlines()
    return lines


def _line(at_us: int, level: str, logger: str, text: str) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_us / 1e6))
    return f"{at},{at_us // 1000 % 1000:03d} {level} {logger} {text}"
