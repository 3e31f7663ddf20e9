"""What the person in front of the run is told, and that telling it never stops the run."""

import io
import math
import threading

import pytest
from rich.console import Console

from cluster.live import LivePanel, PlainLines, StepLine, open_live, printable

ROW = {
    "step": 12,
    "steps": 25,
    "version": 11,
    "loss": 0.41231,
    "grad_norm": 1.5,
    "lr": 1e-6,
    "accepted": 143,
    "rollouts": 256,
    "mean_tokens": 91.24,
    "accepted_tokens_mean": 40.0,
    "lag_max": 1,
    "generated_tokens_per_s": 5432.1,
    "wait_s": 0.84,
    "train_s": 1.55,
    "sync_s": 0.1,
    "skipped": 0,
    "reasons": {"wrong": 113},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_a_step_is_one_line_with_fixed_fields():
    stream = io.StringIO()

    PlainLines(stream).step({**ROW, "a_metric_of_another_day": 1})

    assert lines(stream) == [
        "step 12/25 version 11 loss 0.412 kept 143/256 tokens 91.2 lag 1 "
        "gen 5.4k tok/s wait 0.8s train 1.6s sync 0.1s"
    ]


def test_a_step_with_nothing_accepted_says_so_and_why():
    row = {**ROW, "accepted": 0, "loss": None, "reasons": {"wrong": 56, "stale": 0, "x": 200}}

    assert str(StepLine.of(row)) == (
        "step 12/25 version 11 nothing accepted of 256 (x 200, wrong 56) tokens 91.2 lag 1 "
        "gen 5.4k tok/s wait 0.8s train 1.6s sync 0.1s"
    )
    assert "nothing accepted of 0 tokens" in str(StepLine(step=1, steps=2, version=0))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"loss": math.nan, "skipped": 1}, "loss nan SKIPPED, gradient not finite kept 143/256"),
        ({"loss": None}, "loss n/a kept"),
        ({"lag_max": None}, "lag n/a gen"),
        ({"lag_max": 2.0}, "lag 2 gen"),
        ({"generated_tokens_per_s": 999.4}, "gen 999 tok/s wait"),
        ({"generated_tokens_per_s": math.inf}, "gen n/a wait"),
        ({"generated_tokens_per_s": None}, "gen n/a wait"),
        ({"sync_s": None}, "sync n/a"),
    ],
)
def test_a_value_that_is_missing_or_not_finite_is_shown_as_that(change: dict, part: str):
    assert part in str(StepLine.of({**ROW, **change}))


def test_a_phase_is_said_at_once_and_again_before_ten_seconds_are_over(clock: Clock):
    stream = io.StringIO()
    live = PlainLines(stream, clock)

    live.progress("starting", "engine 0 loading")
    clock.now += 3
    live.progress("starting", "engine 1 loading")
    live.beat()
    clock.now += 6
    live.beat()
    live.beat()
    clock.now += 8.9
    live.beat()
    clock.now += 0.1
    live.beat()
    live.progress("evaluating", "")

    assert lines(stream) == [
        "starting: engine 0 loading, 0 s",
        "starting: engine 1 loading, 9 s",
        "starting: engine 1 loading, 18 s",
        "evaluating: 0 s",
    ]


def test_a_step_or_a_note_counts_as_news_and_a_step_ends_the_phase(clock: Clock):
    stream = io.StringIO()
    live = PlainLines(stream, clock)
    live.progress("starting", "judges")
    clock.now += 8
    live.note("resumed from step 11")
    clock.now += 8
    live.beat()

    live.step(StepLine.of(ROW))
    clock.now += 100
    live.beat()

    assert [line.split()[0] for line in lines(stream)] == ["starting:", "resumed", "step"]


def test_the_phase_is_repeated_without_anybody_calling(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.live.BEAT_S", 0.001)
    monkeypatch.setattr("cluster.live.QUIET_S", 0.0)
    stream = io.StringIO()
    said = threading.Event()

    class Watched(PlainLines):
        def _say_phase(self) -> None:
            super()._say_phase()
            if len(lines(stream)) >= 3:
                said.set()

    with Watched(stream) as live:
        live.progress("starting", "engine 0 loading")
        assert said.wait(20)

    assert not live._beats.is_alive()


def test_what_a_model_wrote_cannot_steer_the_terminal():
    stream = io.StringIO()

    PlainLines(stream).note("a\x1b[2Jb\r\nstep 1/1\u202e\u2028\x9b")

    assert stream.getvalue() == "a [2Jb  step 1/1   \n"
    assert printable("é 漢 😀") == "é 漢 😀"


def test_a_stream_that_cannot_hold_the_text_gets_question_marks():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")

    PlainLines(stream).note("é\ud800!")

    assert raw.getvalue() == b"? !\n"


def test_a_reader_that_went_away_does_not_stop_the_run():
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), closed):
        with PlainLines(stream) as live:
            live.progress("starting", "")
            live.step(ROW)


def test_a_panel_is_for_terminals_that_can_draw_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take any file for a terminal

    assert isinstance(open_live(Terminal()), LivePanel)
    assert isinstance(open_live(io.StringIO()), PlainLines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_live(Terminal()), PlainLines)


@pytest.mark.parametrize("no_color", [True, False])
def test_the_panel_shows_the_lines_the_phase_and_the_progress(
    monkeypatch: pytest.MonkeyPatch, no_color: bool
):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()

    with LivePanel(Console(file=stream, force_terminal=True, width=200)) as live:
        live.progress("starting", "engine 0 \x1b[2J[bold]loading")
        live._live.refresh()
        live.note("[red]not markup\x1b[2J")
        live.step({**ROW, "accepted": 0})
        live._live.refresh()

    shown = stream.getvalue()
    assert "engine 0  [2J[bold]loading" in shown
    assert "[red]not markup [2J" in shown and "\x1b[2J" not in shown
    assert str(StepLine.of({**ROW, "accepted": 0})) in shown
    assert "step 12/25" in shown and "done" in shown
    assert ("\x1b[33m" in shown) == (not no_color)


def test_the_panel_says_that_a_run_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()

    with pytest.raises(KeyError), LivePanel(Console(file=stream, force_terminal=True)):
        raise KeyError

    assert "stopped" in stream.getvalue() and "done" not in stream.getvalue()
