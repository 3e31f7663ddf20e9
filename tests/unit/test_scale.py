"""The wish for more or fewer engines, from the command to the run."""

import json
import time
from pathlib import Path

import pytest

from cluster.scale import Control, ask, describe
from configs.errors import UserError

ROWS = [
    {"name": "generator-0", "state": "gone", "version": 2, "silent_s": 0.0},
    {"name": "generator-1", "state": "serving", "version": 7, "running": 3, "silent_s": 0.2},
    {"name": "generator-2", "state": "starting", "version": 0, "silent_s": 9.0},
]


def alive(folder: Path, *, phase: str = "training", ago_s: float = 0.0) -> Path:
    state = {"phase": phase, "heartbeat_us": (time.time() - ago_s) * 1e6, "engines": ROWS}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_a_wish_reaches_the_run_once(tmp_path: Path):
    control = Control(alive(tmp_path))
    assert control.wanted_engines() is None

    assert "for 3 engines (now 1)" in ask(tmp_path, 3)

    assert control.wanted_engines() == 3
    assert control.wanted_engines() is None
    ask(tmp_path, 3)
    assert control.wanted_engines() == 3


def test_a_wish_of_an_earlier_process_is_over(tmp_path: Path):
    ask(alive(tmp_path), 3)

    assert Control(tmp_path).wanted_engines() is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"engines": "2"}', '{"engines": 0}', '{"engines": true}']
)
def test_what_is_no_wish_is_passed_over(tmp_path: Path, text: str):
    control = Control(tmp_path)
    (tmp_path / "control.json").write_text(text)

    assert control.wanted_engines() is None


def test_the_engines_of_a_run_are_shown_without_those_that_are_gone(tmp_path: Path):
    lines = describe(alive(tmp_path)).splitlines()

    assert [line.split()[:4] for line in lines] == [
        ["generator-1", "serving", "version", "7"],
        ["generator-2", "starting", "version", "0"],
    ]


def test_what_cannot_be_scaled_is_told_in_one_line(tmp_path: Path):
    cases = (
        (0.0, "training", 0, "at least one engine, not 0"),
        (60.0, "training", 2, "last sign of life 60 s ago"),
        (0.0, "finished", 2, "phase 'finished'"),
    )
    for ago_s, phase, engines, words in cases:
        with pytest.raises(UserError, match=words) as refusal:
            ask(alive(tmp_path, phase=phase, ago_s=ago_s), engines)
        assert "\n" not in str(refusal.value)
    with pytest.raises(UserError, match="holds no run that is training"):
        ask(tmp_path / "nothing", 2)
    assert not (tmp_path / "control.json").exists()
