"""Whole runs as a user starts them: the command in its own process, on a random small model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class World:
    """A model without skill, problems for it, and the settings that make a run of it short."""

    folder: Path

    @property
    def settings(self) -> list[str]:
        return [
            f"model.path={self.folder / 'model'}",
            f"data.train={self.folder / 'train.jsonl'}",
            "data.heldout=null",
            "data.verifier=tests.easy:easy",
            f"runs_dir={self.folder / 'runs'}",
            "batch.problems=4",
            # A random model rarely stops: enough rollouts that every batch has an accepted one.
            "sampling.group_size=8",
            "filter.length_budget=180",
            "engine.max_model_len=256",
            "engine.max_num_seqs=64",
            "learner.micro_batch_tokens=512",
            "debug=true",
            "dashboard.enabled=false",
        ]

    def run_dir(self, name: str) -> Path:
        return self.folder / "runs" / name


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    from tests.tiny_llama import write_tiny_llama  # noqa: PLC0415  torch only where a run is made

    folder = tmp_path_factory.mktemp("world")
    write_tiny_llama(folder / "model", seed=0)
    rows = ({"id": f"p{i}", "prompt": f"Count to {i}.", "answer": str(i)} for i in range(200))
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return World(folder)


Laconic = Callable[..., subprocess.CompletedProcess[str]]


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "laconic_cli.py"), *arguments]


@pytest.fixture(scope="session")
def laconic() -> Laconic:
    """``laconic("train", "tiny", …)``; the whole output is shown when a test fails."""

    def run(*arguments: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*arguments),
            cwd=ROOT,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        print(done.stdout, done.stderr)
        return done

    return run
