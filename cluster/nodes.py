"""The machines of a cluster, and whose place is on which. Pure: numbers in, a layout out."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from configs.errors import UserError

SHAPE = re.compile(r"(?:(\d+)x)?(\d+)(?::([A-Za-z0-9_.-]+))?(?:/(\d+))?")
CPUS_PER_GPU = 8
MAX_NODES = 100_000


class PlanError(UserError):
    """The resources do not carry the plan; one line that says what is missing and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    """What a person calls it; no two are called the same."""
    id: str = ""
    """What Ray calls it."""
    cpus: float
    gpus: float = 0
    accelerator: str | None = None
    """Ray's name for its GPUs, such as ``H100``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    nodes: tuple[Node, ...]
    free_cpus: float | None = None
    """Of all nodes together, when somebody else may use them as well."""
    free_gpus: float | None = None

    @classmethod
    def one(cls, cpus: float, gpus: float) -> "Resources":
        """A single machine."""
        return cls(nodes=(Node(name="here", cpus=cpus, gpus=gpus),))

    @property
    def cpus(self) -> float:
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        return sum(node.gpus for node in self.nodes)

    def __str__(self) -> str:
        """``2 nodes, 64 CPUs, 16 GPUs (8 A100, 8 H100)``."""
        kinds = Counter[str]()
        for node in self.nodes:
            if node.gpus and node.accelerator:
                kinds[node.accelerator] += int(node.gpus)
        named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return (
            f"{len(self.nodes)} node{'s' * (len(self.nodes) != 1)}, {self.cpus:g} CPUs, "
            f"{self.gpus:g} GPUs{f' ({named})' if named else ''}"
        )


def parse_shape(text: str) -> Resources:
    """``2x8:H100+4x0/16``: two nodes with 8 H100 each, and four with 16 CPUs and no GPU."""
    nodes: list[Node] = []
    for part in text.split("+"):
        match = SHAPE.fullmatch(part.strip())
        if match is None:
            raise UserError(
                f"{part!r} is no kind of node: write NODESxGPUS, with :ACCELERATOR and /CPUS "
                f"behind it if you like, such as 2x8:H100 or 4x0/16, and + between kinds"
            )
        count, gpus = int(match[1] or 1), int(match[2])
        cpus = int(match[4]) if match[4] else max(CPUS_PER_GPU, CPUS_PER_GPU * gpus)
        if not 0 < len(nodes) + count <= MAX_NODES:
            raise UserError(f"{text!r} has {len(nodes) + count} nodes: give 1 to {MAX_NODES}")
        nodes += [
            Node(name=f"node-{len(nodes) + i + 1}", cpus=cpus, gpus=gpus, accelerator=match[3])
            for i in range(count)
        ]
    return Resources(nodes=tuple(nodes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is reserved together on one node: for one part, or for two that share a GPU."""

    parts: tuple[str, ...]
    cpus: float
    gpus: float
    accelerator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which bundle lies on which node. ``learner[i]`` is what ``learner_nodes[i]`` holds."""

    resources: Resources
    learner: tuple[Bundle, ...]
    learner_nodes: tuple[Node, ...]
    engines: tuple[Bundle, ...]
    engine_nodes: tuple[Node, ...]

    @property
    def seats(self) -> Iterator[tuple[Node, Bundle]]:
        yield from zip(self.learner_nodes, self.learner, strict=True)
        yield from zip(self.engine_nodes, self.engines, strict=True)

    def draw(self) -> list[str]:
        """A line for each node; those without a part are only counted."""
        held: dict[str, list[Bundle]] = {}
        for node, bundle in self.seats:
            held.setdefault(node.name, []).append(bundle)
        used = [node for node in self.resources.nodes if node.name in held]
        width = max(len(node.name) for node in used)
        lines = [f"{node.name:<{width}}  {_drawn(node, held[node.name])}" for node in used]
        idle = len(self.resources.nodes) - len(used)
        return lines + ([f"and {idle} of {len(self.resources.nodes)} nodes idle"] if idle else [])


def _drawn(node: Node, bundles: Sequence[Bundle]) -> str:
    """``learner 0-3 · generator 0,2 on 2 GPUs each · 8 of 8 GPUs H100, 6 of 64 CPUs``."""
    numbers: dict[str, list[int]] = {}
    for bundle in bundles:
        names = [part.rpartition("-") for part in bundle.parts]
        kind = " + ".join(name for name, _, _ in names)
        kind += f" on {bundle.gpus:g} GPUs each" if bundle.gpus > 1 else ""
        numbers.setdefault(kind, []).append(int(names[0][2]))
    parts = []
    for kind, found in numbers.items():
        name, on, amount = kind.partition(" on ")
        parts.append(f"{name} {_ranges(found)}{on}{amount}")
    cpus, gpus = sum(b.cpus for b in bundles), sum(b.gpus for b in bundles)
    of_gpus = f"{gpus:g} of {node.gpus:g} GPUs {node.accelerator or ''}".rstrip() + ", "
    return f"{' · '.join(parts)} · {of_gpus if node.gpus else ''}{cpus:g} of {node.cpus:g} CPUs"


def _ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 5]`` is ``0-2,5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
