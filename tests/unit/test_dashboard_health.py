"""Alarms begin and end where they should, and a run that is well has none."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.load import load
from dashboard.demo.write import write_demo
from dashboard.server.desk import Desk
from dashboard.server.health import Spell, Vitals, look, spells, standing
from dashboard.server.health_rules import RULES
from dashboard.server.settings import Settings
from dashboard.server.webhook import Webhook, open_webhook

MINUTE = 60_000_000
NOW = 1_000 * MINUTE


def step(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "step": number, "at_us": NOW - (41 - number) * MINUTE, "accepted": 60, "rollouts": 100,
        "stale": 0, "mean_tokens": 200.0 - number, "rejected_truncated": 5, "lag_max": 1,
        "judge_judged": 100 * number, "judge_killed": 0, "judge_errors": 0, "wait_s": 20.0,
        "train_s": 25.0, "publish_s": 3.0, "diverged": False,
    }  # fmt: skip
    return row | changes


def state(at_us: int, **changes: Any) -> dict[str, Any]:
    row = {
        "phase": "training", "heartbeat_us": at_us, "dropped": 0,
        "counts": {"accepted": at_us // MINUTE, "settled": at_us // MINUTE},
        "engines": [{"generated_tokens": at_us // MINUTE}],
        "disk_free_bytes": 50 << 30, "disk_bytes": 100 << 30,
    }  # fmt: skip
    return row | changes


def event(kind: str, minutes_ago: float, **fields: Any) -> dict[str, Any]:
    return {"at_us": int(NOW - minutes_ago * MINUTE), "kind": kind, **fields}


WELL = Vitals(
    now_us=NOW,
    is_ended=False,
    state=state(NOW),
    metrics=[step(number) for number in range(1, 41)],
    events=[
        event("evaluated", 40, accuracy_ci=[0.60, 0.70]),
        event("evaluated", 1, accuracy_ci=[0.58, 0.68]),
    ],
    history=[state(NOW - minute * MINUTE) for minute in range(40, 0, -1)],
    config=load("tiny", []),
    repetition=[(NOW - 3 * MINUTE, 0.1), (NOW - MINUTE, 0.12)],
)


def changed(first: int, last: int, **changes: Any) -> Vitals:
    """With other figures in some steps."""
    rows = [
        {**row, **changes} if first <= row["step"] <= last else dict(row) for row in WELL.metrics
    ]
    return replace(WELL, metrics=rows)


def still(minutes: int, *parts: str) -> Vitals:
    """With parts of the state that have not changed for so long."""
    was = state(NOW - minutes * MINUTE)
    kept = {part: was[part] for part in parts}
    rows = [
        {**row, **kept} if row["heartbeat_us"] > was["heartbeat_us"] else row
        for row in WELL.history
    ]
    return replace(WELL, history=rows, state={**WELL.state, **kept})


SICK = {
    "silent": replace(WELL, state=state(NOW - MINUTE)),
    "stalled": still(12, "counts", "engines"),
    "no_accept": still(12, "counts"),
    "low_accept": changed(30, 40, accepted=4),
    "truncation": changed(30, 40, rejected_truncated=45),
    "collapse": changed(30, 40, mean_tokens=20.0),
    "rebound": changed(30, 40, mean_tokens=290.0),
    "repetition": replace(WELL, repetition=[(NOW - MINUTE, 0.1), (NOW, 0.7)]),
    "judges": changed(40, 40, judge_killed=30),
    "stale": changed(30, 40, stale=9),
    "aborted": changed(30, 40, rejected_aborted=20),
    "engine": replace(WELL, events=[event("engine_lost", 3, name="generator-1", why="it died")]),
    "learner": replace(WELL, events=[event("learner_lost", 3, why="it died")]),
    "slow_wait": changed(40, 40, wait_s=190.0),
    "slow_train": changed(40, 40, train_s=190.0),
    "slow_publish": changed(40, 40, publish_s=190.0),
    "accuracy": replace(WELL, events=[*WELL.events, event("evaluated", 0, accuracy_ci=[0.3, 0.5])]),
    "guardrail": replace(
        WELL, events=[event("guardrail", 3, what_next="pause", accuracy=0.5, base=0.6)]
    ),
    "not_finite": changed(40, 40, diverged=True),
    "lag": changed(40, 40, lag_max=2),
    "disk": replace(WELL, state=state(NOW, disk_free_bytes=4 << 30)),
    "disk_trouble": replace(WELL, events=[event("disk_trouble", 3)]),
    "recorder": replace(WELL, state=state(NOW, dropped=7)),
    "budget": replace(WELL, events=[event("budget_alarm", 3, text="too tight")]),
    "parts": replace(WELL, events=[event("part_hung", 3, name="judge-0")]),
    "starved": changed(25, 40, wait_s=100.0),
}


def standing_rules(vitals: Vitals) -> set[str]:
    return {alarm["rule"] for alarm in look(vitals, RULES, {})[0] if alarm["until_us"] is None}


def test_a_run_that_is_well_has_no_alarm_and_every_rule_can_say_so():
    alarms, states = look(WELL, RULES, {})

    assert alarms == []
    assert {rule["state"] for rule in states} == {"ok"}


def test_every_rule_has_its_case():
    assert set(SICK) == {rule.key for rule in RULES}


@pytest.mark.parametrize("key", SICK)
def test_a_rule_speaks_of_what_is_its_own_and_nothing_else_does(key: str):
    also = {"stalled": {"no_accept"}, "slow_wait": set(), "silent": set()}

    assert standing_rules(SICK[key]) == {key} | also.get(key, set())


@pytest.mark.parametrize("key", SICK)
def test_an_alarm_says_since_when_how_bad_and_what_to_do(key: str):
    (alarm,) = [a for a in look(SICK[key], RULES, {})[0] if a["rule"] == key]

    assert alarm["level"] in ("critical", "warning", "tip")
    assert NOW - 41 * MINUTE <= alarm["since_us"] <= NOW
    assert alarm["text"] and alarm["title"] and alarm["advice"].endswith(".")
    assert alarm["evidence"]["view"]


def test_an_alarm_does_not_flicker():
    values = [0.0, 1.1, 0.95, 1.2, 0.9, 0.79, 0.95, 1.05, 0.9]

    assert spells(enumerate(values), on=1.0, off=0.8) == [
        Spell(since_us=1, until_us=5, worst=1.2),
        Spell(since_us=7, until_us=None, worst=1.05),
    ]
    assert spells(enumerate([-v for v in values]), on=-1.0, off=-0.8)[0].worst == -1.2
    assert spells([(0, 2.0), (1, None)], on=1.0, off=0.8)[0].until_us is None


def test_an_alarm_keeps_its_name_while_the_run_goes_on_and_is_over_when_things_are_well_again():
    bad = changed(20, 25, accepted=4)
    (now,) = look(replace(bad, metrics=bad.metrics[:25]), RULES, {})[0]
    (later,) = look(bad, RULES, {now["id"]: {"at_us": 5, "by": "ada", "note": None}})[0]

    assert now["until_us"] is None
    assert later["id"] == now["id"] and later["since_us"] == now["since_us"]
    assert now["since_us"] < later["until_us"] < NOW
    assert later["acked"]["by"] == "ada"


def test_groups_that_the_recorder_did_not_take_count_as_dropped():
    told = replace(WELL, state=state(NOW, judges={"unrecorded": 3}))

    assert standing_rules(told) == {"recorder"}


def test_an_engine_that_came_back_is_no_alarm_any_more():
    events = [event("engine_lost", 9), event("engine_joined", 8)]
    old = [event("engine_lost", 90)]

    assert standing_rules(replace(WELL, events=events)) == set()
    assert standing_rules(replace(WELL, events=old)) == set()


def test_the_guardrail_speaks_until_a_look_is_good_again():
    good = event("guardrail", 9, what_next=None, is_breach=False, accuracy=0.61, base=0.6)
    bad = event("guardrail", 8, what_next="pause", is_breach=True, accuracy=0.5, base=0.6)
    still_bad = event("guardrail", 4, what_next=None, is_breach=True)

    assert standing_rules(replace(WELL, events=[good])) == set()
    assert standing_rules(replace(WELL, events=[good, bad])) == {"guardrail"}
    assert standing_rules(replace(WELL, events=[event("rolled_back", 7)])) == {"guardrail"}
    assert standing_rules(replace(WELL, events=[bad, still_bad])) == {"guardrail"}
    over = replace(WELL, events=[bad, event("guardrail", 2, what_next="resume", is_breach=False)])
    assert standing_rules(over) == set()
    (spell,) = [a for a in look(over, RULES, {})[0] if a["rule"] == "guardrail"]
    assert "50.0 % right, 60.0 % at the start" in spell["text"]


def test_a_run_that_is_over_is_neither_silent_nor_stalled():
    over = replace(still(30, "counts", "engines"), is_ended=True, now_us=NOW + 10**12)

    assert standing_rules(over) == set()


def test_what_is_not_recorded_is_not_called_well():
    bare = replace(WELL, metrics=[], history=[], events=[], repetition=[], config=None)
    states = {rule["key"]: rule for rule in look(bare, RULES, {})[1]}

    assert states["repetition"]["state"] == "unknown"
    assert states["repetition"]["why"] == "not_recorded"
    assert states["low_accept"]["why"] == "not_yet"


def test_figures_that_are_no_numbers_break_no_rule():
    strange = dict.fromkeys(("mean_tokens", "wait_s", "train_s", "accepted", "lag_max", "stale"))
    rows = [{**row, **strange} for row in WELL.metrics]
    odd = replace(WELL, metrics=rows, state={"phase": "training"}, events=[{"kind": None}, {}])

    assert look(odd, RULES, {})[1]


def test_while_something_is_critical_nobody_is_given_tips():
    alarms = [
        {"level": "tip", "until_us": None},
        {"level": "critical", "until_us": None},
        {"level": "warning", "until_us": 5},
    ]

    assert standing(alarms) == [alarms[1]]
    assert standing(alarms[:1]) == alarms[:1]


def test_the_made_up_run_has_had_its_troubles_and_the_page_tells_them(tmp_path: Path):
    write_demo(tmp_path / "run", 6000, report=lambda line: None)
    run = Desk(Settings(runs=(tmp_path / "run",))).run(None)
    run.refresh()

    from dashboard.server.views.health import find  # noqa: PLC0415

    alarms, states = find(run)
    past = {alarm["rule"] for alarm in alarms if alarm["until_us"] is not None}
    assert {"engine", "not_finite"} <= past
    assert {rule["key"] for rule in states} == {rule.key for rule in RULES}
    assert run.alarms() == standing(alarms)


def test_a_run_that_goes_on_is_watched_and_one_that_is_over_is_not(tmp_path: Path):
    write_demo(tmp_path / "over", 4000, report=lambda line: None)
    write_demo(tmp_path / "silent", 4000, report=lambda line: None)
    (tmp_path / "silent/summary.json").unlink()
    was = json.loads((tmp_path / "silent/state.json").read_text())
    (tmp_path / "silent/state.json").write_text(json.dumps(was | {"phase": "training"}))
    desk = Desk(Settings(runs=(tmp_path / "over", tmp_path / "silent")))

    found = desk.alarms()

    assert list(found) == ["silent"]
    assert found["silent"][0]["rule"] == "silent"


def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LACONIC_WEBHOOK_URL", "file:///etc/passwd")
    with pytest.raises(UserError, match="LACONIC_WEBHOOK_URL must begin with http"):
        open_webhook(dict)
    monkeypatch.delenv("LACONIC_WEBHOOK_URL")
    assert open_webhook(dict) is None


class Posts(BaseHTTPRequestHandler):
    seen: list[dict[str, Any]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(json.loads(body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def posts() -> Iterator[tuple[str, type[Posts]]]:
    kind = type("Here", (Posts,), {"seen": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", kind
    server.shutdown()


def alarm(id: str, level: str, since_us: int = 2**62) -> dict[str, Any]:
    return {"id": id, "level": level, "title": "Bad", "text": "very", "since_us": since_us}


def test_each_alarm_is_told_once_when_it_begins_and_once_when_it_is_over(posts):
    url, kind = posts
    now = {"a": [alarm("x.1", "warning"), alarm("t.1", "tip"), alarm("old.1", "warning", 5)]}
    hook = Webhook(url, lambda: now)

    hook.look()
    hook.look()
    now["a"] = [alarm("c.1", "critical", 5)]
    hook.look()

    told = [(post["run"], post["alarm"]["id"], post["what"]) for post in kind.seen]
    assert told[0] == ("a", "x.1", "begins")
    assert set(told[1:]) == {
        ("a", "c.1", "begins"), ("a", "x.1", "is over"), ("a", "old.1", "is over")
    }  # fmt: skip
    assert kind.seen[0]["text"] == "a: warning begins: Bad (very)"


def test_an_address_that_fails_is_tried_again_and_given_up_and_never_logged(posts, caplog):
    url, kind = posts
    kind.status = 500
    hook = Webhook(url, lambda: {"a": [alarm("x.1", "warning")]})

    for _ in range(6):
        hook.look()

    assert len(kind.seen) == 3
    assert len(caplog.records) == 1 and url not in caplog.text
