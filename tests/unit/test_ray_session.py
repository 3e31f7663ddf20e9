"""What a Ray of our own is started with."""

import os

import pytest

from cluster import ray_session
from configs.load import load


def test_the_workers_of_a_private_ray_have_the_environment_of_parts_from_their_start(
    monkeypatch: pytest.MonkeyPatch,
):
    inherited: dict[str, str] = {}

    def init(**_: object) -> None:
        inherited.update(os.environ)
        monkeypatch.setenv("RAY_SET_THIS", "1")

    monkeypatch.setattr(ray_session.ray, "init", init)
    monkeypatch.setattr(ray_session, "registered", lambda: None)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)

    ray_session.connect(load("tiny", ["cluster.threads=3", "cluster.device=cpu"]))

    assert inherited["OMP_NUM_THREADS"] == "3"
    assert inherited["THP_MEM_ALLOC_ENABLE"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7", "this process counts its threads as before"
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ
    assert os.environ["RAY_SET_THIS"] == "1", "what Ray itself has set is still there"
