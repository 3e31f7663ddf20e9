"""Which problem is asked, by how many rollouts, in which words: from what the learner was given."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.coins import coin
from actors.curriculum import Curriculum, check_curriculum
from actors.ticket_rows import DECISIONS, encode_ticket
from configs.errors import UserError
from configs.load import load
from configs.schema import RunConfig
from tests.fakes import make_problem
from tests.groups import ACCEPTED, CANCELLED, DOOMED, EXPERT, FAILED, SLOW, WRONG, group, long
from verifiers.plugins import PluginFailed
from verifiers.steps import Filter
from verifiers.types import GroupOutcome, Message, Outcome, Problem, Ticket

NUM = 4
BAND = ("curriculum.band=[0.2,0.8]", "curriculum.memory=1")
TEMPLATES = "data.templates=[{text: '{problem} Briefly.', level: short}, {text: 'So, {problem}'}]"


class Source:
    """``p0`` to ``p3`` again and again, in turn; ``total`` draws in all."""

    def __init__(self, total: int | None = None) -> None:
        self.cursor = 0
        self.num_problems = NUM
        self.problems = {f"p{number}": self._made(number) for number in range(NUM)}
        self._total = total

    def seek(self, cursor: int) -> None:
        self.cursor = cursor

    def draw(self) -> Problem | None:
        if self.cursor == self._total:
            return None
        self.cursor += 1
        return self.problems[f"p{(self.cursor - 1) % NUM}"]

    def problem(self, id: str) -> Problem | None:
        return self.problems.get(id)

    def _made(self, number: int) -> Problem:
        return replace(make_problem(f"p{number}"), templates=((number, 1), (number, 2)))


def config(*settings: str) -> RunConfig:
    return load("tiny", ["sampling.group_size=4", "filter.length_budget=100", *settings])


def curriculum(*settings: str, total: int | None = None) -> Curriculum:
    return Curriculum(Source(total), config(*settings))


def draw(made: Curriculum, count: int, first: int = 0) -> list[Ticket]:
    tickets = [made.draw(number, version=0) for number in range(first, first + count)]
    assert None not in tickets
    return [ticket for ticket in tickets if ticket is not None]


def learn(made: Curriculum, *groups: tuple[str, list[Outcome]], **rest: Any) -> list[str]:
    """One step's groups, of these problems."""
    first = made.state()["seen"]
    return made.learn(
        [group(first + place, id, of, **rest) for place, (id, of) in enumerate(groups)]
    )


def asked(tickets: list[Ticket]) -> list[str]:
    return [ticket.problem.id for ticket in tickets]


def test_with_nothing_set_ticket_k_is_the_kth_problem_of_the_order():
    plain = curriculum(total=9)
    tickets = draw(plain, 5)
    learn(plain, ("p0", [WRONG] * 4), ("p1", [ACCEPTED] * 4))

    tickets += draw(plain, 4, first=5)

    assert asked(tickets) == [f"p{number % NUM}" for number in range(9)]
    assert [ticket.number for ticket in tickets] == list(range(9))
    assert [ticket.cursor for ticket in tickets] == list(range(1, 10))
    assert [ticket.seen for ticket in tickets] == [0] * 5 + [2] * 4
    assert {(t.size, t.budget, t.propensity, t.temperature) for t in tickets} == {(4, 100, 1, 1)}
    assert {(t.attempt, t.explores, t.template, t.level, t.limits) for t in tickets} == {
        (0, False, None, None, ())
    }
    assert plain.draw(9, version=0) is None


@pytest.mark.parametrize(
    ("accepted", "is_asked"), [(0, False), (1, True), (4, True), (5, False)], ids=str
)
def test_a_problem_outside_the_band_is_passed_over(accepted: int, is_asked: bool):
    made = curriculum(*BAND, "curriculum.revisit=0.001", "curriculum.revisit_floor=0.001")
    learn(made, ("p1", [ACCEPTED] * accepted + [WRONG] * (5 - accepted)))

    tickets = draw(made, 30)

    assert ("p1" in asked(tickets)) == is_asked
    assert {t.propensity for t in tickets} == {1.0}
    assert tickets[-1].cursor == (30 if is_asked else 40)


def test_the_share_is_that_of_the_last_visits():
    settings = ("curriculum.band=[0.2,0.8]", "curriculum.memory=2", "curriculum.revisit=0.001")
    made = curriculum(*settings, "curriculum.revisit_floor=0.001")

    learn(made, ("p0", [ACCEPTED] * 2), ("p0", [ACCEPTED] * 2), ("p0", [WRONG] * 2))
    assert "p0" in asked(draw(made, 4)), "2 of the last 4"
    learn(made, ("p0", [WRONG] * 2))

    assert "p0" not in asked(draw(made, 8, first=4)), "0 of the last 4"


@pytest.mark.parametrize(("visits", "probability"), [(1, 0.5), (2, 0.25), (3, 0.125), (9, 0.1)])
def test_the_probability_falls_with_every_visit_outside_and_stands_in_the_ticket(
    visits: int, probability: float
):
    made = curriculum(*BAND, "curriculum.revisit=0.5", "curriculum.revisit_floor=0.1")
    for _ in range(visits):
        learn(made, ("p1", [WRONG] * 4))

    tickets = draw(made, 3000)

    passes = tickets[-1].cursor / NUM
    of_p1 = [ticket for ticket in tickets if ticket.problem.id == "p1"]
    assert len(of_p1) / passes == pytest.approx(probability, abs=0.04)
    assert {ticket.propensity for ticket in of_p1} == {probability}
    assert {t.propensity for t in tickets if t.problem.id != "p1"} == {1.0}


def test_that_one_problem_is_passed_over_says_nothing_of_the_next():
    made = curriculum(*BAND, "curriculum.revisit=0.5")
    learn(made, ("p1", [WRONG]), ("p2", [WRONG]))

    tickets = draw(made, 3000)

    passes = {
        id: {(t.cursor - 1) // NUM for t in tickets if t.problem.id == id} for id in ("p1", "p2")
    }
    without_p1 = set(range(tickets[-1].cursor // NUM)) - passes["p1"]
    assert len(passes["p2"] & without_p1) / len(without_p1) == pytest.approx(0.5, abs=0.05)


def test_a_visit_inside_the_band_is_asked_again_at_every_pass():
    made = curriculum(*BAND, "curriculum.revisit=0.001", "curriculum.revisit_floor=0.001")
    learn(made, ("p1", [WRONG] * 4), ("p1", [WRONG] * 4), ("p1", [ACCEPTED] * 2 + [WRONG] * 2))

    assert asked(draw(made, 8)) == ["p0", "p1", "p2", "p3"] * 2


@pytest.mark.parametrize("says_nothing", [FAILED, SLOW, EXPERT, CANCELLED])
def test_what_says_nothing_of_a_problem_does_not_count(says_nothing: Outcome):
    made = curriculum(*BAND, "curriculum.revisit=0.001", "curriculum.revisit_floor=0.001")

    learn(made, ("p0", [says_nothing] * 4), ("p1", [WRONG] * 4 + [says_nothing] * 4))

    assert asked(draw(made, 3)) == ["p0", "p2", "p3"]


def test_a_doomed_rollout_counts_as_one_that_was_not_accepted():
    made = curriculum(*BAND, "curriculum.revisit=0.001", "curriculum.revisit_floor=0.001")

    learn(made, ("p0", [ACCEPTED] + [DOOMED] * 9))

    assert "p0" not in asked(draw(made, 8))


def test_when_a_whole_pass_is_passed_over_the_next_problem_is_asked_all_the_same():
    made = curriculum(*BAND, "curriculum.revisit=1e-9", "curriculum.revisit_floor=1e-9")
    learn(made, *((f"p{number}", [WRONG]) for number in range(NUM)))

    tickets = draw(made, 3)

    assert [ticket.cursor for ticket in tickets] == [5, 10, 15]
    assert asked(tickets) == ["p0", "p1", "p2"]
    assert {ticket.propensity for ticket in tickets} == {1.0}


def test_the_end_of_the_data_is_the_end_even_where_everything_is_passed_over():
    settings = (*BAND, "curriculum.revisit=1e-9", "curriculum.revisit_floor=1e-9")
    for total in (3, 4):
        made = curriculum(*settings, total=total)
        learn(made, *((f"p{number}", [WRONG]) for number in range(NUM)))

        assert made.draw(0, version=0) is None


def test_a_group_is_as_large_as_its_problems_share_asks_for():
    made = curriculum("curriculum.group_sizes=[3,9]", "curriculum.target_accepted=2")
    learn(
        made,
        ("p1", [ACCEPTED] * 4),  # 5/6: 2.4 -> 3
        ("p2", [ACCEPTED] * 2 + [WRONG] * 3),  # 3/7: 4.7 -> 5
        ("p3", [WRONG] * 6),  # 1/8: 16 -> 9
    )

    tickets = draw(made, 4)

    assert [ticket.size for ticket in tickets] == [4, 3, 5, 9]
    assert [ticket.propensity for ticket in tickets] == [1, 3 / 4, 5 / 4, 9 / 4]


def test_a_problem_that_was_never_asked_gets_a_group_within_the_bounds():
    assert draw(curriculum("curriculum.group_sizes=[5,9]"), 1)[0].size == 5
    assert draw(curriculum("curriculum.group_sizes=[2,3]"), 1)[0].size == 3


def test_a_given_response_is_a_whole_group_of_its_own():
    [ticket] = draw(curriculum("data.responses=instead"), 1)

    assert (ticket.size, ticket.propensity) == (1, 1.0)


def test_each_group_draws_one_wording_and_asks_in_it():
    tickets = draw(curriculum(TEMPLATES), 2000)

    counts = Counter(ticket.template for ticket in tickets)
    assert counts[0] / 2000 == pytest.approx(0.5, abs=0.04)
    for ticket in tickets:
        assert ticket.template is not None
        assert ticket.problem.prompt_ids == (int(ticket.problem.id[1:]), ticket.template + 1)
        assert ticket.level == ("short", None)[ticket.template]
    assert tickets == draw(curriculum(TEMPLATES), 2000)
    assert tickets != draw(curriculum(TEMPLATES, "seed=1"), 2000)


def test_a_ticket_tells_how_long_its_problems_answers_were():
    made = curriculum("curriculum.memory=2")
    learn(made, ("p0", long(WRONG, 999)), ("p0", long(ACCEPTED, 10, 20)), ("p0", long(WRONG, 60)))

    first, second = draw(made, 2)

    assert first.expected_tokens == 30.0
    assert second.expected_tokens is None


def test_the_budget_is_that_of_the_problem_and_of_the_version():
    own = curriculum("budget.kind=adaptive", "budget.explore=0", "budget.min_lengths=1")
    learn(own, ("p1", long(ACCEPTED, 40)))
    assert [ticket.budget for ticket in draw(own, 3)] == [100, 50, 100]

    shrinking = curriculum("budget.kind=schedule", "budget.end=50", "budget.over_steps=10")
    found = [shrinking.draw(number, version=number) for number in (0, 3)]
    assert [ticket.budget for ticket in found if ticket] == [100, 85]


def test_the_alarm_of_a_schedule_is_handed_on():
    made = curriculum("budget.kind=schedule", "budget.end=50", "budget.over_steps=10")

    [alarm] = learn(made, ("p0", [WRONG] * 8), budget=90)

    assert "from 90 to 100" in alarm
    assert [ticket.budget for ticket in draw(made, 1)] == [100]


ENTROPY = ("sampling.policy={use: entropy}", "learner.objective=grpo")


def test_the_temperature_moves_towards_the_target_entropy():
    made = curriculum(*ENTROPY)
    assert draw(made, 1)[0].temperature == 1.0

    made.learn(
        [
            group(0, "p0", long(ACCEPTED, 10, 20), logprob_mean=-0.5),
            group(1, "p1", [*long(WRONG, 10), *long(EXPERT, 500)], logprob_mean=-0.1),
            group(2, "p2", long(WRONG, 500), logprob_mean=None),
        ]
    )

    expected = math.exp(0.1 * (0.3 - (30 * 0.5 + 10 * 0.1) / 40))
    assert draw(made, 1, first=1)[0].temperature == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(0.99005, abs=1e-5)


def test_the_temperature_stays_within_its_bounds_and_where_nothing_is_known():
    made = curriculum(*ENTROPY, "sampling.policy.settings.rate=5")
    learn(made, ("p0", [ACCEPTED]), logprob_mean=-3.0)
    assert draw(made, 1)[0].temperature == 0.5
    learn(made, ("p0", [FAILED]))
    assert draw(made, 1)[0].temperature == 0.5
    learn(made, ("p0", [ACCEPTED]), logprob_mean=0.0)

    assert draw(made, 1)[0].temperature == 1.5


def test_without_a_policy_the_temperature_stays_1():
    made = curriculum()
    learn(made, ("p0", [ACCEPTED]), logprob_mean=-3.0)

    assert draw(made, 1)[0].temperature == 1.0


WORDY = Filter(value=lambda one, settings: 1.0, quantile=lambda settings: 0.5)
"""Somebody's own, which follows the run by itself."""
OWN = f"{__name__}:WORDY"

LIMITS = (
    "filter.steps=[{use: duplicate}, {use: branchy, settings: {quantile: 0.9}}, "
    f"{{use: '{OWN}'}}]"
)


def measured(name: str, values: list[float]) -> list[Outcome]:
    return [replace(ACCEPTED, measures=(("other", 1e9), (name, value))) for value in values]


def test_limits_are_quantiles_of_what_was_measured_lately():
    made = curriculum(LIMITS)
    learn(made, ("p0", measured("branchy", [float(v) for v in range(31)])))
    assert draw(made, 1)[0].limits == ()

    nonsense = [replace(EXPERT, measures=(("branchy", 1e9),)), *measured("branchy", [math.nan])]
    learn(made, ("p1", [*nonsense, *measured("branchy", [31.0])]))
    assert draw(made, 1)[0].limits == (("branchy", 28.0),)  # the 29th of 32
    learn(made, ("p2", measured("branchy", [100.0] * 250) + measured(OWN, [7.0] * 32)))

    assert draw(made, 1)[0].limits == (("branchy", 100.0), (OWN, 7.0))
    learn(made, ("p3", measured("branchy", [3.0] * 256)))
    assert draw(made, 1)[0].limits == (("branchy", 3.0), (OWN, 7.0))


EVERYTHING = (
    *BAND, *ENTROPY, TEMPLATES, LIMITS,
    "curriculum.group_sizes=[2,8]", "budget.kind=adaptive", "budget.min_lengths=2",
)  # fmt: skip


def step_of(tickets: list[Ticket]) -> list[GroupOutcome]:
    """A deterministic world in which problems differ."""
    made = []
    for ticket in tickets:
        place, outcomes = int(ticket.problem.id[1:]), []
        for sample in range(ticket.size):
            length = 10 + int(80 * coin(place, "length", 10 * ticket.number + sample))
            is_right = coin(place, "right", 10 * ticket.number + sample) < place / 3
            kept = ACCEPTED if is_right and length <= ticket.budget else WRONG
            measures = (("branchy", length / 7), (OWN, length / 11))
            outcomes.append(replace(kept, num_tokens=length, measures=measures))
        budget, mean = ticket.budget, -0.6 * coin(place, "p", ticket.number)
        made.append(
            group(ticket.number, ticket.problem.id, outcomes, budget=budget, logprob_mean=mean)
        )
    return made


def walk(made: Curriculum, first: int, last: int) -> list[Ticket]:
    tickets: list[Ticket] = []
    for number in range(first, last, 2):
        drawn = draw(made, 2, first=number)
        made.learn(step_of(drawn))
        tickets += drawn
    return tickets


def test_from_its_state_a_curriculum_goes_on_exactly_as_if_never_interrupted():
    whole = curriculum(*EVERYTHING)
    tickets = walk(whole, 0, 120)
    interrupted = curriculum(*EVERYTHING)
    walk(interrupted, 0, 60)

    resumed = curriculum(*EVERYTHING)
    resumed.restore(json.loads(json.dumps(interrupted.state())), tickets[59].cursor)

    assert walk(resumed, 60, 120) == tickets[60:]
    assert resumed.state() == whole.state()
    late = tickets[60:]
    assert len({(t.size, t.budget) for t in late}) > 6, "a world in which something happens"
    assert {t.explores for t in late} == {True, False}
    assert any(t.cursor > t.number + 1 for t in late)
    assert all(t.limits for t in late[20:])
    assert len({t.temperature for t in late}) == 30


def test_the_log_holds_all_that_was_decided_and_gives_the_ticket_back():
    made = curriculum(*EVERYTHING)
    for ticket in walk(made, 0, 80):
        record = json.loads(json.dumps(encode_ticket(ticket)))

        assert made.again(record) == ticket
    assert set(DECISIONS) < set(record)
    assert "prompt_ids" not in json.dumps(record)


def test_a_ticket_of_data_that_changed_is_refused_in_one_line():
    source = Source()
    made = Curriculum(source, config())
    record = encode_ticket(draw(made, 1)[0])

    source.problems["p0"] = replace(
        source.problems["p0"], messages=(Message(role="user", content="What is 6 x 8?"),)
    )
    with pytest.raises(UserError, match=r"ticket 0.*'p0'.*another one now: data\.train changed"):
        made.again(record)
    del source.problems["p0"]
    with pytest.raises(UserError, match=r"'p0', which is gone"):
        made.again(record)


def test_groups_must_come_in_ticket_order_and_once():
    made = curriculum()
    learn(made, ("p0", [WRONG]), ("p1", [WRONG]))

    for wrong in (1, 3):
        with pytest.raises(AssertionError):
            made.learn([group(wrong, "p2", [WRONG])])


PLUGIN = """
from pydantic import Field
from actors.problem_policy import Policy
from actors.temperature import TemperaturePolicy
from configs.section import Section


class Settings(Section):
    least: float = Field(default=0.5, gt=0)


def probability(known, settings):
    return settings.least if known.visits else 1.0


def cooler(temperature, entropy, settings):
    return temperature - settings.least


RARELY = Policy(probability=probability, settings=Settings)
NEVER = Policy(probability=lambda known, settings: 0.0, settings=Section)
COOLER = TemperaturePolicy(after=cooler, settings=Settings)
BROKEN = Policy(probability=lambda known, settings: 1 / 0, settings=Section)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"my_policies_{tmp_path.name[-1]}"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_policy_of_ones_own_gives_the_probability(plugin: str):
    own = (f"curriculum.policy={plugin}:RARELY", "curriculum.policy_settings.least=0.25")
    made = curriculum(*own)
    learn(made, ("p0", [ACCEPTED]))

    tickets = draw(made, 2000)

    of_p0 = [ticket for ticket in tickets if ticket.problem.id == "p0"]
    assert {ticket.propensity for ticket in of_p0} == {0.25}
    assert len(of_p0) / (tickets[-1].cursor / NUM) == pytest.approx(0.25, abs=0.05)


def test_a_probability_that_is_none_ends_the_run_with_one_line(plugin: str):
    with pytest.raises(UserError, match=r"policy=.*:NEVER gave problem 'p0' the probability 0\.0"):
        draw(curriculum(f"curriculum.policy={plugin}:NEVER"), 1)


def test_a_policy_that_raises_is_named(plugin: str):
    with pytest.raises(PluginFailed, match=r"curriculum\.policy '.*:BROKEN' failed: ZeroDivision"):
        draw(curriculum(f"curriculum.policy={plugin}:BROKEN"), 1)


def test_a_temperature_of_ones_own_is_taken_while_it_is_one(plugin: str):
    made = curriculum(f"sampling.policy={{use: '{plugin}:COOLER', settings: {{least: 0.75}}}}")
    learn(made, ("p0", [ACCEPTED]), logprob_mean=-1.0)
    assert draw(made, 1)[0].temperature == 0.25

    with pytest.raises(UserError, match=r":COOLER gave the temperature -0\.5"):
        learn(made, ("p0", [ACCEPTED]), logprob_mean=-1.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["curriculum.policy=bant"], "no curriculum.policy is called 'bant'; did you mean 'band'"),
        (["curriculum.policy=no_such_module:X"], "'no_such_module:X' names no importable module"),
        (["curriculum.policy=actors.curriculum:NUM"], "names no importable module and object"),
        (["curriculum.policy=actors.coins:coin"], "is no actors.problem_policy.Policy"),
        (["curriculum.policy_settings.a=1"], "policy_settings={'a': 1} is for a policy of your"),
        (["sampling.policy={use: entropie}"], "no sampling.policy is called 'entropie'; did you"),
        (["sampling.policy={use: entropy, settings: {rat: 1}}"], "sampling.policy.settings.rat"),
        (["sampling.policy={use: entropy, settings: {low: 1.2}}"], "low 1.2 and high 1.5 must"),
        (["sampling.policy={use: 'actors.coins:coin'}"], "is no actors.temperature.Temperature"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_before_the_run(settings: list[str], words: str):
    with pytest.raises(UserError) as caught:
        check_curriculum(config(*settings))

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_coin_is_fair_and_can_be_thrown_again():
    throws = [coin(0, "ask", place) for place in range(20000)]

    assert throws == [coin(0, "ask", place) for place in range(20000)]
    assert sum(throws) / 20000 == pytest.approx(0.5, abs=0.01)
    for share in (0.05, 0.5, 0.95):
        assert sum(t < share for t in throws) / 20000 == pytest.approx(share, abs=0.01)
    assert throws[:9] != [coin(1, "ask", place) for place in range(9)]
    assert throws[:9] != [coin(0, "explore", place) for place in range(9)]
