"""From a checked configuration to a running job: prepare, connect, train, disconnect."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.enough import wait_for_room
from cluster.live import Display, open_live
from cluster.mirror import require_mirror
from cluster.nodes import Layout, Resources
from cluster.plan import Plan, fit, make_plan, with_types
from cluster.prepare import needed_bytes, prepare
from cluster.ray_session import (
    connect,
    cores_here,
    disconnect,
    joins_cluster,
    registered,
    require_free_port,
)
from cluster.run_dir import locate, require_space
from cluster.train import Job, train
from configs.processor import computes_bfloat16
from configs.schema import RunConfig


def launch(
    config: RunConfig, preset: str, *, resume: bool, sources: Mapping[str, str]
) -> tuple[dict[str, Any], Path]:
    """Train and return the summary and the run's folder. The folder appears when all is checked.
    ``sources``: of ``configs.load``."""
    run_dir = locate(config, preset, resume=resume)
    if resume:
        run_dir.hold()
    with open_live(sys.stdout) as display:
        if (summary := run_dir.summary_if_done(config.steps)) is not None:
            display.note(f"{run_dir.path} has finished its steps; raise steps=… to go on")
            return summary, run_dir.path
        prepared = prepare(config, lambda line: display.progress("preparing", line))
        run_dir.require_same(prepared.fingerprints)
        for warning in prepared.warnings:
            display.note(f"warning: {warning}")
        display.note(prepared.summary)
        require_free_port(config)
        if config.mirror.url is not None:
            require_mirror(config.mirror.url, run_dir.path)
        require_space(run_dir.path, needed_bytes(config, prepared.model_dir))
        try:
            display.progress("starting", "Ray")
            connect(config)
            plan, layout = _find_room(config, display)
            run_dir.create(config, preset, prepared.fingerprints, sources)
            display.note(f"run directory: {run_dir.path}")
            job = Job(
                config=with_types(config, plan.device, has_bfloat16=computes_bfloat16()),
                plan=plan,
                layout=layout,
                run_dir=run_dir,
                prepared=prepared,
                display=display,
            )
            return asyncio.run(train(job)), run_dir.path
        finally:
            disconnect()


def _find_room(config: RunConfig, display: Display) -> tuple[Plan, Layout]:
    """A cluster may still be growing; a private Ray has what it has."""

    def fitted(resources: Resources) -> tuple[Plan, Layout]:
        return fit(
            make_plan(config, gpus_seen=resources.gpus, cores=cores_here()), config, resources
        )

    patience = config.cluster.resources_timeout_s if joins_cluster(config) else 0.0
    return wait_for_room(registered, fitted, display.note, patience)
