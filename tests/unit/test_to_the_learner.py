"""From a ticket to what the learner is lent: generator, judge and queue as they are, with an engine
and a pool of judges that are not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.generator import Generator
from actors.judge import Judge
from actors.replay import ReplayQueue
from configs.load import load
from configs.run_files import Fate
from tests.fakes import FakeEngine, make_problem, make_ticket
from verifiers.types import JudgedGroup, Lease, Problem, Rollout, Verdict


class Pool:
    """Right is what holds the answer."""

    def __init__(self, config: Any) -> None: ...

    async def judge_many(
        self, verifier: str, answer: str, texts: Sequence[str], prompt: str
    ) -> list[Verdict]:
        return [Verdict(status="correct" if answer in text else "wrong") for text in texts]


class Recorder:
    async def problems(self, problems: list[Problem]) -> None: ...

    async def rollouts(self, judged: JudgedGroup) -> None: ...

    async def verdicts(self, rows: list[dict[str, Any]]) -> None: ...

    async def fates(self, rows: list[Fate]) -> None: ...


async def lent(
    folder: Path, *settings: str, given_text: str = "so 42", keep_rejected: bool = False
) -> tuple[Lease, list[Rollout]]:
    """Of one group whose two samples are a right and a wrong one, and its given response."""
    config = load("tiny", ["batch.problems=1", "debug=true", *settings])
    queue = ReplayQueue(str(folder), config, Recorder(), keep_rejected)
    await queue.open(0)
    judge = Judge(config, queue, Recorder(), keep_rejected)
    generator = Generator("g", lambda: FakeEngine(("42", "41")), judge, config)
    await generator.start()
    problem = replace(
        make_problem(), given_ids=(7, 8, 2), given_text=given_text, teacher_prompt_ids=(1, 2)
    )
    attempt = await queue.issue(make_ticket(problem=problem))
    assert attempt == 0
    await generator.generate(make_ticket(0, size=2, problem=problem))
    lease = await queue.lease(0)
    payload = await queue.payload(0, lease.epoch) if lease.is_ready else []
    if lease.is_ready:
        await queue.ack(lease, skipped=False)
    (await queue.counts()).check()
    return lease, payload


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.judge.JudgePool", Pool)


async def test_an_accepted_sample_brings_its_log_probabilities_and_its_teachers_prompt(
    tmp_path: Path,
):
    lease, (rollout,) = await lent(tmp_path)

    assert (lease.num_rollouts, lease.num_accepted, lease.num_written) == (1, 1, 2)
    assert (rollout.reward, rollout.is_expert) == (1.0, False)
    assert rollout.logprobs == (-0.5,) * len(rollout.response_ids)
    assert rollout.teacher_prompt_ids == (1, 2)


async def test_given_responses_alone_are_plain_sft(tmp_path: Path):
    lease, (rollout,) = await lent(tmp_path, "data.responses=instead")

    assert (lease.num_rollouts, lease.num_written) == (1, 1)
    assert (rollout.id, rollout.is_expert) == ("000000.0.0", True)
    assert (rollout.response_ids, rollout.logprobs) == ((7, 8, 2), ())


async def test_a_wrong_given_response_is_rejected_and_counted(tmp_path: Path):
    lease, payload = await lent(tmp_path, "data.responses=instead", given_text="41")

    assert (lease.is_ready, lease.reasons, payload) == (False, {"wrong": 1}, [])


async def test_an_expert_stands_beside_a_whole_group(tmp_path: Path):
    settings = ("data.responses=beside", "filter.token_weights=fait")
    lease, payload = await lent(tmp_path, *settings, keep_rejected=True)

    found = [(r.reward, r.is_expert, bool(r.logprobs), bool(r.weights)) for r in payload]
    assert found == [
        (1.0, False, True, True),
        (0.0, False, True, False),
        (1.0, True, False, True),
    ]
    assert payload[0].weights == (1.0, 2.0, 1.0)
    assert (lease.num_rollouts, lease.num_accepted) == (3, 2)


async def test_a_wrong_expert_leaves_the_group_to_itself(tmp_path: Path):
    _, payload = await lent(tmp_path, "data.responses=beside", given_text="41", keep_rejected=True)

    assert [(r.reward, r.is_expert) for r in payload] == [(1.0, False), (0.0, False)]
