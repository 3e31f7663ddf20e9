"""Publications of a real sharded learner, read the way an engine reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_llama import write_tiny_llama

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def ranks(request, tmp_path_factory) -> list[dict[str, Any]]:
    folder, number = tmp_path_factory.mktemp("publish"), request.param
    write_tiny_llama(folder / "model", seed=0, spread=0.05)
    command = [sys.executable, "-m", "tests.integration.publish_cases"]
    processes = [
        subprocess.Popen([*command, str(rank), str(number), str(folder)], cwd=ROOT, env=os.environ)
        for rank in range(number)
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0] * number
    finally:
        for process in processes:
            process.kill()
    return [json.loads((folder / f"results-{rank}.json").read_text()) for rank in range(number)]


@pytest.fixture(params=[0, 1], ids=["first stage", "second stage"])
def stage(request, ranks) -> str:
    """0 and 3 with one rank, 2 and 3 offloaded with two."""
    return [name for name in ranks[0] if name.startswith("chain")][request.param]


def kinds(row: dict[str, Any]) -> list[str]:
    return [Path(file["path"]).name for file in row["weights"]["files"]]


def test_engines_reach_the_bits_of_the_learner_one_version_at_a_time_or_from_any_other(
    ranks, stage
):
    rows = ranks[0][stage]["rows"][:8]

    for row in rows:
        assert row["follower"] == row["weights"]["fingerprint"] == row["truth"]
    assert rows[2]["jumper"] == rows[2]["truth"]
    assert rows[7]["jumper"] == rows[7]["truth"]
    assert rows[6]["newcomer"] == rows[6]["truth"]
    assert len({row["truth"] for row in rows}) == 8


def test_what_changed_is_sent_until_all_weights_are_due_or_asked_for(ranks, stage):
    rows = ranks[0][stage]["rows"]

    assert kinds(rows[0]) == ["v000000.safetensors"]
    assert kinds(rows[1]) == ["v000000.safetensors", "v000001.delta"]
    assert kinds(rows[2]) == ["v000000.safetensors", "v000001.delta", "v000002.delta"]
    assert kinds(rows[3]) == ["v000003.safetensors"]
    assert kinds(rows[5]) == ["v000005.safetensors"]
    assert kinds(rows[6]) == ["v000005.safetensors", "v000006.delta"]
    full, delta = rows[0]["weights"]["num_bytes"], rows[1]["weights"]["num_bytes"]
    assert delta < full / 5
    assert [file["num_bytes"] for file in rows[1]["weights"]["files"]] == [full, delta]


def test_changes_that_are_too_many_fall_back_to_all_weights(ranks, stage):
    row = ranks[0][stage]["rows"][7]

    if stage == "chain 0":
        assert kinds(row) == ["v000007.safetensors"]
    else:
        assert kinds(row)[-1] == "v000007.delta"


def test_the_chain_before_is_kept_for_one_publication_more_and_nothing_else(ranks, stage):
    rows = ranks[0][stage]["rows"]

    assert rows[3]["files"] == [
        "v000000.safetensors",
        "v000001.delta",
        "v000002.delta",
        "v000003.safetensors",
    ]
    assert rows[4]["files"] == ["v000003.safetensors", "v000004.delta"]


@pytest.mark.row(22)
def test_weights_that_are_not_finite_are_refused_by_every_rank_and_the_next_is_complete(
    ranks, stage
):
    for rank in ranks:
        assert rank[stage]["rows"][8]["refused"] == (
            "weights of version 8 are not finite: not published"
        )
    again = ranks[0][stage]["after a refusal"]
    assert kinds(again) == ["v000009.safetensors"]
    assert again["follower"] == again["truth"]


def test_every_rank_says_the_same(ranks, stage):
    said = [
        [{**row["weights"], "published_us": 0} for row in rank[stage]["rows"][:8]] for rank in ranks
    ]

    assert all(rank == said[0] for rank in said)


def test_no_more_than_two_buckets_are_held(ranks, stage):
    for row in ranks[0][stage]["rows"][:8]:
        assert row["buckets"] > 5
        assert row["most held"] <= 1  # beside the one about to be gathered


def test_files_in_shared_memory_are_private_and_go_with_the_learner(ranks):
    assert ranks[0]["shm"] == {
        "in memory": True,
        "mode": 0o700,
        "read": True,
        "kinds": [".safetensors", ".delta"],
        "is left": False,
    }


def test_a_stream_reaches_every_engine_and_a_file_whoever_comes_late(ranks):
    assert ranks[0]["gloo"] == {
        "received": {"1": [True, True], "2": [True, True]},
        "is streamed": [True, False],
        "files": [0, 1],
        "whole": True,
    }
