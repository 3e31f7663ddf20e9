"""The only place where a plain class becomes a Ray actor."""

import asyncio
import faulthandler
import importlib
import io
import logging
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.engine import EngineDied
from cluster.nodes import Bundle, Node
from configs.errors import LeaseLost, PartDied
from configs.secrets import RedactingFormatter, secrets_of
from verifiers.parent import die_with_parent
from verifiers.weights_file import WeightsRefused

BACK_OFF_S = 1.0
"""Before a part that died starts again."""

ASK_AGAIN_S = 0.2

NODE_ID = "ray.io/node-id"

ACCELERATOR = "accelerator_type:"
"""What Ray calls its resource of a node with such GPUs, before their name."""

SOME = 0.001
"""Of that resource, of which every such node has one: it only has to be there."""


class ActorFailed(RuntimeError):
    """A part of the run died or refused; the message is the cause in one line."""


class ActorDied(ActorFailed, PartDied):
    """The process of the very part that was asked is gone. When a part behind it is, that is an
    ``ActorFailed`` of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revival:
    """Of a part that starts again, in a new process, when its own died."""

    method: str
    """Asked of the new object before anything else."""
    times: int
    wait_s: float
    """Longest wait of a caller for one that is starting again."""


class Hosted:
    """What really runs in the actor's process: it imports the class there and hands calls on.

    The driver names the class and never imports it, so it stays free of torch and vLLM.
    """

    def __init__(
        self,
        name: str,
        log_dir: str | None,
        cores: tuple[int, ...],
        revive: str | None,
        environment: dict[str, str],
        class_path: str,
        args: tuple[Any, ...],
    ) -> None:
        die_with_parent(os.getppid())  # the raylet, which dies with a private Ray's driver
        os.environ.update(environment)  # before the class's libraries read it
        if cores:
            _pin(cores)  # before the class's libraries start threads, which then inherit it
        if log_dir is not None:
            _log_to(Path(log_dir) / f"{name}.log")
        self._reviving = asyncio.Lock()
        self._revive = revive if ray.get_runtime_context().was_current_actor_reconstructed else None
        if self._revive is not None:
            time.sleep(BACK_OFF_S)
        module, _, class_name = class_path.partition(":")
        self._name = name
        self._part = getattr(importlib.import_module(module), class_name)(*args)

    async def pid(self) -> int:
        return os.getpid()

    async def stacks(self) -> str:
        """What every thread and every task of this process does just now."""
        return stacks()

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        async with self._reviving:
            if self._revive not in (None, method):
                await getattr(self._part, self._revive)()
            self._revive = None
        try:
            return await getattr(self._part, method)(*args, **kwargs)
        except Exception:
            logging.getLogger(__name__).exception("%s failed in %s", self._name, method)
            raise


class Remote:
    """A hosted part's methods as plain coroutines: ``await remote.put(x)``.

    A part that starts again is asked again, so its methods must bear to be called twice.
    """

    def __init__(self, name: str, actor_name: str, revival: Revival | None) -> None:
        self.name = name
        self._actor_name = actor_name
        self._revival = revival

    @cached_property
    def _handle(self) -> Any:
        return ray.get_actor(self._actor_name)

    def __reduce__(self) -> Any:
        """Another process looks it up: a handle among the arguments of an actor that Ray is to
        start again would live in an object store that may be gone by then."""
        return Remote, (self.name, self._actor_name, self._revival)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):  # never proxy what pickle looks for
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            gone_since: float | None = None
            while True:
                try:
                    return await self._handle.call.remote(method, *args, **kwargs)
                except RayTaskError as error:
                    raise _explained(self.name, method, error) from error
                except RayActorError as error:
                    gone_since = gone_since or time.monotonic()
                    if not self._comes_back(error, gone_since):
                        raise self._died(method, error) from error
                await asyncio.sleep(ASK_AGAIN_S)

        return call

    def _comes_back(self, error: RayActorError, gone_since: float) -> bool:
        return (
            self._revival is not None
            and isinstance(error, ActorUnavailableError)
            and time.monotonic() - gone_since < self._revival.wait_s
        )

    def _died(self, method: str, error: RayActorError) -> ActorDied:
        again = "" if self._revival is None else f", having started again {self._revival.times}x"
        return ActorDied(f"{self.name} died during {method}{again}: {_reason(error)}")


def _reason(error: RayActorError) -> str:
    """Ray's words without the ids, which it puts before them."""
    said = [line for line in str(error).splitlines() if not line.startswith("\t")]
    return " ".join(" ".join(said[1:] or said).split())[:300]


def spawn(
    class_path: str,
    *args: Any,
    name: str,
    num_cpus: float,
    num_gpus: float = 0,
    accelerator: str | None = None,
    node: str | None = None,
    bundle: tuple[PlacementGroup, int] | None = None,
    cores: tuple[int, ...] = (),
    environment: dict[str, str] | None = None,
    log_dir: Path | None = None,
    revival: Revival | None = None,
) -> Any:
    """``spawn("actors.replay:ReplayQueue", …)``: the object, in a process of its own, on these
    ``cores`` of its node when there are any.

    It goes into the ``bundle`` that was reserved for it, else to this ``node`` while that lives,
    else wherever there is room.
    """
    actor_name = f"{name}.{uuid.uuid4().hex}"
    options: dict[str, Any] = {"name": actor_name, "num_cpus": num_cpus, "num_gpus": num_gpus}
    if revival is not None:
        options["max_restarts"] = revival.times
    if accelerator is not None and num_gpus:
        options["resources"] = {ACCELERATOR + accelerator: SOME}
    if bundle is not None:
        group, index = bundle
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=index
        )
    elif node is not None:
        # Neither Ray's SPREAD nor a soft affinity keeps actors apart that ask for no CPU.
        options["label_selector"] = {NODE_ID: node}
        options["fallback_strategy"] = [{"label_selector": {}}]
    # No environment for Ray: each would import Ray twice to get it, and none would be one of those
    # processes that Ray has started in advance.
    actor = ray.remote(**options)(Hosted)
    log_folder, revive = str(log_dir) if log_dir else None, revival.method if revival else None
    handle = actor.remote(name, log_folder, cores, revive, environment or {}, class_path, args)
    remote = Remote(name, actor_name, revival)
    remote.__dict__["_handle"] = handle  # the one that keeps it alive
    return remote


def node_of_turn(turn: int) -> str:
    """The nodes that are there take turns."""
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    return nodes[turn % len(nodes)]


def node_here() -> str:
    """This process's own."""
    return ray.get_runtime_context().get_node_id()


def reserve(bundles: Sequence[Bundle], nodes: Sequence[Node] | None) -> PlacementGroup:
    """All of them or, for now, none; on these nodes, or close together wherever Ray finds room.
    Returns at once: who is placed in it waits."""
    selectors = None if nodes is None else [{NODE_ID: node.id} for node in nodes]
    return placement_group(
        [_resources(bundle) for bundle in bundles],
        strategy="PACK",
        bundle_label_selector=selectors,  # pyright: ignore[reportArgumentType]  None is its default
    )


def are_alive(nodes: Sequence[Node]) -> bool:
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return {node.id for node in nodes} <= alive


def release(group: PlacementGroup) -> None:
    remove_placement_group(group)


def _resources(bundle: Bundle) -> dict[str, float]:
    asked = {"CPU": bundle.cpus, "GPU": bundle.gpus}
    if bundle.accelerator is not None and bundle.gpus:
        asked[ACCELERATOR + bundle.accelerator] = SOME * len(bundle.parts)
    return {name: amount for name, amount in asked.items() if amount}


async def processes(remotes: Iterable[Any]) -> dict[str, int]:
    """Name to process id: for whoever has to look at, or kill, one part of a run."""
    return {remote.name: await remote._handle.pid.remote() for remote in remotes}


async def answer_of(remote: Any, seconds: float) -> int | None:
    """Its process id; None while there is no process. Raises TimeoutError when it hangs."""
    try:
        async with asyncio.timeout(seconds):
            return await remote._handle.pid.remote()
    except RayActorError:
        return None


async def stacks_of(remote: Any, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return await remote._handle.stacks.remote()
    except (TimeoutError, RayActorError) as error:
        return f"says nothing: {type(error).__name__}\n"


def stacks() -> str:
    """Of every thread and every task of this process."""
    with io.StringIO() as text:
        for task in asyncio.all_tasks():
            task.print_stack(limit=8, file=text)
        tasks = text.getvalue()
    with open(os.memfd_create("stacks"), "w+b") as file:  # it writes to nothing but a real file
        faulthandler.dump_traceback(file)
        file.seek(0)
        return tasks + file.read().decode(errors="replace")


def start_again(remote: Any) -> None:
    """End a process that hangs; Ray starts it again, if it may."""
    ray.kill(remote._handle, no_restart=False)


def kill(remote: Any) -> None:
    ray.kill(remote._handle, no_restart=True)


def _explained(name: str, method: str, error: RayTaskError) -> Exception:
    """A deadline or a refusal from deeper down keeps its own words; the rest says where it was."""
    cause = error.cause if isinstance(error.cause, Exception) else error
    if isinstance(cause, ActorFailed):  # of a part behind this one, which itself goes on
        return ActorFailed(_first_line(cause))
    if isinstance(cause, (EngineDied, LeaseLost, TimeoutError, WeightsRefused)):
        return type(cause)(_first_line(cause))
    words = " ".join(str(cause).split()) or type(cause).__name__
    return ActorFailed(f"{name} failed in {method}: {type(cause).__name__}: {words[:500]}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _pin(cores: tuple[int, ...]) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=path, level=logging.INFO, force=True)
    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    for handler in logging.getLogger().handlers:
        handler.setFormatter(RedactingFormatter(form, secrets_of(os.environ)))
