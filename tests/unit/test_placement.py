"""Where the planner puts every part on clusters of twenty-one shapes, and what it says of those
that cannot carry a run."""

import itertools
import random

import pytest

from cluster.nodes import Bundle, Node, Resources, parse_shape
from cluster.plan import Plan, PlanError, fit, make_plan, require
from cluster.seating import most_engines
from configs.errors import UserError
from configs.load import load

SHARED = "cluster.placement=shared engine.gpu_memory_utilization=0.5"

FITTING = [
    ("laptop", "0/2", "", ("node-1  learner 0 · generator 0 · 2 of 2 CPUs",)),
    (
        "cpu node, 4 engines",
        "0/8",
        "engine.num_engines=4 learner.world_size=2",
        ("node-1  learner 0-1 · generator 0-3 · 6 of 8 CPUs",),
    ),
    (
        "three cpu nodes",
        "3x0/2",
        "engine.num_engines=2",
        (
            "node-1  learner 0 · 1 of 2 CPUs",
            "node-2  generator 0 · 1 of 2 CPUs",
            "node-3  generator 1 · 1 of 2 CPUs",
        ),
    ),
    ("one gpu shared", "1", SHARED, ("node-1  learner + generator 0 · 1 of 1 GPUs, 2 of 8 CPUs",)),
    (
        "one gpu forced to cpu",
        "1",
        "cluster.device=cpu",
        ("node-1  learner 0 · generator 0 · 0 of 1 GPUs, 2 of 8 CPUs",),
    ),
    ("two gpus", "2", "", ("node-1  learner 0 · generator 0 · 2 of 2 GPUs, 2 of 16 CPUs",)),
    (
        "node of 8, 6:2",
        "8",
        "engine.num_engines=6 learner.world_size=2",
        ("node-1  learner 0-1 · generator 0-5 · 8 of 8 GPUs, 8 of 64 CPUs",),
    ),
    (
        "node of 8, tp 2",
        "8",
        "engine.num_engines=3 engine.tensor_parallel=2 learner.world_size=2",
        ("node-1  learner 0-1 · generator 0-2 on 2 GPUs each · 8 of 8 GPUs, 5 of 64 CPUs",),
    ),
    (
        "node of 8, all shared",
        "8",
        SHARED + " engine.num_engines=8 learner.world_size=8",
        ("node-1  learner + generator 0-7 · 8 of 8 GPUs, 16 of 64 CPUs",),
    ),
    (
        "shared, fewer engines than ranks",
        "4",
        SHARED + " engine.num_engines=2 learner.world_size=4",
        ("node-1  learner + generator 0-1 · learner 2-3 · 4 of 4 GPUs, 6 of 32 CPUs",),
    ),
    (
        "two nodes of 8",
        "2x8",
        "engine.num_engines=8 learner.world_size=8",
        (
            "node-1  learner 0-7 · 8 of 8 GPUs, 8 of 64 CPUs",
            "node-2  generator 0-7 · 8 of 8 GPUs, 8 of 64 CPUs",
        ),
    ),
    (
        "two nodes of 8, tp 8",
        "2x8",
        "engine.tensor_parallel=8 learner.world_size=8",
        (
            "node-1  learner 0-7 · 8 of 8 GPUs, 8 of 64 CPUs",
            "node-2  generator 0 on 8 GPUs each · 8 of 8 GPUs, 1 of 64 CPUs",
        ),
    ),
    (
        "learner over two nodes",
        "4x4",
        "engine.num_engines=2 engine.tensor_parallel=4 learner.world_size=8",
        (
            "node-1  learner 0-3 · 4 of 4 GPUs, 4 of 32 CPUs",
            "node-2  learner 4-7 · 4 of 4 GPUs, 4 of 32 CPUs",
            "node-3  generator 0 on 4 GPUs each · 4 of 4 GPUs, 1 of 32 CPUs",
            "node-4  generator 1 on 4 GPUs each · 4 of 4 GPUs, 1 of 32 CPUs",
        ),
    ),
    (
        "scraps",
        "3x8",
        "engine.num_engines=4 engine.tensor_parallel=3 learner.world_size=10",
        (
            "node-1  learner 0-7 · 8 of 8 GPUs, 8 of 64 CPUs",
            "node-2  learner 8-9 · generator 0,2 on 3 GPUs each · 8 of 8 GPUs, 4 of 64 CPUs",
            "node-3  generator 1,3 on 3 GPUs each · 6 of 8 GPUs, 2 of 64 CPUs",
        ),
    ),
    (
        "small and large",
        "4+8",
        "engine.tensor_parallel=8 learner.world_size=4",
        (
            "node-1  learner 0-3 · 4 of 4 GPUs, 4 of 32 CPUs",
            "node-2  generator 0 on 8 GPUs each · 8 of 8 GPUs, 1 of 64 CPUs",
        ),
    ),
    (
        "kinds",
        "8:H100+2x8:A100",
        "engine.num_engines=8 learner.world_size=8 engine.tensor_parallel=2 "
        "cluster.learner_accelerator=H100 cluster.engine_accelerator=A100",
        (
            "node-1  learner 0-7 · 8 of 8 GPUs H100, 8 of 64 CPUs",
            "node-2  generator 0,2,4,6 on 2 GPUs each · 8 of 8 GPUs A100, 4 of 64 CPUs",
            "node-3  generator 1,3,5,7 on 2 GPUs each · 8 of 8 GPUs A100, 4 of 64 CPUs",
        ),
    ),
    (
        "cpu head and gpu workers",
        "0/16+2x4:L4",
        "engine.num_engines=4 learner.world_size=4",
        (
            "node-2  learner 0-3 · 4 of 4 GPUs L4, 4 of 32 CPUs",
            "node-3  generator 0-3 · 4 of 4 GPUs L4, 4 of 32 CPUs",
            "and 1 of 3 nodes idle",
        ),
    ),
    (
        "elastic, room for all",
        "8",
        "engine.num_engines=2 engine.max_engines=6 learner.world_size=2",
        ("node-1  learner 0-1 · generator 0-5 · 8 of 8 GPUs, 8 of 64 CPUs",),
    ),
    (
        "elastic, fewer than wanted",
        "4",
        "engine.num_engines=6 engine.min_engines=1 learner.world_size=2",
        ("node-1  learner 0-1 · generator 0-1 · 4 of 4 GPUs, 4 of 32 CPUs",),
    ),
    (
        "few cpus for many gpus",
        "2x8/4",
        "engine.num_engines=4 learner.world_size=4",
        (
            "node-1  learner 0-3 · 4 of 8 GPUs, 4 of 4 CPUs",
            "node-2  generator 0-3 · 4 of 8 GPUs, 4 of 4 CPUs",
        ),
    ),
    (
        "1000 engines",
        "126x8",
        "engine.num_engines=1000 learner.world_size=8",
        (
            "node-1    learner 0-7 · 8 of 8 GPUs, 8 of 64 CPUs",
            "node-2    generator 0,125,250,375,500,625,750,875 · 8 of 8 GPUs, 8 of 64 CPUs",
            "node-126  generator 124,249,374,499,624,749,874,999 · 8 of 8 GPUs, 8 of 64 CPUs",
        ),
    ),
]
"""Name, shape, settings, and the drawing; of more than eight lines the first two and the last."""


def planned(shape: str, settings: str) -> tuple[Plan, list[str]]:
    resources, config = parse_shape(shape), load("tiny", settings.split())
    plan, layout = fit(make_plan(config, gpus_seen=resources.gpus), config, resources)
    held: dict[str, list[Bundle]] = {}
    for node, bundle in layout.seats:
        held.setdefault(node.name, []).append(bundle)
    for node in resources.nodes:  # nobody sits where there is no room
        bundles = held.get(node.name, [])
        assert sum(bundle.gpus for bundle in bundles) <= node.gpus
        assert sum(bundle.cpus for bundle in bundles) <= node.cpus
    assert len(layout.learner_nodes) == len(plan.ranks)
    return plan, layout.draw()


@pytest.mark.parametrize(
    ("shape", "settings", "drawing"), [case[1:] for case in FITTING], ids=[c[0] for c in FITTING]
)
def test_the_drawing_of(shape: str, settings: str, drawing: tuple[str, ...]):
    _, lines = planned(shape, settings)

    assert tuple(lines if len(lines) < 9 else [*lines[:2], lines[-1]]) == drawing


@pytest.mark.parametrize(
    ("shape", "settings", "said"),
    [
        ("0/1", "", "needs 2 CPUs (1 engines, 1 learner ranks) and Ray has 1: 1 are missing"),
        ("1", "cluster.device=cuda", "needs 2 GPUs (1 engines, 1 learner ranks) and Ray has 1"),
        ("8", "engine.num_engines=7 learner.world_size=4", "needs 11 GPUs .* has 8: 3 are missing"),
        (
            "4x4", "engine.tensor_parallel=8 learner.world_size=2",
            "one engine needs 8 GPUs of the same node, and the largest node has 4",
        ),
        (
            "2x4", "engine.num_engines=2 engine.tensor_parallel=3 learner.world_size=2 "
            "cluster.learner_accelerator=H100",
            "cluster.learner_accelerator=H100: no node has one, Ray has 2 nodes, 64 CPUs, 8 GPUs",
        ),
        (
            "3x6", "engine.num_engines=4 engine.tensor_parallel=4",
            "room for 3: 1 are missing, though GPUs are not",
        ),
        (
            "8:A100+4:H100", "learner.world_size=8 cluster.learner_accelerator=H100",
            "needs 8 GPUs of cluster.learner_accelerator=H100 .* has 4: 4 are missing",
        ),
        (
            "2", SHARED + " engine.num_engines=4 learner.world_size=4",
            "needs 4 GPUs .* has 2: 2 are missing",
        ),
        (
            "4", "engine.num_engines=6 engine.min_engines=4 learner.world_size=2",
            "needs 6 GPUs (4 engines, 2 learner ranks) and Ray has 4",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_that_names_what_is_missing(
    shape: str, settings: str, said: str
):
    pattern = said.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(PlanError, match=pattern) as caught:
        planned(shape, settings)
    assert "\n" not in str(caught.value)


def test_a_plan_of_a_fixed_number_is_not_shortened_when_it_does_not_fit():
    resources, config = parse_shape("4"), load("tiny", ["engine.num_engines=8"])

    with pytest.raises(PlanError, match="needs 9 GPUs"):
        require(make_plan(config, gpus_seen=4), resources)


@pytest.mark.parametrize("shape", ["", "x8", "2x", "8:", "0x8", "999999x1", "2x8 H100"])
def test_a_shape_that_cannot_be_read_is_told_how_to_write_it(shape: str):
    with pytest.raises(UserError):
        parse_shape(shape)


@pytest.mark.parametrize("seed", range(40))
def test_no_other_seating_of_the_learner_leaves_room_for_more_engines(seed: int):
    """Against every way to spread the ranks over the nodes."""
    draw = random.Random(seed)
    gpus = [draw.randint(1, 8) for _ in range(draw.randint(1, 4))]
    size, ranks = draw.randint(1, 4), draw.randint(1, 8)
    nodes = tuple(Node(name=str(i), cpus=64, gpus=count) for i, count in enumerate(gpus))
    learner = [Bundle(parts=("learner-0",), cpus=1, gpus=1)] * ranks
    engine = Bundle(parts=("generator-0",), cpus=1, gpus=size)

    found = most_engines(learner, engine, Resources(nodes=nodes), 99)

    spreads = itertools.product(*(range(count + 1) for count in gpus))
    best = [
        sum((count - taken) // size for count, taken in zip(gpus, spread, strict=True))
        for spread in spreads
        if sum(spread) == ranks
    ]
    assert found == max(best, default=-1)


def test_ten_thousand_gpus_are_planned_in_seconds():
    plan, lines = planned("1250x8", "engine.num_engines=9000 learner.world_size=1000")

    assert (plan.gpus, len(lines)) == (10_000, 1250)
