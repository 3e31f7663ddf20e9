"""Waiting for nodes, and following them as they come and go."""

import pytest

from cluster.elastic import Elastic
from cluster.enough import wait_for_room
from cluster.nodes import PlanError, Resources, parse_shape
from cluster.plan import fit, make_plan
from configs.errors import UserError
from configs.load import load


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def two(resources: Resources) -> int:
    if resources.gpus < 2:
        raise PlanError("2 GPUs are missing")
    return int(resources.gpus)


def test_a_cluster_that_grows_is_waited_for_and_what_is_missing_is_said_every_30_s():
    clock, said = Clock(), list[str]()

    found = wait_for_room(
        lambda: parse_shape("1" if clock.now < 65 else "2x1"), two, said.append, 100,
        clock=clock, sleep=clock.sleep,
    )  # fmt: skip

    assert (found, clock.now) == (2, 65)
    assert [line.split(":")[0] for line in said] == [
        f"waiting for nodes, {second} of 100 s" for second in (0, 30, 60)
    ]
    assert all("1 node, 8 CPUs, 1 GPUs registered; 2 GPUs are missing" in line for line in said)


@pytest.mark.parametrize(("patience", "seconds"), [(0, 0), (40, 40)])
def test_a_cluster_that_stays_too_small_is_refused_in_the_end(patience: float, seconds: float):
    clock = Clock()

    with pytest.raises(PlanError, match="2 GPUs are missing"):
        wait_for_room(
            lambda: parse_shape("1"), two, lambda _: None, patience,
            clock=clock, sleep=clock.sleep,
        )  # fmt: skip

    assert clock.now == seconds


def elastic(*settings: str) -> tuple[Elastic, Clock, list[str], list[int]]:
    """``shape[0]`` is the cluster of now, ``wishes`` what somebody asks for next."""
    config = load("tiny", ["engine.num_engines=2", "learner.world_size=2", *settings])
    shape, wishes, clock = ["2x3"], list[int](), Clock()
    plan, _ = fit(make_plan(config, gpus_seen=6), config, parse_shape(shape[0]))
    follower = Elastic(
        config, plan, lambda: wishes.pop() if wishes else None, lambda: parse_shape(shape[0]), clock
    )
    return follower, clock, shape, wishes


def test_engines_follow_the_nodes_between_their_bounds():
    follower, clock, shape, _ = elastic("engine.min_engines=1", "engine.max_engines=5")

    wanted: list[int | None] = []
    for now in ("2x3", "3x3", "1x3", "1x2", "2x3", "2x3"):
        shape[0] = now
        clock.sleep(5)
        wanted.append(follower.wanted_engines())

    assert wanted == [None, 5, 1, None, 4, None]


def test_a_wish_is_taken_at_once_and_holds_while_the_nodes_stay():
    follower, clock, _, wishes = elastic("engine.max_engines=4")
    wishes.append(3)

    assert follower.wanted_engines() == 3
    clock.sleep(60)
    assert follower.wanted_engines() is None


def test_a_fixed_number_stays():
    follower, clock, shape, _ = elastic()
    shape[0] = "9x9"
    clock.sleep(60)

    assert follower.wanted_engines() is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["engine.min_engines=3", "engine.num_engines=2"], "engine.min_engines 3 is above"),
        (["engine.max_engines=1", "engine.num_engines=2"], "engine.max_engines 1 is below"),
        (["cluster.placement=shared"], "gpu_memory_utilization 0.85 leave the learner too little"),
        (
            ["cluster.placement=shared", "engine.num_engines=2"],
            "at most learner.world_size=1 engines",
        ),
        (
            [
                "cluster.placement=shared", "engine.gpu_memory_utilization=0.5",
                "cluster.engine_accelerator=A100", "cluster.learner_accelerator=H100",
            ],
            "cannot differ",
        ),
    ],
)  # fmt: skip
def test_contradictions_are_told(settings: list[str], said: str):
    with pytest.raises(UserError, match=said):
        load("tiny", settings)
