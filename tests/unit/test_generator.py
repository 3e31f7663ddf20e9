import asyncio
from dataclasses import replace

import pytest

from actors import generator as generator_module
from actors.engine import EngineDied
from actors.generator import Generator
from configs.load import validate
from tests.fakes import FakeEngine, FakeJudge, make_problem, make_ticket
from verifiers.types import Completion, Problem, PublishedWeights, Sampling
from verifiers.weights_file import WeightsRefused

GREEDY = Sampling(
    temperature=0.0,
    top_p=0.9,
    top_k=7,
    min_p=0.1,
    repetition_penalty=1.2,
    max_tokens=60,
    logprobs=False,
)

DATA = {"train": "none", "max_prompt_tokens": 40}


def config(**changes):
    values = {
        "model": {"path": "none"},
        "data": DATA,
        "filter": {"length_budget": 50},
        "sampling": {"max_tokens": 55},
        "engine": {"max_model_len": 100},
        "cluster": {"wait_timeout_s": 30.0},
    }
    return validate(values | changes)


async def started(fake: FakeEngine, judge, **changes) -> Generator:
    generator = Generator("gen-7", lambda: fake, judge, config(**changes))
    await generator.start()
    return generator


async def in_flight(engine: FakeEngine, number: int) -> None:
    async with asyncio.timeout(5):
        while engine.in_flight < number:
            await asyncio.sleep(0)


def weights(version: int, fingerprint: str = "f") -> PublishedWeights:
    return PublishedWeights(version=version, fingerprint=fingerprint, num_tensors=3, num_bytes=1)


async def test_the_engine_is_made_only_by_start():
    made = []
    generator = Generator("g", lambda: made.append(1) or FakeEngine(), FakeJudge(), config())
    assert not made
    with pytest.raises(RuntimeError, match="g has not been started"):
        await generator.generate(make_ticket())

    await generator.start()

    assert made == [1]


async def test_a_ticket_becomes_one_group_with_every_training_field_explicit():
    engine, judge = FakeEngine(("42", "wrong", "4")), FakeJudge()
    ticket = make_ticket(3, size=3, problem=make_problem("odd", num_prompt_tokens=40))

    await (await started(engine, judge)).generate(ticket)

    asked = Sampling(
        temperature=1.0,
        top_p=1.0,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=55,
        logprobs=True,
    )
    assert engine.asked == 3 * [(ticket.problem.prompt_ids, asked)]
    (group,) = judge.groups
    assert group.ticket == ticket
    assert group.generator_id == "gen-7"
    assert [completion.text for completion in group.completions] == ["42", "wrong", "4"]
    assert (group.temperature, group.top_p, group.max_tokens) == (1.0, 1.0, 55)


def with_response() -> Problem:
    return replace(make_problem(), given_ids=(7, 8, 2), given_text="so 42")


def given_completions(judge: FakeJudge) -> list[Completion]:
    (group,) = judge.groups
    assert group.ticket.size == len(group.completions)
    return [completion for completion in group.completions if completion.is_expert]


async def test_a_response_of_the_data_takes_the_place_of_everything_generated():
    engine, judge = FakeEngine(), FakeJudge()
    generator = await started(engine, judge, data={**DATA, "responses": "instead"})
    await generator.load_weights(weights(3))

    await generator.generate(make_ticket(size=4, problem=with_response()))

    assert engine.asked == []
    (given,) = given_completions(judge)
    assert judge.groups[0].completions == (given,)
    assert (given.text, given.token_ids, given.logprobs) == ("so 42", (7, 8, 2), ())
    assert (given.finish_reason, given.first_version, given.last_version) == ("stop", 3, 3)


async def test_a_response_of_the_data_joins_the_group_as_its_last():
    engine, judge = FakeEngine(), FakeJudge()
    generator = await started(engine, judge, data={**DATA, "responses": "beside"})

    await generator.generate(make_ticket(size=4, problem=with_response()))

    assert len(engine.asked) == 4
    (given,) = given_completions(judge)
    assert judge.groups[0].completions[4] is given
    assert len(judge.groups[0].completions) == 5


async def test_a_response_of_the_data_is_ignored_unless_asked_for():
    judge = FakeJudge()

    await (await started(FakeEngine(), judge)).generate(make_ticket(problem=with_response()))

    assert given_completions(judge) == []


async def test_without_sampling_max_tokens_the_tickets_budget_ends_a_response():
    engine, judge = FakeEngine(("0123456789",)), FakeJudge()

    await (await started(engine, judge, sampling={})).generate(make_ticket(budget=9))

    (group,) = judge.groups
    assert group.max_tokens == 9
    assert {(len(c.token_ids), c.finish_reason) for c in group.completions} == {(9, "length")}


async def test_a_groups_temperature_is_its_tickets():
    engine, judge = FakeEngine(), FakeJudge()
    ticket = replace(make_ticket(), temperature=1.25)

    await (await started(engine, judge)).generate(ticket)

    assert {sampling.temperature for _, sampling in engine.asked} == {1.25}
    assert judge.groups[0].temperature == 1.25


@pytest.mark.parametrize(
    ("num_prompt_tokens", "wanted", "given"), [(40, 60, 60), (41, 60, 59), (99, 60, 1), (99, 1, 1)]
)
async def test_a_response_never_gets_more_tokens_than_the_context_leaves(
    num_prompt_tokens, wanted, given
):
    engine = FakeEngine()
    generator = await started(engine, FakeJudge())
    problem = make_problem(num_prompt_tokens=num_prompt_tokens)
    sampling = Sampling(
        temperature=1.0,
        top_p=1.0,
        top_k=-1,
        min_p=0.0,
        repetition_penalty=1.0,
        max_tokens=wanted,
        logprobs=False,
    )

    await generator.evaluate(problem, 1, sampling)

    assert engine.asked[0][1].max_tokens == given


@pytest.mark.row(21)
async def test_a_group_that_was_cut_by_the_context_says_so():
    judge = FakeJudge()
    problem = make_problem(num_prompt_tokens=97)

    await (await started(FakeEngine(("12345",)), judge)).generate(make_ticket(problem=problem))

    assert judge.groups[0].max_tokens == 3


async def test_a_prompt_that_fills_the_context_is_refused_by_name():
    engine, judge = FakeEngine(), FakeJudge()
    problem = make_problem("long", num_prompt_tokens=100)

    with pytest.raises(ValueError, match="problem 'long' has 100 tokens"):
        await (await started(engine, judge)).generate(make_ticket(problem=problem))

    assert not engine.asked


async def test_generate_returns_only_when_the_group_is_settled():
    judge = FakeJudge()
    judge.hold()
    generator = await started(FakeEngine(), judge)
    writing = asyncio.create_task(generator.generate(make_ticket()))
    await asyncio.sleep(0.01)
    assert not writing.done()

    judge.release()

    await asyncio.wait_for(writing, 1)
    assert len(judge.groups) == 1


async def test_tickets_are_written_at_the_same_time_and_weights_swap_under_them():
    engine, judge = FakeEngine(), FakeJudge()
    generator = await started(engine, judge)
    engine.hold()
    writing = [asyncio.create_task(generator.generate(make_ticket(n))) for n in range(3)]
    await in_flight(engine, 12)

    report = await generator.load_weights(weights(1))
    engine.release()
    await asyncio.gather(*writing)
    await generator.generate(make_ticket(3))

    assert (report.version, report.in_flight) == (1, 12)
    versions = [(c.first_version, c.last_version) for g in judge.groups for c in g.completions]
    assert versions == 12 * [(0, 1)] + 4 * [(1, 1)]


async def test_evaluation_uses_its_own_sampling_and_settles_nothing():
    engine, judge = FakeEngine(("7", "it is 42", " 42 ")), FakeJudge()
    generator = await started(engine, judge)
    await generator.load_weights(weights(5))
    problem = make_problem("held-out")

    samples = await generator.evaluate(problem, 3, GREEDY)

    assert engine.asked == 3 * [(problem.prompt_ids, GREEDY)]
    assert judge.asked == [(problem, ["7", "it is 42", " 42 "])]
    assert judge.groups == []
    assert [s.status for s in samples] == ["wrong", "correct", "correct"]
    assert [s.extracted for s in samples] == ["7", "it is 42", "42"]
    assert [s.text for s in samples] == ["7", "it is 42", " 42 "]
    assert [s.sample for s in samples] == [0, 1, 2]
    assert [s.num_tokens for s in samples] == [2, 9, 5]
    assert {(s.problem_id, s.version, s.finish_reason) for s in samples} == {
        ("held-out", 5, "stop")
    }


async def test_an_evaluated_sample_names_the_oldest_version_that_wrote_it():
    engine = FakeEngine()
    generator = await started(engine, FakeJudge())
    engine.hold()
    evaluating = asyncio.create_task(generator.evaluate(make_problem(), 1, GREEDY))
    await in_flight(engine, 1)

    await generator.load_weights(weights(1))
    engine.release()

    assert [sample.version for sample in await evaluating] == [0]


async def test_a_judge_that_loses_a_verdict_is_a_bug_and_not_a_shorter_evaluation():
    class Forgetful(FakeJudge):
        async def verdicts(self, problem, texts):
            return (await super().verdicts(problem, texts))[:-1]

    with pytest.raises(ValueError):
        await (await started(FakeEngine(), Forgetful())).evaluate(make_problem(), 2, GREEDY)


async def test_every_wait_has_a_deadline_that_names_what_it_waited_for():
    engine, judge = FakeEngine(), FakeJudge()
    generator = await started(engine, judge, cluster={"wait_timeout_s": 0.01})
    engine.hold()

    with pytest.raises(TimeoutError, match="gen-7 to write a response to problem 'p-0'"):
        await generator.generate(make_ticket())
    assert engine.in_flight == 0

    engine.release()
    judge.hold()
    with pytest.raises(TimeoutError, match="the judge to settle the group of ticket 8"):
        await generator.generate(make_ticket(8))
    with pytest.raises(TimeoutError, match="verdicts on problem 'p-0'"):
        await generator.evaluate(make_problem(), 1, GREEDY)


async def test_a_deadline_from_deeper_down_keeps_its_own_words():
    class Late(FakeJudge):
        async def judge(self, group):
            raise TimeoutError("waited 5 s for the queue")

    with pytest.raises(TimeoutError, match=r"^waited 5 s for the queue$"):
        await (await started(FakeEngine(), Late())).generate(make_ticket())


async def test_nothing_is_judged_when_the_engine_dies():
    engine, judge = FakeEngine(), FakeJudge()
    generator = await started(engine, judge)
    engine.hold()
    writing = asyncio.create_task(generator.generate(make_ticket()))
    await in_flight(engine, 4)

    engine.die()

    with pytest.raises(EngineDied):
        await writing
    with pytest.raises(EngineDied):
        await generator.stats()
    assert judge.groups == []


async def test_refused_weights_reach_the_caller_and_the_old_ones_serve():
    engine = FakeEngine()
    generator = await started(engine, FakeJudge())
    await generator.load_weights(weights(2))

    with pytest.raises(WeightsRefused):
        await generator.load_weights(weights(1))

    assert (await generator.stats()).version == 2


async def test_close_ends_the_engine_and_does_no_harm_before_start():
    engine = FakeEngine()
    await Generator("g", lambda: engine, FakeJudge(), config()).close()
    assert engine.calls == []

    await (await started(engine, FakeJudge())).close()

    assert engine.calls == ["start", "close"]


async def test_the_engine_is_given_no_more_than_it_decodes_at_once_and_the_rest_counts_as_waiting():
    engine, judge = FakeEngine(), FakeJudge()
    generator = await started(engine, judge, engine={"max_model_len": 100, "max_num_seqs": 5})
    engine.hold()
    writing = [asyncio.create_task(generator.generate(make_ticket(n))) for n in range(3)]
    await in_flight(engine, 5)
    await asyncio.sleep(0.01)

    stats = await generator.stats()
    engine.release()
    await asyncio.gather(*writing)

    assert (stats.running, stats.waiting, stats.limit) == (5, 7, 5)
    assert engine.most_in_flight == 5
    assert len(judge.groups) == 3


async def test_an_evaluation_gets_its_share_while_rollouts_wait():
    engine, judge = FakeEngine(), FakeJudge()
    settings = {"max_model_len": 100, "max_num_seqs": 4, "eval_share": 0.25}
    generator = await started(engine, judge, engine=settings)
    engine.hold()
    problem = make_problem("held-out", num_prompt_tokens=3)
    writing = [asyncio.create_task(generator.generate(make_ticket(n))) for n in range(4)]
    await in_flight(engine, 4)
    short = replace(GREEDY, max_tokens=5)
    evaluating = asyncio.create_task(generator.evaluate(problem, 3, short))
    await asyncio.sleep(0.01)

    engine.release()
    await asyncio.gather(evaluating, *writing)

    order = [len(prompt_ids) == 3 for prompt_ids, _ in engine.asked]
    first, last = order.index(True), len(order) - order[::-1].index(True)
    assert first == 4, "the first slot that is freed, though rollouts are expected to be longer"
    assert last < len(order), "and not all of them before the rollouts"


async def test_the_limit_follows_the_engines_load_only_where_it_may(monkeypatch):
    monkeypatch.setattr(generator_module, "LOOK_S", 0)
    limits = []
    for adaptive in (True, False):
        engine = FakeEngine()
        settings = {"max_model_len": 100, "max_num_seqs": 16, "adaptive": adaptive}
        generator = await started(engine, FakeJudge(), engine=settings)
        engine.preemptions = 3
        await asyncio.sleep(0.01)
        limits.append((await generator.stats()).limit)
        await generator.close()

    assert limits == [12, 16]


async def test_a_dead_engine_is_not_looked_at_again(monkeypatch):
    monkeypatch.setattr(generator_module, "LOOK_S", 0)
    engine = FakeEngine()
    generator = await started(engine, FakeJudge())

    engine.die()
    await asyncio.sleep(0.01)

    with pytest.raises(EngineDied):
        await generator.stats()
    await generator.close()
