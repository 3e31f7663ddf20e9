"""A whole run on one GPU, engine and learner side by side."""

import json

import pytest
import torch

from cluster.check import check
from tests.integration.conftest import Laconic, World

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def test_engine_and_learner_share_a_gpu(laconic: Laconic, world: World):
    done = laconic(
        "train", "tiny", *world.settings, "name=shared", "steps=3", "cluster.device=cuda",
        "cluster.placement=shared", "engine.gpu_memory_utilization=0.3",
    )  # fmt: skip

    assert done.returncode == 0
    run_dir = world.run_dir("shared")
    assert json.loads((run_dir / "summary.json").read_text())["steps"] == 3
    assert check(run_dir).violations == []
