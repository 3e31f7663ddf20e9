"""Judges as Ray actors, on two nodes: the same verdicts as anywhere else."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from actors.judges import Judges
from cluster.plan import make_plan
from cluster.session import Stage, close_all
from cluster.spawn import processes
from configs.schema import RunConfig
from tests.golden_verdicts import CODE, GOLDEN
from verifiers.types import Message, Problem

CASES = GOLDEN + CODE


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    cluster = Cluster()
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def config() -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"path": "tiny"},
            "data": {"train": "tiny"},
            "filter": {"length_budget": 100},
            "judge": {"actors": 2, "timeout_s": 60.0},
        }
    )


def problem(verifier: str, answer: str) -> Problem:
    return Problem(
        id="p",
        messages=(Message(role="user", content="?"),),
        answer=answer,
        source="golden",
        verifier=verifier,
        prompt_ids=(1,),
    )


@pytest.mark.row(16)
@pytest.mark.usefixtures("two_nodes")
async def test_judge_actors_on_two_nodes_give_the_golden_verdicts():
    stage = Stage(config=config(), plan=make_plan(config(), gpus_seen=0), log_dir=None)
    judges: Judges = stage.place_judges(queue=None, recorder=None)
    await judges.start()

    try:
        given = await asyncio.gather(
            *(judges.verdicts(problem(name, answer), [text]) for name, answer, text, _ in CASES)
        )
        raylets = {raylet_of(pid) for pid in (await processes(judges.members)).values()}
        each = [await member.stats() for member in judges.members]
    finally:
        await close_all(judges.members)

    assert [verdicts[0].status for verdicts in given] == [status for *_, status in CASES]
    assert len(raylets) == 2
    assert all(stats.judged > len(GOLDEN) / 4 for stats in each)


def raylet_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
