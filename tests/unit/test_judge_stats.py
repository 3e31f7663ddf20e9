"""What judges say of themselves, and when it is alarming."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from actors.judges import Judges
from cluster.judge_alarm import JudgeAlarm
from cluster.reports import Reports
from configs.schema import RunConfig
from tests.unit.test_judge_actor import PROBLEM, group
from verifiers.pool_stats import WINDOW, Latencies, PoolStats, merged

NOTHING = PoolStats(judged=0, cached=0, killed=0, errors=0, workers=1)


def test_percentiles_are_those_of_the_latest_verdicts():
    latencies = Latencies()
    assert latencies.percentiles() == {}

    for ms in [10_000.0] * 5 + [float(ms) for ms in range(WINDOW)]:
        latencies.add(ms)

    assert latencies.percentiles() == {"ms_p50": 1000.0, "ms_p90": 1800.0, "ms_p99": 1980.0}


def test_several_pools_add_up_and_the_slowest_sets_the_latency():
    one = replace(NOTHING, judged=3, errors=1, ms_p99=5.0, waiting=2)
    other = replace(NOTHING, judged=4, killed=2, ms_p99=7.0)

    both = merged([one, other])

    assert (both.judged, both.errors, both.killed, both.workers, both.waiting) == (7, 1, 2, 2, 2)
    assert both.ms_p99 == 7.0


def test_one_failed_verdict_in_a_hundred_is_no_alarm_and_more_is():
    alarm = JudgeAlarm()

    assert alarm.look(replace(NOTHING, judged=1000, errors=6, killed=4)) is None
    raised = alarm.look(replace(NOTHING, judged=2000, errors=17, killed=4))

    assert raised is not None
    assert raised.is_on
    assert raised.share == 0.011
    assert raised.text.startswith("judges fail: 11 errors and 0 time-outs in 1000 verdicts")


def test_the_alarm_speaks_once_and_ends_when_the_failures_are_few_again():
    alarm = JudgeAlarm()
    assert alarm.look(replace(NOTHING, judged=1000, errors=500))

    assert alarm.look(replace(NOTHING, judged=2000, errors=1000)) is None
    assert alarm.look(replace(NOTHING, judged=3000, errors=1008)) is None  # better, not yet well
    ended = alarm.look(replace(NOTHING, judged=4000, errors=1010))

    assert ended is not None
    assert not ended.is_on


def test_a_few_verdicts_say_nothing_and_a_restarted_judge_is_not_a_miracle():
    alarm = JudgeAlarm()

    assert alarm.look(replace(NOTHING, judged=100, errors=100)) is None
    assert alarm.look(replace(NOTHING, judged=200, errors=100))
    assert alarm.look(replace(NOTHING, judged=10)) is None
    assert alarm.look(replace(NOTHING, judged=20)) is None


class Teller:
    """Takes whatever is said to it."""

    def __init__(self, **answers):
        self.told: list[tuple[str, Any]] = []
        self.answers = answers

    def __getattr__(self, name):
        async def method(*args, **fields):
            self.told.append((name, args or fields))
            return self.answers.get(name)

        return method

    def note(self, text):
        self.told.append(("note", text))


async def test_the_run_says_that_its_judges_fail():
    recorder, display = Teller(), Teller()
    judges = Teller(stats=replace(NOTHING, judged=500, errors=50, killed=10))
    reports = Reports(
        RunConfig.model_validate(
            {
                "model": {"path": "m"},
                "data": {"train": "t"},
                "filter": {"length_budget": 9},
            }
        ),
        recorder=recorder,
        queue=Teller(counts=NOTHING),
        judges=judges,
        display=display,  # pyright: ignore[reportArgumentType]
        tracker=Teller(),  # pyright: ignore[reportArgumentType]
        metrics=SimpleNamespace(state=lambda _: None),  # pyright: ignore[reportArgumentType]
        seconds_before=0.0,
    )

    await reports.heartbeat()
    await reports.heartbeat()

    [(_, said)] = display.told
    assert said.startswith("judges fail: 50 errors and 10 time-outs in 500 verdicts; see verdicts")
    events = [fields for name, fields in recorder.told if name == "event"]
    assert events == [("judge_alarm",)]
    [state, _] = [fields[0] for name, fields in recorder.told if name == "state"]
    assert state["judges"]["errors"] == 50


class Member:
    def __init__(self) -> None:
        self.num_asked = 0

    async def start(self): ...

    async def judge(self, group):
        self.num_asked += 1

    async def verdicts(self, problem, texts):
        self.num_asked += 1
        if texts == ["fail"]:
            raise ConnectionError
        return []

    async def stats(self):
        return replace(NOTHING, judged=self.num_asked)

    async def close(self): ...


async def test_the_judge_with_the_least_to_do_is_asked(monkeypatch):
    members = [Member(), Member(), Member()]
    judges = Judges(members)
    busy = [judges._take(), judges._take()]
    assert busy == [0, 1]

    await judges.judge(group())
    await judges.verdicts(PROBLEM, [])

    assert [member.num_asked for member in members] == [0, 0, 2]
    assert (await judges.stats()).judged == 2


async def test_a_judge_that_failed_is_free_again():
    judges = Judges([Member()])
    for _ in range(2):
        try:
            await judges.verdicts(PROBLEM, ["fail"])
        except ConnectionError:
            continue
    assert judges._asked == [0]
