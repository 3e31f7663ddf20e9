"""Placement and the arithmetic of a batch, without Ray."""

import pytest

from cluster.plan import (
    Device,
    PlanError,
    Resources,
    batch_arithmetic,
    deal,
    engine_place,
    make_plan,
    require,
    with_engines,
    with_types,
)
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
        require(plan, Resources.one(cpus, gpus))


PINNED = ["cluster.pin_cores=true", "engine.num_engines=2", "cluster.threads=2"]
PLENTY = Resources.one(99, 0)


def test_ranks_and_engines_get_cores_of_their_own():
    plan = make_plan(load("tiny", PINNED), gpus_seen=0, cores=[9, 3, 4, 5, 6, 7, 8])

    require(plan, PLENTY)

    dealt = {place.name: place.cores for place in plan.places if place.cores}
    assert dealt == {"learner-0": (3, 4), "generator-0": (5, 6), "generator-1": (7, 8)}
    assert deal([0, 1, 2], 2) == ((0, 1),)


def test_whoever_takes_over_a_seat_takes_over_its_cores():
    plan = make_plan(load("tiny", PINNED), gpus_seen=0, cores=range(6))

    place = engine_place(plan, 7, seat=1)

    assert (place.name, place.cores) == ("generator-7", plan.engines[1].cores)


def test_too_few_cores_are_told_with_the_way_out_at_the_start_and_when_engines_are_added():
    config = load("tiny", PINNED)
    for plan in (
        make_plan(config, gpus_seen=0, cores=range(5)),
        with_engines(make_plan(config, gpus_seen=0, cores=range(6)), 3),
    ):
        with pytest.raises(PlanError, match=r"pin_cores=true needs .*set cluster\.pin_cores=false"):
            require(plan, PLENTY)


def test_nothing_is_pinned_on_a_gpu_or_without_being_asked_to():
    on_gpu = make_plan(load("tiny", [*PINNED, "cluster.device=cuda"]), gpus_seen=3, cores=[0])
    not_asked = make_plan(load("tiny", []), gpus_seen=0, cores=[0])

    for plan in (on_gpu, not_asked):
        require(plan, Resources.one(99, 99))
        assert not any(place.cores for place in plan.places)


def test_the_arithmetic_names_what_a_step_asks_for():
    text = "\n".join(batch_arithmetic(load("tiny", ["batch.problems=3", "max_lag=2"])))

    assert "3 problems x 8 rollouts = 24" in text
    assert "at most 9 problems (72 rollouts)" in text


@pytest.mark.parametrize(("responses", "size"), [("ignore", 8), ("instead", 1), ("beside", 9)])
def test_the_arithmetic_counts_the_responses_of_the_data(responses: str, size: int):
    settings = ["batch.problems=3", f"data.responses={responses}"]

    assert f"3 problems x {size} rollouts" in batch_arithmetic(load("tiny", settings))[0]


@pytest.mark.parametrize(
    ("settings", "device", "has_bfloat16", "engine", "learner"),
    [
        ([], "cpu", True, "bfloat16", "bfloat16"),
        ([], "cpu", False, "float32", "float32"),
        ([], "cuda", False, "bfloat16", "bfloat16"),
        (["engine.dtype=float16"], "cpu", False, "float16", "float32"),
        (["learner.dtype=bfloat16"], "cpu", False, "float32", "bfloat16"),
        (["learner.weights=bfloat16"], "cpu", False, "float32", "bfloat16"),
    ],
)
def test_number_types_are_those_that_the_device_computes(
    settings: list[str], device: Device, has_bfloat16: bool, engine: str, learner: str
):
    config = with_types(load("smollm2", settings), device, has_bfloat16=has_bfloat16)

    assert (config.engine.dtype, config.learner.dtype) == (engine, learner)
