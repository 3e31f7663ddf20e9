"""What a group gets and what is saved of it, and that the savings shift nothing on average."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from actors.doomed import boxed, check_rule, rule_of, thinking
from actors.generator import Generator
from configs.errors import UserError
from configs.load import load
from tests.fakes import FakeEngine, FakeJudge, make_problem, make_ticket
from verifiers.filters import NOT_JUDGED, decide
from verifiers.types import Completion, Group, Problem, Verdict


async def writing(
    engine: FakeEngine, judge: FakeJudge, *settings: str
) -> Callable[..., Awaitable[Group]]:
    """A function that has a ticket's group written and settled."""
    config = load("tiny", ["engine.adaptive=false", "engine.max_num_seqs=1000", *settings])
    generator = Generator("g", lambda: engine, judge, config)
    await generator.start()

    async def write(number: int = 0, **changes: object) -> Group:
        ticket = make_ticket(number, size=8, budget=40)
        await generator.generate(replace(ticket, **changes))  # type: ignore[arg-type]
        return judge.groups[-1]

    return write


class Accepting(FakeJudge):
    """Right are the texts that end so."""

    def __init__(self, status: dict[str, str] | None = None) -> None:
        super().__init__()
        self._status = status or {}

    async def verdicts(self, problem: Problem, texts: list[str]) -> list[Verdict]:
        self.asked.append((problem, texts))
        return [
            Verdict(status=self._status.get(text, "correct" if text[-1] == "!" else "wrong"))  # type: ignore[arg-type]
            for text in texts
        ]


def propensities(group: Group) -> list[float]:
    return [completion.propensity for completion in group.completions]


# Futility


async def test_a_probe_without_an_accepted_rollout_ends_the_group():
    engine, judge = FakeEngine(("no",)), Accepting()
    write = await writing(engine, judge, "economy.probe=3", "economy.probe_continue=0")

    group = await write()

    assert (len(engine.asked), len(group.completions), group.ticket.size) == (3, 3, 3)
    assert propensities(group) == [1, 1, 1]


async def test_one_accepted_rollout_of_the_probe_is_enough_to_go_on():
    engine, judge = FakeEngine(("no", "yes!", "no", "no")), Accepting()
    write = await writing(engine, judge, "economy.probe=3", "economy.probe_continue=0")

    group = await write()

    assert propensities(group) == [1] * 8
    assert [text for _, texts in judge.asked for text in texts] == ["no", "yes!", "no"]


async def test_a_right_answer_beyond_the_tickets_budget_is_no_accepted_one():
    engine, judge = FakeEngine(("long enough!",)), Accepting()
    settings = ("economy.probe=3", "economy.probe_continue=0", "sampling.max_tokens=400")
    write = await writing(engine, judge, *settings)

    assert len((await write(budget=5)).completions) == 3


async def test_who_goes_on_all_the_same_says_how_likely_that_was():
    engine, judge = FakeEngine(("no",)), Accepting()
    write = await writing(engine, judge, "economy.probe=2", "economy.probe_continue=0.3")

    groups = [await write(number) for number in range(200)]

    went_on = [group for group in groups if len(group.completions) == 8]
    assert 35 <= len(went_on) <= 85
    assert all(propensities(group) == [1, 1, *[0.3] * 6] for group in went_on)
    again = [len((await write(number)).completions) for number in range(200)]
    assert again == [len(group.completions) for group in groups]
    other = [len((await write(number, attempt=1)).completions) for number in range(200)]
    assert other != again


@pytest.mark.parametrize("status", ["error", "timeout"])
async def test_a_probe_that_could_not_be_judged_is_not_known_to_be_futile(status):
    engine, judge = FakeEngine(("no", "odd", "no")), Accepting({"odd": status})
    write = await writing(engine, judge, "economy.probe=3", "economy.probe_continue=0")

    assert propensities(await write()) == [1] * 8


async def test_the_probe_waits_for_its_slowest():
    engine = FakeEngine(("no", "this one is the longest!", "no", "rest"), paced=True)
    write = await writing(engine, Accepting(), "economy.probe=3", "economy.probe_continue=0")

    assert len((await write()).completions) == 8


# Doomed


DOOMED = ("economy.doomed=boxed", "economy.doomed_at=0.5")


async def test_a_doomed_rollout_ends_at_its_share_of_the_budget():
    engine, judge = (
        FakeEngine(("x" * 30 + "!", r"\boxed{7} and then more text !", "short")),
        Accepting(),
    )
    write = await writing(engine, judge, *DOOMED, "economy.doomed_continue=0")

    group = await write(size=3)

    pruned, boxed_early, short = group.completions
    assert (pruned.finish_reason, pruned.aborted_by, len(pruned.token_ids)) == (
        "abort",
        "doomed",
        20,
    )
    assert len(pruned.logprobs) == 20
    assert pruned.propensity == 0
    assert boxed_early.text == r"\boxed{7} and then more text !"
    assert len(boxed_early.token_ids) == len(boxed_early.logprobs) == 31
    assert (boxed_early.finish_reason, boxed_early.propensity) == ("stop", 1)
    assert (short.finish_reason, short.propensity) == ("stop", 1)
    assert engine.num_written == 20 + 31 + 6
    assert decide(pruned, NOT_JUDGED, 40).reason == "doomed"


async def test_a_rollout_that_is_doomed_and_goes_on_says_how_likely_that_was():
    engine, judge = FakeEngine(("x" * 50,)), Accepting()
    write = await writing(engine, judge, *DOOMED, "economy.doomed_continue=0.25")

    completions = [c for number in range(50) for c in (await write(number)).completions]

    assert {c.propensity for c in completions} == {0.25}
    went_on = [c for c in completions if c.finish_reason == "length"]
    assert 70 <= len(went_on) <= 130
    assert {len(c.token_ids) for c in went_on} == {40}


async def test_a_context_that_ends_before_the_question_ends_the_response():
    engine = FakeEngine(("x" * 50,))
    write = await writing(engine, Accepting(), *DOOMED, "economy.doomed_continue=0")

    (completion,) = (await write(size=1, problem=make_problem(num_prompt_tokens=694))).completions

    assert (completion.finish_reason, len(completion.token_ids)) == ("length", 10)


async def test_a_probe_changes_nobodys_coin():
    pruned = []
    for probe in ("economy.probe=5", "economy.probe=2", "economy.probe=null"):
        settings = (probe, "economy.probe_continue=1", "economy.doomed_continue=0.5")
        write = await writing(FakeEngine(("x" * 50,)), Accepting(), *DOOMED, *settings)
        pruned.append([c.finish_reason for c in (await write()).completions])

    assert pruned[0] == pruned[1] == pruned[2]
    assert set(pruned[0]) == {"abort", "length"}


async def test_a_rollout_that_went_on_after_a_probe_multiplies_both():
    engine, judge = FakeEngine(("x" * 50,)), Accepting()
    settings = ("economy.probe=2", "economy.probe_continue=1", "economy.doomed_continue=0.5")
    write = await writing(engine, judge, *DOOMED, *settings)

    group = await write()

    assert propensities(group) == [0.5] * 8
    settings = ("economy.probe=2", "economy.probe_continue=0.999999")
    write = await writing(engine, judge, *DOOMED, *settings, "economy.doomed_continue=0.5")
    assert propensities(await write()) == [0.5] * 2 + [0.4999995] * 6


async def test_a_response_that_weights_change_under_keeps_its_oldest_version():
    class Swaps(FakeEngine):
        async def sample(self, prompt_ids, sampling, *, begun=None, stop=None):
            if begun is not None:
                self.version = 1
            return await super().sample(prompt_ids, sampling, begun=begun, stop=stop)

    engine = Swaps((r"\boxed{7} and then more text !",))
    write = await writing(engine, Accepting(), *DOOMED)

    (completion,) = (await write(size=1)).completions

    assert (completion.first_version, completion.last_version) == (0, 1)


@pytest.mark.parametrize(
    ("rule", "text", "is_doomed"),
    [
        (thinking, "<think> hm", True),
        (thinking, "<think> hm </think> so", False),
        (thinking, "no thoughts at all", False),
        (boxed, "so it is 7", True),
        (boxed, r"so it is \boxed{", False),
        (boxed, r"so it is \fbox{7}", False),
    ],
)
def test_a_rule_says_of_a_text_whether_it_is_doomed(rule, text, is_doomed):
    assert rule(text, make_problem()) == is_doomed


@pytest.mark.parametrize(
    ("prompt_end", "num_tokens"), [("assistant:", 41), ("assistant:<think>\n", 20)]
)
async def test_a_template_that_opens_the_thinking_counts_as_open(prompt_end, num_tokens):
    engine = FakeEngine(("x" * 40,), text_of_prompt=prompt_end)
    settings = ("economy.doomed=thinking", "economy.doomed_at=0.5", "economy.doomed_continue=0")
    write = await writing(engine, Accepting(), *settings, "sampling.max_tokens=200")

    (completion,) = (await write(size=1)).completions

    assert len(completion.token_ids) == num_tokens


async def test_a_rule_of_your_own_is_asked_with_its_problem(monkeypatch):
    asked: list[tuple[str, str]] = []

    def mine(text: str, problem: Problem) -> bool:
        asked.append((text, problem.id))
        return True

    monkeypatch.setattr("tests.fakes.mine", mine, raising=False)
    write = await writing(FakeEngine(("x" * 50,)), Accepting(), "economy.doomed=tests.fakes:mine")

    await write(size=1)

    assert asked == [("x" * 30, "p-0")]


@pytest.mark.parametrize("name", ["boxes", "no_such_module_of_mine:rule", "tests.fakes:", ":x"])
def test_an_unknown_rule_is_one_line_that_names_those_there_are(name):
    with pytest.raises(UserError, match=r"^economy\.doomed=.* thinking, boxed, .*$") as caught:
        check_rule(name)
    assert "\n" not in str(caught.value)


def test_a_rule_that_its_module_lacks_is_named():
    check_rule("tests.fakes:nothing")  # modules are not imported for the check
    with pytest.raises(UserError, match=r"tests\.fakes has no function nothing"):
        rule_of("tests.fakes:nothing")


# Stop after k accepted


async def test_once_enough_are_accepted_the_rest_is_cancelled_with_what_it_wrote():
    answers = ("ab!", "abcd!", *["x" * 30] * 6)
    engine, judge = FakeEngine(answers, paced=True), Accepting()
    write = await writing(engine, judge, "economy.stop_after=2")

    group = await write()

    first, second, *rest = group.completions
    assert (first.finish_reason, second.finish_reason) == ("stop", "stop")
    assert {(c.finish_reason, c.aborted_by) for c in rest} == {("abort", "cancelled")}
    assert all(5 <= len(c.token_ids) == len(c.logprobs) < 30 for c in rest)
    assert {decide(c, NOT_JUDGED, 40).reason for c in rest} == {"cancelled"}


async def test_what_waits_for_a_slot_is_cancelled_without_a_token():
    engine, judge = FakeEngine(("ab!", "x" * 30), paced=True), Accepting()
    write = await writing(engine, judge, "economy.stop_after=1", "engine.max_num_seqs=2")

    group = await write()

    assert [len(c.token_ids) for c in group.completions[2:]] == [0] * 6
    assert {c.aborted_by for c in group.completions[1:]} == {"cancelled"}
    assert len(engine.asked) == 2


async def test_wrong_ones_do_not_count():
    engine, judge = FakeEngine(("no", "x" * 20), paced=True), Accepting()
    write = await writing(engine, judge, "economy.stop_after=1")

    assert {c.finish_reason for c in (await write()).completions} == {"stop"}


def test_an_abort_that_nobody_asked_for_keeps_its_reason():
    lost = Completion(
        text="", token_ids=(), finish_reason="abort",
        first_version=0, last_version=0, start_us=0, end_us=0,
    )  # fmt: skip

    assert decide(lost, NOT_JUDGED, 40).reason == "aborted"


# Experts


def with_response(**changes: object) -> Problem:
    given = replace(make_problem(), given_ids=(7, 8, 2), given_text="so!", paraphrase_ids=(1, 2, 3))
    return replace(given, **changes)  # type: ignore[arg-type]


PARAPHRASE = ("data.responses=beside", "data.paraphrase={problem} {response}")


async def test_without_a_right_answer_the_policy_is_asked_for_a_paraphrase():
    engine = FakeEngine(lambda prompt: "in my words!" if prompt == (1, 2, 3) else "no")
    write = await writing(engine, Accepting(), *PARAPHRASE)

    group = await write(problem=with_response(), size=2)

    origins = [(c.origin, c.is_expert) for c in group.completions]
    assert origins == [("self", False)] * 2 + [("paraphrase", True), ("gold", True)]
    assert (group.completions[2].text, group.completions[2].logprobs) == ("in my words!", ())
    assert [prompt for prompt, _ in engine.asked].count((1, 2, 3)) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("yes!", with_response()),
        ("no", with_response(paraphrase_ids=())),
        ("no", with_response(paraphrase_ids=tuple(range(5000)))),
    ],
    ids=["a right answer", "nothing to ask", "no room"],
)
async def test_else_nobody_is_asked_for_one(answer, problem):
    engine = FakeEngine((answer,))
    write = await writing(engine, Accepting(), *PARAPHRASE)

    group = await write(problem=problem, size=2)

    assert [c.origin for c in group.completions] == ["self", "self", "gold"]


async def test_grape_scores_every_completion_at_the_problems_own_prompt():
    engine = FakeEngine(lambda prompt: "p" if prompt == (1, 2, 3) else "no")
    write = await writing(engine, Accepting(), *PARAPHRASE, "filter.steps=[{use: grape}]")
    problem = with_response()

    group = await write(problem=problem, size=1)

    scores = [c.score for c in group.completions]
    assert scores == [-0.5, -(100 + ord("p") + 2) / 2, pytest.approx(-17 / 3)]
    assert engine.scored == [
        (problem.prompt_ids, (100 + ord("p"), 2)),
        (problem.prompt_ids, (7, 8, 2)),
    ]


async def test_without_grape_nothing_is_scored():
    engine = FakeEngine()
    write = await writing(engine, Accepting(), "data.responses=beside")

    group = await write(problem=with_response())

    assert {c.score for c in group.completions} == {None}
    assert engine.scored == []


# On average

NUM_PROBLEMS = 4


class Chance:
    """Problems of different difficulty, whose right answers are longer than their wrong ones and
    often begin to box late."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, prompt_ids: tuple[int, ...]) -> str:
        difficulty, draw = prompt_ids[0], self._random.random
        is_right = draw() < (0.05, 0.15, 0.4, 0.8)[difficulty]
        length = 4 + int(draw() * (30 if is_right else 40))
        boxed_at = int(draw() * length)
        text = "x" * boxed_at + r"\boxed" + "x" * (length - boxed_at)
        return text + "!" * is_right


def all_groups(
    seed: int, *settings: str, paced: bool = False, num_groups: int = 250
) -> list[list[Group]]:
    """By problem."""
    problems = [replace(make_problem(str(n)), prompt_ids=(n,)) for n in range(NUM_PROBLEMS)]

    async def run() -> list[Group]:
        engine, judge = FakeEngine(Chance(seed), paced=paced), Accepting()
        write = await writing(engine, judge, f"seed={seed}", *settings)
        numbers = range(num_groups * NUM_PROBLEMS)
        return [await write(n, problem=problems[n % NUM_PROBLEMS]) for n in numbers]

    groups = asyncio.run(run())
    return [groups[place::NUM_PROBLEMS] for place in range(NUM_PROBLEMS)]


def accepted(group: Group) -> list[Completion]:
    return [
        c
        for c in group.completions
        if c.finish_reason == "stop" and c.text[-1] == "!" and len(c.token_ids) <= 40
    ]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def differs(one: list[float], other: list[float]) -> float:
    """In standard errors."""
    (first, error), (second, other_error) = mean_and_error(one), mean_and_error(other)
    return abs(first - second) / math.hypot(error, other_error)


def counts(groups: list[Group], *, weighted: bool = False) -> list[float]:
    return [
        math.fsum(1 / c.propensity if weighted else 1.0 for c in accepted(group))
        for group in groups
    ]


def lengths(groups: list[Group], mean: float, *, weighted: bool = False) -> list[float]:
    """For each group the sum of what its accepted lengths are above ``mean``: 0 on average."""
    return [
        math.fsum(
            (len(c.token_ids) - mean) / (c.propensity if weighted else 1) for c in accepted(group)
        )
        for group in groups
    ]


def num_tokens(problems: list[list[Group]]) -> int:
    return sum(len(c.token_ids) for groups in problems for g in groups for c in g.completions)


def mean_length(groups: list[Group]) -> float:
    found = [len(c.token_ids) for group in groups for c in accepted(group)]
    return sum(found) / len(found)


@pytest.fixture(scope="module")
def plain() -> list[list[Group]]:
    return all_groups(1)


@pytest.mark.parametrize(
    "settings",
    [
        ("economy.probe=3", "economy.probe_continue=0.2"),
        (*DOOMED, "economy.doomed_continue=0.3"),
        ("economy.probe=3", "economy.probe_continue=0.3", *DOOMED, "economy.doomed_continue=0.4"),
    ],
    ids=["probe", "doomed", "both"],
)
def test_savings_shift_neither_counts_nor_lengths_once_they_are_weighted(plain, settings):
    saved = all_groups(2, *settings)

    mean = [mean_length(groups) for groups in plain]
    for number in range(NUM_PROBLEMS):
        before, after = plain[number], saved[number]
        assert differs(counts(before), counts(after, weighted=True)) < 4
        expected = lengths(before, mean[number])
        assert differs(expected, lengths(after, mean[number], weighted=True)) < 4
    unweighted = [differs(counts(plain[n]), counts(saved[n])) for n in range(NUM_PROBLEMS)]
    assert max(unweighted) > 4, "without the weights the same test would tell"
    assert num_tokens(saved) < 0.9 * num_tokens(plain)


def test_stopping_after_k_prefers_short_answers(plain):
    stopped = all_groups(3, "economy.stop_after=2", paced=True, num_groups=50)

    mean = mean_length(plain[-1])
    assert mean_length(stopped[-1]) < mean - 2
    assert differs(lengths(plain[-1], mean), lengths(stopped[-1], mean)) > 4
