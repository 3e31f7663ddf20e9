"""Small run directories for tests of the page, and an application over them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.testclient import TestClient

from configs.run_files import FOLDERS, MANIFEST, SCHEMAS, Kind, part_name
from dashboard.demo.write import write_demo
from dashboard.server.app import make_app
from dashboard.server.settings import Settings

Row = dict[str, Any]
OURS = {"host": "localhost"}


class WrittenRun:
    """A run whose parts a test writes one by one, as the recorder would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seq = 0
        for name in FOLDERS.values():
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps({"name": folder.name, "starts": []}))

    def seal(self, kind: Kind, rows: Sequence[Row], replaces: Sequence[str] = ()) -> str:
        """A part and its line in the manifest; its name."""
        file = f"{FOLDERS[kind]}/{part_name(1, self._seq)}"
        table = pa.Table.from_pylist(list(rows), schema=SCHEMAS[kind])
        pq.write_table(table, self.folder / file)
        entry = {"kind": kind, "file": file, "rows": len(rows), "replaces": list(replaces)}
        self.list({**entry, "boot": 1, "seq": self._seq, "versions": None, "times": None})
        self._seq += 1
        return file

    def list(self, entry: Row) -> None:
        with (self.folder / MANIFEST).open("a") as file:
            file.write(json.dumps(entry) + "\n")


def born(number: int, sample: int = 0, *, attempt: int = 0, **more: Any) -> Row:
    """A rollout that is right, finished and within its budget."""
    group = f"{number:06d}.{attempt}"
    row = {
        "rollout_id": f"{group}.{sample}",
        "attempt": attempt,
        "group_id": group,
        "problem_id": f"p{number}",
        "sample": sample,
        "n_tokens": 10,
        "budget": 100,
        "max_tokens": 100,
        "first_version": 0,
        "last_version": 0,
        "start_us": number * 1_000_000,
        "end_us": number * 1_000_000 + 500_000,
        "gen_ms": 500.0,
        "finish_reason": "stop",
        "verdict": "correct",
        "accepted": True,
        "reason": None,
        "generator_id": "engine-0",
        "text_level": "none",
    }
    return row | more


def demo(folder: Path, rollouts: int = 2000, *, hostile: bool = False) -> Path:
    write_demo(folder, rollouts, seed=0, hostile=hostile, report=lambda line: None)
    return folder


def client(*runs: Path, **settings: Any) -> TestClient:
    """Asks the application in this process, under a name that it answers to."""
    return TestClient(make_app(Settings(runs=runs, **settings)), base_url="http://localhost")


def asking(*runs: Path) -> Callable[..., Any]:
    """The JSON of an endpoint that must answer."""
    page = client(*runs)

    def get(name: str, **values: Any) -> Any:
        found = page.get(f"/api/{name}", params=values)
        assert found.status_code == 200, found.text
        return found.json()

    return get
