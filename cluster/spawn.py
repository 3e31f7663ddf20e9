"""The only place where a plain class becomes a Ray actor."""

import importlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.engine import EngineDied
from configs.errors import PartDied
from configs.secrets import RedactingFormatter, secrets_of
from verifiers.parent import die_with_parent
from verifiers.weights_file import WeightsRefused


class ActorFailed(RuntimeError):
    """A part of the run died or refused; the message is the cause in one line."""


class ActorDied(ActorFailed, PartDied):
    """The process of the very part that was asked is gone. When a part behind it is, that is an
    ``ActorFailed`` of it."""


class Hosted:
    """What really runs in the actor's process: it imports the class there and hands calls on.

    The driver names the class and never imports it, so it stays free of torch and vLLM.
    """

    def __init__(
        self,
        name: str,
        log_dir: str | None,
        cores: tuple[int, ...],
        class_path: str,
        args: tuple[Any, ...],
    ) -> None:
        die_with_parent(os.getppid())  # the raylet, which dies with a private Ray's driver
        if cores:
            _pin(cores)  # before the class's libraries start threads, which then inherit it
        if log_dir is not None:
            _log_to(Path(log_dir) / f"{name}.log")
        module, _, class_name = class_path.partition(":")
        self._name = name
        self._part = getattr(importlib.import_module(module), class_name)(*args)

    async def pid(self) -> int:
        return os.getpid()

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await getattr(self._part, method)(*args, **kwargs)
        except Exception:
            logging.getLogger(__name__).exception("%s failed in %s", self._name, method)
            raise


class Remote:
    """A hosted part's methods as plain coroutines: ``await remote.put(x)``."""

    def __init__(self, name: str, handle: Any) -> None:
        self._name = name
        self._handle = handle

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):  # never proxy what pickle looks for
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return await self._handle.call.remote(method, *args, **kwargs)
            except RayTaskError as error:
                raise _explained(self._name, method, error) from error
            except RayActorError as error:
                reason = " ".join(str(error).split())[:300]
                raise ActorDied(f"{self._name} died during {method}: {reason}") from error

        return call


def spawn(
    class_path: str,
    *args: Any,
    name: str,
    num_cpus: float,
    num_gpus: float = 0,
    turn: int | None = None,
    cores: tuple[int, ...] = (),
    environment: dict[str, str] | None = None,
    log_dir: Path | None = None,
) -> Any:
    """``spawn("actors.replay:ReplayQueue", …)``: the object, in a process of its own, on these
    ``cores`` of its node when there are any."""
    options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    if turn is not None:
        options["scheduling_strategy"] = _node_of(turn)
    actor = ray.remote(runtime_env={"env_vars": environment or {}}, **options)(Hosted)
    handle = actor.remote(name, str(log_dir) if log_dir else None, cores, class_path, args)
    return Remote(name, handle)


def _node_of(turn: int) -> NodeAffinitySchedulingStrategy:
    """Neither Ray's SPREAD nor a soft affinity keeps actors apart that ask for no CPU."""
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
    return NodeAffinitySchedulingStrategy(nodes[turn % len(nodes)], soft=False)


async def processes(remotes: Iterable[Any]) -> dict[str, int]:
    """Name to process id: for whoever has to look at, or kill, one part of a run."""
    return {remote._name: await remote._handle.pid.remote() for remote in remotes}


def kill(remote: Any) -> None:
    ray.kill(remote._handle, no_restart=True)


def _explained(name: str, method: str, error: RayTaskError) -> Exception:
    """A deadline or a refusal from deeper down keeps its own words; the rest says where it was."""
    cause = error.cause if isinstance(error.cause, Exception) else error
    if isinstance(cause, ActorFailed):  # of a part behind this one, which itself goes on
        return ActorFailed(_first_line(cause))
    if isinstance(cause, (EngineDied, TimeoutError, WeightsRefused)):
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
