"""A run over several nodes, real raylets of this machine: one dies, one comes, all is kept."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ray.cluster_utils import Cluster

from cluster.check import check
from tests.integration.conftest import ROOT, World, command
from tests.integration.heads import free_ports
from tests.integration.runs import events, processes, records, wait_until
from tests.unit.test_metrics import QUERY, panels

pytestmark = pytest.mark.long

NOT_OF_A_SHORT_RUN = {
    "ray_laconic_eval_accuracy",
    "ray_laconic_eval_mean_tokens",
    "ray_laconic_skipped_steps_total",
}
"""It evaluates nothing, and all of its gradients are finite."""


class Machines:
    """Nodes with one CPU each: a learner or an engine fits on one, not both."""

    def __init__(self) -> None:
        self._cluster = Cluster()
        self._ports: list[int] = []
        self.nodes = [self.add() for _ in range(3)]

    @property
    def address(self) -> str:
        assert self._cluster.address is not None
        return self._cluster.address

    def add(self) -> Any:
        [port] = free_ports(1)
        self._ports.append(port)
        return self._cluster.add_node(num_cpus=1, metrics_export_port=port)

    def kill(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)

    def of(self, pid: int) -> Any:
        """The node whose raylet started this process."""
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return next(node for node in self.nodes if raylet_of(node) == parent)

    def scraped(self) -> dict[str, list[dict[str, str]]]:
        """Name of every series of ours to the labels that it was seen with."""
        found: dict[str, list[dict[str, str]]] = {}
        for port in self._ports:
            try:
                url = f"http://127.0.0.1:{port}/metrics"
                text = urllib.request.urlopen(url, timeout=10).read().decode()
            except OSError:
                continue  # of the node that was killed
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    if sample.name.startswith("ray_laconic"):
                        found.setdefault(sample.name, []).append(sample.labels)
        return found

    def close(self) -> None:
        self._cluster.shutdown()


def raylet_of(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


@pytest.fixture
def machines() -> Iterator[Machines]:
    made = Machines()
    try:
        yield made
    finally:
        made.close()


def train(machines: Machines, world: World, output: Any, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(
            "train", "tiny", *world.settings, "name=nodes", f"cluster.address={machines.address}",
            "engine.num_engines=2", "engine.min_engines=1", "engine.max_engines=2",
            "checkpoint.every=5", *more,
        ),
        cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.timeout(900)
def test_a_node_dies_and_another_one_comes_and_nothing_is_lost(
    machines: Machines, world: World, tmp_path: Path
):
    run_dir, log = world.run_dir("nodes"), tmp_path / "log"

    def after(count: int) -> bool:
        return run_dir.is_dir() and len(records(run_dir, "ack")) >= count

    with log.open("wb") as output:
        run = train(machines, world, output, "steps=5000")

        def wait(ready: Any, what: str) -> Any:
            found = wait_until(lambda: run.poll() is not None or ready(), what, 240)
            assert run.poll() is None, log.read_text()
            return found

        def wait_for_two_steps(how: str) -> None:
            goal = len(records(run_dir, "ack")) + 2
            wait(lambda: after(goal), f"two steps {how}")

        try:
            wait(lambda: after(2), "two steps")
            where = {
                name: machines.of(pid)
                for name, pid in processes(run_dir).items()
                if name != "driver"
            }
            learner, driver = where["learner-0"], where["queue"]
            generators = [where["generator-0"], where["generator-1"]]
            assert len({id(node) for node in (learner, *generators)}) == 3
            assert where["recorder"] is driver
            victim = next(node for node in generators if node is not driver)
            machines.kill(victim)
            wait(lambda: events(run_dir, "engine_lost"), "the engine to be missed")
            wait_for_two_steps("with one engine")

            machines.nodes.append(machines.add())
            wait(lambda: events(run_dir, "engine_joined"), "an engine on the new node")
            joined = events(run_dir, "engine_joined")[-1]
            assert machines.of(joined["pid"]) is machines.nodes[-1]
            wait_for_two_steps("with two engines again")
            seen = machines.scraped()

            run.send_signal(signal.SIGTERM)
            assert run.wait(timeout=120) == 75
        finally:
            run.kill()
    steps = len(records(run_dir, "ack"))
    with log.open("ab") as output:
        assert train(machines, world, output, f"steps={steps + 2}", "--resume").wait(300) == 0
    text = log.read_text()
    print(text)

    assert json.loads((run_dir / "summary.json").read_text())["steps"] == steps + 2
    assert check(run_dir).violations == []
    every_query_has_data(seen)


def every_query_has_data(seen: dict[str, list[dict[str, str]]]) -> None:
    """Of the board, in what Prometheus would have scraped."""
    for panel in panels():
        for target in panel["targets"]:
            for name, _ in QUERY.findall(target["expr"]):
                if name in NOT_OF_A_SHORT_RUN:
                    continue
                assert name in seen, f"{panel['title']}: nothing exports {name}"
                shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
                for labels in seen[name]:
                    assert labels["run"] == "nodes"
                    assert set(shown) <= set(labels), (panel["title"], labels)
