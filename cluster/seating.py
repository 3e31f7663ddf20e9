"""Puts the bundles of a plan on the nodes of a cluster, or says in one line what is missing. Pure.

The learner sits as close together as the engines let it: first as if there were none, and where
these then lack room, on the GPUs that no engine can use (three left over of eight, with engines of
five), node by node. Engines, all of one size, then go where most room is.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.nodes import Bundle, Layout, Node, PlanError, Resources

Seats = list[Node]


@dataclass(slots=True)
class _Room:
    """What is left of a node while parts are seated."""

    node: Node
    cpus: float
    gpus: float
    ranks: int = 0

    def holds(self, bundle: Bundle) -> int:
        """How many more of these fit."""
        if bundle.accelerator not in (None, self.node.accelerator):
            return 0
        by_cpu = self.cpus / bundle.cpus if bundle.cpus else float("inf")
        by_gpu = self.gpus / bundle.gpus if bundle.gpus else float("inf")
        return int(min(by_cpu, by_gpu, 1e9))

    def take(self, bundle: Bundle, sign: int = 1) -> None:
        self.cpus -= sign * bundle.cpus
        self.gpus -= sign * bundle.gpus

    def cost(self, rank: Bundle, engine: Bundle | None) -> int:
        """Engines that no longer fit once a rank sits here."""
        if engine is None:
            return 0
        before = self.holds(engine)
        self.take(rank)
        after = self.holds(engine)
        self.take(rank, -1)
        return before - after


def seat(
    learner: Sequence[Bundle], engines: Sequence[Bundle], resources: Resources
) -> Layout | None:
    """None: there is no room for all of them."""
    for spares_engines in (False, True):
        rooms = [_Room(n, n.cpus, n.gpus) for n in resources.nodes]
        ranks = _seat_ranks(learner, rooms, engines[0] if engines and spares_engines else None)
        others = None if ranks is None else _seat_engines(engines, rooms)
        if ranks is not None and others is not None:
            return Layout(
                resources=resources,
                learner=tuple(learner),
                learner_nodes=tuple(ranks),
                engines=tuple(engines),
                engine_nodes=tuple(others),
            )
    return None


def most_engines(learner: Sequence[Bundle], engine: Bundle, resources: Resources, high: int) -> int:
    """Up to ``high`` of these, beside the learner. -1: not even that fits."""
    best = -1
    for spared in (None, engine):
        rooms = [_Room(n, n.cpus, n.gpus) for n in resources.nodes]
        if _seat_ranks(learner, rooms, spared) is not None:
            best = max(best, sum(room.holds(engine) for room in rooms))
    return min(best, high)


def _seat_ranks(ranks: Sequence[Bundle], rooms: list[_Room], spared: Bundle | None) -> Seats | None:
    """All of one shape. What a node costs changes only when somebody sits down there, so the search
    is repeated only when the node in use has become dearer than the next."""
    seats: Seats = []
    while len(seats) < len(ranks):
        rank, left = ranks[0], len(ranks) - len(seats)
        open_rooms = [room for room in rooms if room.holds(rank)]
        if not open_rooms:
            return None

        def price(room: _Room, rank: Bundle = rank, left: int = left) -> tuple[float, ...]:
            fits = min(room.holds(rank), left)
            return (room.cost(rank, spared), -room.ranks, -fits, room.holds(rank))

        open_rooms.sort(key=price)
        room = open_rooms[0]
        limit = open_rooms[1].cost(rank, spared) if len(open_rooms) > 1 else float("inf")
        while len(seats) < len(ranks) and room.holds(rank) and room.cost(rank, spared) <= limit:
            room.take(rank)
            room.ranks += 1
            seats.append(room.node)
    return seats


def _seat_engines(engines: Sequence[Bundle], rooms: list[_Room]) -> Seats | None:
    if not engines:
        return []
    engine = engines[0]
    heap = [(-room.holds(engine), index) for index, room in enumerate(rooms)]
    heapq.heapify(heap)
    seats: Seats = []
    for _ in engines:
        held, index = heap[0]
        if held == 0:
            return None
        heapq.heapreplace(heap, (held + 1, index))
        rooms[index].take(engine)
        seats.append(rooms[index].node)
    return seats


def missing(
    learner: Sequence[Bundle], engines: Sequence[Bundle], resources: Resources
) -> PlanError:
    """Why ``seat`` found no layout: the first cause that a person can do something about."""
    parts = f"{len(engines)} engines, {len(learner)} learner ranks"
    lower = "Lower engine.num_engines, engine.tensor_parallel or learner.world_size, or add nodes"
    for what, bundles, key in (
        ("learner rank", learner, "cluster.learner_accelerator"),
        ("engine", engines, "cluster.engine_accelerator"),
    ):
        if not bundles:
            continue
        bundle = bundles[0]
        fitting = [n for n in resources.nodes if bundle.accelerator in (None, n.accelerator)]
        if not fitting:
            return PlanError(
                f"{key}={bundle.accelerator}: no node has one, Ray has {resources}. Leave it out, "
                f"or add such a node"
            )
        needed = sum(bundle.gpus for bundle in bundles)
        there = sum(node.gpus for node in fitting)
        if bundle.accelerator and needed > there:
            return PlanError(
                f"the plan needs {needed:g} GPUs of {key}={bundle.accelerator} "
                f"({len(bundles)} {what}s) and Ray has {there:g}: {needed - there:g} are missing. "
                f"{lower}"
            )
    for what in ("gpus", "cpus"):
        needed = sum(getattr(bundle, what) for bundle in (*learner, *engines))
        there = getattr(resources, what)
        if needed > there:
            return PlanError(
                f"the plan needs {needed:g} {what[:-1].upper()}s ({parts}) and Ray has {there:g}: "
                f"{needed - there:g} are missing. {lower}"
            )
    for what, bundles in (("engine", engines), ("learner rank", learner)):
        for unit in ("gpus", "cpus"):
            needed = getattr(bundles[0], unit) if bundles else 0
            largest = max((getattr(node, unit) for node in resources.nodes), default=0)
            if needed > largest:
                return PlanError(
                    f"one {what} needs {needed:g} {unit[:-1].upper()}s of the same node, and the "
                    f"largest node has {largest:g}. Lower engine.tensor_parallel, or add larger "
                    f"nodes"
                )
    if not engines:
        return PlanError(f"{parts} do not fit on {resources}. {lower}")
    fit = max(0, most_engines(learner, engines[0], resources, len(engines)))
    return PlanError(
        f"the plan needs {len(engines)} engines of {engines[0].gpus:g} GPUs and "
        f"{engines[0].cpus:g} CPUs on one node each, and beside {len(learner)} learner ranks the "
        f"nodes have room for {fit}: {len(engines) - fit} are missing, though GPUs are not. {lower}"
    )
