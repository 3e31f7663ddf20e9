"""Placement and the arithmetic of a batch, without Ray."""

import pytest

from cluster.plan import PlanError, Resources, batch_arithmetic, make_plan, require
from configs.load import load


def test_a_cpu_plan_asks_for_no_gpu():
    plan = make_plan(load("tiny", []), gpus_seen=0)

    assert (plan.device, plan.cpus, plan.gpus) == ("cpu", 2, 0)


def test_gpus_are_used_when_there_are_any_and_the_device_may_be_forced():
    settings = ["engine.num_engines=2", "engine.tensor_parallel=2", "learner.world_size=3"]

    assert make_plan(load("tiny", settings), gpus_seen=8).gpus == 7
    assert make_plan(load("tiny", [*settings, "cluster.device=cpu"]), gpus_seen=8).gpus == 0


@pytest.mark.parametrize(("cpus", "gpus", "what"), [(8, 1, "2 GPUs"), (1, 2, "2 CPUs")])
def test_too_few_devices_are_named_with_the_way_out(cpus: int, gpus: int, what: str):
    plan = make_plan(load("tiny", ["cluster.device=cuda"]), gpus_seen=gpus)

    with pytest.raises(PlanError, match=rf"needs {what} .* Lower engine\.num_engines"):
        require(plan, Resources(cpus=cpus, gpus=gpus))


def test_the_arithmetic_names_what_a_step_asks_for():
    text = "\n".join(batch_arithmetic(load("tiny", ["batch.problems=3", "max_lag=2"])))

    assert "3 problems x 8 rollouts = 24" in text
    assert "at most 9 problems (72 rollouts)" in text


@pytest.mark.parametrize(("responses", "size"), [("ignore", 8), ("instead", 1), ("beside", 9)])
def test_the_arithmetic_counts_the_responses_of_the_data(responses: str, size: int):
    settings = ["batch.problems=3", f"data.responses={responses}"]

    assert f"3 problems x {size} rollouts" in batch_arithmetic(load("tiny", settings))[0]
