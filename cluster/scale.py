"""``laconic scale``: a wish in a file of the run directory, which the run looks at every second."""

import json
import time
from pathlib import Path
from typing import Any

from cluster.run_dir import replace_file
from configs.errors import UserError
from configs.run_files import CONTROL, STATE

ALIVE_S = 15.0
"""A run says that it is alive once a second."""


class Control:
    """The run's side. What was wished of an earlier process of the run is over."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / CONTROL
        self._seen = self._text()

    def wanted_engines(self) -> int | None:
        """What has been wished since it was last asked, if it can be understood."""
        text = self._text()
        if text == self._seen:
            return None
        self._seen = text
        try:
            wanted = json.loads(text)["engines"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return wanted if type(wanted) is int and wanted >= 1 else None

    def _text(self) -> str:
        try:
            return self._path.read_text()
        except (OSError, UnicodeDecodeError):
            return ""


def ask(run_dir: Path, engines: int) -> str:
    """Wish for so many engines; what to tell the person who did."""
    if engines < 1:
        raise UserError(f"a run needs at least one engine, not {engines}; give a number above 0")
    now = _serving(_state(run_dir))
    wish = {"engines": engines, "at": time.time()}
    replace_file(run_dir / CONTROL, json.dumps(wish))
    return f"asked {run_dir} for {engines} engines (now {now}); events.jsonl says what comes of it"


def describe(run_dir: Path) -> str:
    rows = [row for row in _state(run_dir)["engines"] if row["state"] != "gone"]
    return "\n".join(
        f"{row['name']:14} {row['state']:9} version {row['version']}  "
        f"running {row.get('running', 0)}  waiting {row.get('waiting', 0)}  "
        f"silent {row['silent_s']:.0f} s"
        for row in rows
    )


def _serving(state: dict[str, Any]) -> int:
    return sum(row["state"] == "serving" for row in state["engines"])


def _state(run_dir: Path) -> dict[str, Any]:
    try:
        state = json.loads((run_dir / STATE).read_text())
        silent_s = time.time() - state["heartbeat_us"] / 1e6
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"{run_dir} holds no run that is training; give the folder of one, such as runs/NAME"
        ) from None
    if silent_s > ALIVE_S or state.get("phase") != "training":
        raise UserError(
            f"the run in {run_dir} is not training: phase {state.get('phase')!r}, last sign of "
            f"life {silent_s:.0f} s ago; go on with it by --resume"
        )
    return state
