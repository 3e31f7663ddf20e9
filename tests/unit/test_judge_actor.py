import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from actors.audit import is_audited
from actors.judge import MAX_UNRECORDED, Judge
from configs.schema import JudgeConfig, RunConfig
from verifiers.plugins import PluginFailed
from verifiers.pool_stats import PoolStats
from verifiers.types import (
    Completion,
    FinishReason,
    Group,
    JudgedGroup,
    Message,
    Problem,
    Settlement,
    Status,
    Ticket,
    Verdict,
)

L = 3500
PROBLEM = Problem(
    id="p",
    messages=(Message(role="user", content="2+3?"),),
    answer="5",
    source="s",
    verifier="number",
    prompt_ids=(1, 2, 3),
)
SECONDS = 5


class EchoPool:
    """Its verdict is what the response says."""

    def __init__(self, config: JudgeConfig) -> None:
        self.asked: list[tuple[str, str, list[str]]] = []
        self.state = "new"
        pools.append(self)

    async def start(self) -> None:
        self.state = "started"

    async def judge_many(
        self, verifier: str, answer: str, texts: Sequence[str], prompt: str
    ) -> list[Verdict]:
        assert prompt == "2+3?"
        self.asked.append((verifier, answer, list(texts)))
        return [Verdict(status=cast(Status, text), extracted=text) for text in texts]

    async def close(self) -> None:
        self.state = "closed"

    @property
    def stats(self) -> PoolStats:
        return PoolStats(judged=1, cached=2, killed=3, errors=4, workers=5)


pools: list[EchoPool] = []
"""The newest is the one of the judge under test."""


class Queue:
    def __init__(self, answer: bool = True) -> None:
        self.settled: list[Settlement] = []
        self.answer = answer

    async def settle(self, settlement: Settlement) -> bool:
        self.settled.append(settlement)
        return self.answer


class Recorder:
    def __init__(self) -> None:
        self.judged: list[JudgedGroup] = []
        self.problem_ids: list[str] = []
        self.audited: list[dict[str, Any]] = []

    async def problems(self, problems: list[Problem]) -> None:
        self.problem_ids += [problem.id for problem in problems]

    async def rollouts(self, judged: JudgedGroup) -> None:
        self.judged.append(judged)

    async def verdicts(self, rows: list[dict[str, Any]]) -> None:
        self.audited += rows


class StuckRecorder(Recorder):
    async def rollouts(self, judged: JudgedGroup) -> None:
        await asyncio.Event().wait()


class DeadRecorder(Recorder):
    async def rollouts(self, judged: JudgedGroup) -> None:
        raise ConnectionError("gone")


@pytest.fixture(autouse=True)
def echo_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.judge.JudgePool", EchoPool)


def config(
    wait_timeout_s: float = SECONDS,
    kept: dict[str, Any] | None = None,
    economy: dict[str, Any] | None = None,
    **judge: Any,
) -> RunConfig:
    """``kept``: more of the section ``filter``."""
    return RunConfig.model_validate(
        {
            "model": {"path": "tiny"},
            "data": {"train": "tiny"},
            "filter": {"length_budget": L, **(kept or {})},
            "economy": economy or {},
            "engine": {"max_model_len": 8192},
            "cluster": {"wait_timeout_s": wait_timeout_s},
            "judge": judge,
        }
    )


def completion(
    text: str, num_tokens: int, finish_reason: FinishReason = "stop", version: int = 4
) -> Completion:
    return Completion(
        text=text,
        token_ids=tuple(range(num_tokens)),
        finish_reason=finish_reason,
        first_version=version,
        last_version=version + 1,
        start_us=0,
        end_us=1,
    )


def group(*completions: Completion) -> Group:
    ticket = Ticket(number=12, attempt=2, problem=PROBLEM, size=len(completions), budget=L)
    return Group(
        ticket=ticket,
        generator_id="g0",
        completions=completions,
        temperature=1.0,
        top_p=1.0,
        max_tokens=L,
    )


def paper_group() -> Group:
    return group(
        completion("wrong", 50, version=1),
        completion("correct", 3600),
        completion("correct", 100, version=7),
        completion("correct", 3500, "length"),
    )


async def test_only_the_accepted_rollout_is_settled_with_its_tokens_and_all_with_their_fate():
    queue = Queue()
    judge = Judge(config(), queue, Recorder())

    await judge.judge(paper_group())

    [settled] = queue.settled
    assert (settled.ticket, settled.attempt) == (12, 2)
    [rollout] = settled.rollouts
    assert rollout.id == "000012.2.2"
    assert rollout.prompt_ids == PROBLEM.prompt_ids
    assert rollout.response_ids == tuple(range(100))
    assert (rollout.first_version, rollout.last_version) == (7, 8)
    assert [outcome.rollout_id for outcome in settled.outcomes] == [
        f"000012.2.{sample}" for sample in range(4)
    ]
    assert [o.reason for o in settled.outcomes] == ["wrong", "over_budget", None, "truncated"]
    assert [o.status for o in settled.outcomes] == ["wrong", "correct", "correct", "correct"]
    assert [o.num_tokens for o in settled.outcomes] == [50, 3600, 100, 3500]
    assert [o.first_version for o in settled.outcomes] == [1, 4, 7, 4]
    assert [o.last_version for o in settled.outcomes] == [2, 5, 8, 5]


async def test_the_recorder_gets_the_whole_group_with_verdicts_and_decisions():
    recorder = Recorder()
    judge = Judge(config(), Queue(), recorder)
    written = paper_group()

    await judge.judge(written)
    await judge.close()

    [judged] = recorder.judged
    assert recorder.problem_ids == [judged.group.ticket.problem.id]
    assert judged.group is written
    assert [verdict.status for verdict in judged.verdicts] == [
        "wrong",
        "correct",
        "correct",
        "correct",
    ]
    assert [decision.accepted for decision in judged.decisions] == [False, False, True, False]


@pytest.mark.row(21)
async def test_a_truncated_response_is_judged_and_an_aborted_one_is_not():
    queue = Queue()
    judge = Judge(config(), queue, Recorder())

    await judge.judge(
        group(
            completion("correct", 3, "abort"),
            completion("timeout", 5, "length"),
            completion("correct", 9, "abort"),
            completion("error", 7),
        )
    )

    assert pools[-1].asked == [("number", "5", ["timeout", "error"])]
    assert [outcome.status for outcome in queue.settled[0].outcomes] == [
        "no_answer",
        "timeout",
        "no_answer",
        "error",
    ]
    assert [outcome.reason for outcome in queue.settled[0].outcomes] == [
        "aborted",
        "truncated",
        "aborted",
        "verifier_error",
    ]


async def test_a_group_without_a_single_good_answer_is_settled_too():
    queue = Queue()

    await Judge(config(), queue, Recorder()).judge(group(completion("wrong", 5)))

    assert queue.settled[0].rollouts == ()
    assert len(queue.settled[0].outcomes) == 1


async def test_where_whole_groups_are_kept_the_rejected_ones_come_with_reward_nothing():
    queue = Queue()

    await Judge(config(), queue, Recorder(), keep_rejected=True).judge(paper_group())

    rollouts = queue.settled[0].rollouts
    assert [(r.id, r.reward) for r in rollouts] == [
        ("000012.2.0", 0.0),
        ("000012.2.1", 0.0),
        ("000012.2.2", 1.0),
        ("000012.2.3", 0.0),
    ]


async def test_token_weights_reach_the_queue_and_the_recorder():
    queue, recorder = Queue(), Recorder()
    judge = Judge(config(kept={"token_weights": "fait"}), queue, recorder)

    await judge.judge(group(completion("correct", 5), completion("wrong", 3)))
    await judge.close()

    [rollout] = queue.settled[0].rollouts
    assert rollout.weights == (1.0, 1.0, 1.0, 2.0, 2.0)
    assert recorder.judged[0].weights == (rollout.weights, ())


async def test_the_steps_of_the_filter_and_the_reward_reach_the_queue_and_the_recorder():
    queue, recorder = Queue(), Recorder()
    kept = {
        "steps": [{"use": "duplicate"}, {"use": "branchy", "settings": {"quantile": 0.5}}],
        "reward": {"use": "tests.own_parts:BONUS"},
    }
    judge = Judge(config(kept=kept, economy={"reweight": True}), queue, recorder)
    written = group(completion("correct", 4), completion("correct", 9), completion("wrong", 9))
    ticket = replace(written.ticket, propensity=0.5, limits=(("branchy", 0.0),))

    await judge.judge(replace(written, ticket=ticket))
    await judge.close()

    [settled] = queue.settled
    assert [o.reason for o in settled.outcomes] == [None, "duplicate", "wrong"]
    assert {o.measures for o in settled.outcomes} == {(("branchy", 0.0),)}
    assert [(r.reward, r.weight) for r in settled.rollouts] == [(1.5, 2.0)]
    assert recorder.judged[0].rewards[2] == {"right": 0.0, "short": 0.0}


async def test_a_part_that_fails_ends_the_call_with_its_name():
    judge = Judge(config(kept={"token_weights": "tests.own_parts:too_few"}), Queue(), Recorder())

    with pytest.raises(PluginFailed, match=r"filter.token_weights 'tests.own_parts:too_few'"):
        await judge.judge(group(completion("correct", 5)))


async def test_a_recorder_that_never_answers_delays_nothing():
    queue = Queue()
    judge = Judge(config(), queue, StuckRecorder())

    async with asyncio.timeout(SECONDS):
        for _ in range(MAX_UNRECORDED + 3):
            await judge.judge(group(completion("correct", 5)))

    assert len(queue.settled) == MAX_UNRECORDED + 3
    assert (await judge.stats()).unrecorded == 3
    assert judge.num_unrecorded == 3  # the others are on their way, for as long as the limit


async def test_a_recorder_that_fails_is_counted_and_warned_of_once(caplog):
    queue = Queue()
    judge = Judge(config(), queue, DeadRecorder())

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await judge.judge(group(completion("correct", 5)))
        await judge.close()

    assert judge.num_unrecorded == 3
    assert len(queue.settled) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "the recorder did not take a judged group, training goes on: ConnectionError: gone"
    ]


@pytest.mark.row(4)
async def test_a_fenced_group_is_no_failure():
    queue = Queue(answer=False)

    await Judge(config(), queue, Recorder()).judge(group(completion("correct", 5)))

    assert len(queue.settled) == 1


async def test_a_queue_that_never_answers_ends_in_an_error_that_names_it():
    class StuckQueue:
        async def settle(self, settlement: Settlement) -> bool:
            await asyncio.Event().wait()
            return True

    judge = Judge(config(wait_timeout_s=0.01), StuckQueue(), Recorder())

    with pytest.raises(TimeoutError, match=r"did not settle ticket 12 within 0\.01 s"):
        await judge.judge(group(completion("correct", 5)))


async def test_verdicts_alone_touch_neither_queue_nor_recorder():
    queue, recorder = Queue(), Recorder()
    judge = Judge(config(), queue, recorder)
    await judge.start()

    verdicts = await judge.verdicts(PROBLEM, ["wrong", "correct"])

    assert [verdict.status for verdict in verdicts] == ["wrong", "correct"]
    assert (queue.settled, recorder.judged) == ([], [])
    assert (await judge.stats()).workers == 5
    assert pools[-1].state == "started"
    await judge.close()
    assert pools[-1].state == "closed"


async def test_an_audited_verdict_is_kept_with_its_texts_and_a_second_opinion():
    recorder = Recorder()
    judge = Judge(config(audit_share=1.0, audit_verifier="math"), Queue(), recorder)

    await judge.judge(group(completion("wrong", 5), completion("correct", 5, "abort")))
    await judge.close()

    [row] = recorder.audited  # an aborted one has no verdict to look at
    assert row["rollout_id"] == "000012.2.0"
    assert (row["prompt"], row["gold"], row["response"]) == ("2+3?", "5", "wrong")
    assert (row["verifier"], row["status"]) == ("number", "wrong")
    assert (row["second"]["verifier"], row["second"]["status"]) == ("math", "wrong")
    assert row["agree"] is True
    assert [asked[0] for asked in pools[-1].asked] == ["number", "math"]


async def test_nothing_is_audited_when_the_share_is_nothing():
    recorder = Recorder()
    judge = Judge(config(audit_share=0.0), Queue(), recorder)

    await judge.judge(paper_group())
    await judge.close()

    assert recorder.audited == []
    assert len(recorder.judged) == 1


def test_the_audited_share_is_the_share_and_the_same_everywhere():
    names = [f"{number:06d}.0.0" for number in range(20_000)]

    chosen = [name for name in names if is_audited(name, 0.05)]

    assert 800 < len(chosen) < 1200
    assert chosen == [name for name in names if is_audited(name, 0.05)]
    assert not any(is_audited(name, 0.0) for name in names)
    assert all(is_audited(name, 1.0) for name in names)
