"""Start or join Ray, and say what it has."""

import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from cluster import ray_auth
from cluster.nodes import Node, Resources
from cluster.plan import Plan, make_plan
from cluster.ray_job import is_ray_job
from cluster.spawn import ACCELERATOR
from configs.errors import UserError
from configs.failpoints import FIRED_DIR, SPECS
from configs.schema import RunConfig

CONNECT_S = 5.0


def joins_cluster(config: RunConfig) -> bool:
    """A private Ray unless the configuration, or the job we are, says otherwise."""
    address = config.cluster.address
    return address != "local" and (address is not None or is_ray_job())


def connect(config: RunConfig) -> Resources:
    """``local`` never attaches to a Ray that happens to run on this machine."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if joins_cluster(config):
        _join(config.cluster.address or "auto", quiet)
    else:
        ray_auth.lock_private(os.environ)
        here = this_machine(config)
        # Its workers import numpy, which counts threads then, before they know whose they will be.
        with added(actor_environment(config, make_plan(config, gpus_seen=here.gpus))):
            ray.init(address="local", num_cpus=int(here.cpus), include_dashboard=False, **quiet)
        ray_auth.require_locked(os.environ)
    return registered()


@contextmanager
def added(environment: Mapping[str, str]) -> Iterator[None]:
    """What is started inside inherits it; what else is set there stays."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def registered() -> Resources:
    """The nodes that Ray has just now, in the order of their names."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    names = Counter(node["NodeManagerHostname"] for node in alive)
    nodes = [
        Node(
            name=_name(node, is_alone=names[node["NodeManagerHostname"]] == 1),
            id=node["NodeID"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            accelerator=_accelerator(node["Resources"]),
        )
        for node in alive
    ]
    free = ray.available_resources()
    return Resources(
        nodes=tuple(sorted(nodes, key=lambda node: node.name)),
        free_cpus=free.get("CPU", 0.0),
        free_gpus=free.get("GPU", 0.0),
    )


def _name(node: dict[str, Any], *, is_alone: bool) -> str:
    """Several Rays on one machine are told apart by their ids."""
    host = node["NodeManagerHostname"]
    return host if is_alone else f"{host}/{node['NodeID'][:6]}"


def _accelerator(resources: dict[str, float]) -> str | None:
    kinds = [key.removeprefix(ACCELERATOR) for key in resources if key.startswith(ACCELERATOR)]
    return kinds[0] if kinds else None


def _join(address: str, quiet: dict[str, Any]) -> None:
    """A Ray that others started. What ``auto`` is the environment may say, else Ray looks it up."""
    known = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if known != "auto":
        ray_auth.require_closed(known, os.environ)
        _require_listener(known)
    try:
        ray.init(address=address, **quiet)
    except AuthenticationError as error:
        raise ray_auth.unwelcome(known, os.environ) from error
    except ConnectionError as error:
        if isinstance(error.__cause__, AuthenticationError):
            raise ray_auth.unwelcome(known, os.environ) from error
        raise _no_ray(address) from error
    if known == "auto":
        ray_auth.require_closed(ray.get_runtime_context().gcs_address, os.environ)


def require_free_port(config: RunConfig) -> None:
    """With a private Ray the ranks meet here, so a taken port is told before anything starts."""
    port = config.cluster.learner_port
    if port is None or joins_cluster(config):
        return
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"cluster.learner_port={port} is in use; choose another, or leave it out for a "
                f"free one"
            ) from error


def _require_listener(address: str) -> None:
    """Ray itself would go on trying for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host:
        return  # ``auto``, or a ray:// address, which Ray looks up itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise _no_ray(address) from error
    ray_auth.require_welcome(address, os.environ)


def _no_ray(address: str) -> UserError:
    return UserError(
        f"no Ray answers at cluster.address={address!r}; start one with `ray start --head`, "
        f"or leave cluster.address out for a private one"
    )


def disconnect() -> None:
    ray.shutdown()


def this_machine(config: RunConfig) -> Resources:
    """What a private Ray has here, asked without starting one.

    CPUs are only counted: on two cores an engine and a few learner ranks may well share, and so may
    the engines that ``laconic scale`` adds, up to one more for every core.
    """
    parts = config.engine.num_engines + config.learner.world_size
    return Resources.one(float(parts + (os.cpu_count() or 1)), gpus_here())


def gpus_here() -> float:
    """GPUs that a private Ray would see; asked without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return float(len([device for device in visible.split(",") if device.strip()]))
    return float(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))


def cores_here() -> tuple[int, ...]:
    """Those that this process, and what it starts, may use."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def actor_environment(config: RunConfig, plan: Plan) -> dict[str, str]:
    """What every actor's process needs to know, whoever started its raylet."""
    environment = {
        # DeepSpeed's compiled kernels belong to this environment and no other.
        "TORCH_EXTENSIONS_DIR": str(Path(sys.prefix) / "torch_extensions"),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if plan.device == "cpu":
        environment["OMP_NUM_THREADS"] = str(config.cluster.threads)
        # torch gives every large tensor pages of its own and gives them back at once: with pages of
        # 2 MiB instead of 4 KiB the system has an eighth as many faults to serve.
        environment["THP_MEM_ALLOC_ENABLE"] = "1"
    passed_on = ("HF_HUB_OFFLINE", "HF_HOME", "LACONIC_CACHE", "XDG_CACHE_HOME", SPECS, FIRED_DIR)
    for name in passed_on:
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment
