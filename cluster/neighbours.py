"""What the loop needs of its neighbours, and what they tell each other; not how they do it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.tickets import Tickets
from verifiers.types import GroupOutcome, Lease, PublishedWeights, Room, Ticket

Issued = Mapping[str, Any]
"""A ticket as the queue's log has it."""


class LearnerLost(RuntimeError):
    """A rank of the learner is gone, and so is the learner; why that is."""


class NothingToLearn(RuntimeError):
    """Hardly anything is accepted, for so long that it is no chance."""


class Draws(Protocol):
    def draw(self, number: int, version: int) -> Ticket | None: ...
    def again(self, record: Issued) -> Ticket: ...
    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]: ...


class Queues(Protocol):
    async def num_issued(self) -> int: ...
    async def room(self, number: int) -> Room: ...
    async def issue(self, ticket: Ticket) -> int | None: ...
    async def issue_all(self, tickets: Sequence[Ticket]) -> list[int | None]: ...
    async def end_of_data(self, number: int) -> None: ...
    async def lease(self, step: int, *, as_it_is: bool = False) -> Lease: ...
    async def ack(self, lease: Lease, *, skipped: bool) -> None: ...
    async def published(self, version: int) -> None: ...
    async def give_up(self, ticket: Ticket, why: str) -> int: ...


class Engines(Protocol):
    """All engines of the run, however many these are just now."""

    async def generate(self, desk: "Desk") -> None:
        """Write what the tickets ask for, for ever. Raises when no engine is left."""
        ...

    async def load(self, weights: PublishedWeights) -> Sequence["Loaded"]:
        """Returns when all that write do so with these weights, and at least one does."""
        ...

    async def resize(self, wanted: int) -> None:
        """Add engines, or let the last ones leave; returns at once."""
        ...


class Loaded(Protocol):
    """What an engine says of a swap of its weights."""

    @property
    def stall_s(self) -> float: ...
    @property
    def prepare_s(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def in_flight(self) -> int: ...


class Stepped(Protocol):
    """What the learner says of one optimizer step."""

    @property
    def skipped(self) -> bool: ...
    @property
    def diverged(self) -> bool: ...


class Learns(Protocol):
    """Any of these raises ``LearnerLost`` when it is gone."""

    async def step(self, lease: Lease) -> Stepped: ...
    async def publish(self, version: int, *, whole: bool = False) -> PublishedWeights: ...
    async def send(self, engines: int) -> None: ...


class Reports(Protocol):
    async def waiting(self, lease: Lease) -> None: ...
    async def alarm(self, step: int, text: str) -> None: ...
    async def stepped(self, lease: Lease, metrics: Stepped, times: "StepTimes") -> None: ...
    async def synced(self, weights: PublishedWeights, loads: Sequence[Loaded]) -> None: ...
    async def heartbeat(self) -> None: ...
    async def ended(self, why: str) -> None: ...


class Guards(Protocol):
    """Sees to it that accuracy is not lost."""

    @property
    def is_on(self) -> bool: ...
    @property
    def wants_back(self) -> bool:
        """The weights are to be good ones again, after the next step."""
        ...

    @property
    def is_over(self) -> bool:
        """The run is to end, with the weights that it has."""
        ...

    def is_point(self, version: int) -> bool:
        """Whether the version is to be looked at and committed."""
        ...

    async def look(self, version: int) -> None:
        """At what the engines hold, which is this version."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Microseconds since the epoch: the phases of one turn of ``learn``, end to end."""

    asked_us: int
    leased_us: int
    stepped_us: int
    published_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where engines find what they are to do, and what they lack."""

    tickets: Tickets
    issue: Callable[[Ticket], Awaitable[int | None]]
    """Leave to write a ticket again: the number of the attempt. None: it is settled after all."""
    give_up: Callable[[Ticket, str], Awaitable[int]]
    """Nobody can write this ticket, and why; returns how many there are of that kind."""
    whole: Callable[[], Awaitable[PublishedWeights]]
    """The learner's weights in full, in a file, for an engine that cannot use what was sent."""
    send: Callable[[int], Awaitable[None]]
    """Stream what was published last to that many engines, which are receiving it."""
