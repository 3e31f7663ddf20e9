"""Start or join Ray, and say what it has."""

import logging
import os
import sys
from pathlib import Path

import ray

from cluster.plan import Plan, Resources
from configs.schema import RunConfig

ROOT = Path(__file__).resolve().parent.parent


def joins_cluster(config: RunConfig) -> bool:
    """A private Ray unless the configuration, or the job we are, says otherwise."""
    address = config.cluster.address
    return address != "local" and (address is not None or "RAY_JOB_ID" in os.environ)


def connect(config: RunConfig) -> Resources:
    """``local`` never attaches to a Ray that happens to run on this machine."""
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if joins_cluster(config):
        try:
            ray.init(address=config.cluster.address or "auto", **quiet)
        except ConnectionError as error:
            raise ConnectionError(
                f"no Ray answers at cluster.address={config.cluster.address or 'auto'!r}; "
                f"start one with `ray start --head`, or leave cluster.address out for a private one"
            ) from error
    else:
        # Logical CPUs: on two cores an engine and a few learner ranks may well share.
        parts = config.engine.num_engines + config.learner.world_size
        cpus = max(os.cpu_count() or 1, parts)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
    there = ray.cluster_resources()
    return Resources(cpus=there.get("CPU", 0.0), gpus=there.get("GPU", 0.0))


def disconnect() -> None:
    ray.shutdown()


def gpus_here() -> float:
    """GPUs that a private Ray would see; asked without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return float(len([device for device in visible.split(",") if device.strip()]))
    return float(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))


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
    for name in ("HF_HUB_OFFLINE", "HF_HOME", "LACONIC_CACHE", "XDG_CACHE_HOME"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return environment
