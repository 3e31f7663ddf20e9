"""The real learner in real processes on gloo, against plain torch in float64."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.integration.learner_cases import (
    LAYOUTS,
    LR,
    SAVING_STAGES,
    STAGES,
    WARMUP,
    mirrored,
)
from tests.integration.learner_variants import (
    BOUNDARY_STAGES,
    LORA_STAGES,
    MASTER_STAGES,
    NUM_UNITS,
    RELOAD_STAGES,
    SUM_STAGES,
    WRONG_SUMS,
)
from tests.tiny_llama import write_tiny_llama

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Group:
    """What the ranks of one learner group measured."""

    ranks: list[dict[str, Any]]
    folder: Path

    def __getitem__(self, case: str) -> Any:
        return self.ranks[0][case]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Group]:
    """By the number of ranks; each is run once."""

    @cache
    def group_of(num_ranks: int) -> Group:
        other = None if num_ranks == 1 else group_of(1).folder
        return run_group(num_ranks, tmp_path_factory.mktemp("learner"), other)

    return group_of


@pytest.fixture(scope="module")
def reloaded(groups: Callable[[int], Group], tmp_path_factory: pytest.TempPathFactory) -> Group:
    """One rank, with what two have saved."""
    return run_group(1, tmp_path_factory.mktemp("learner"), groups(2).folder, job="reload")


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank", "two ranks"])
def group(request: pytest.FixtureRequest, groups: Callable[[int], Group]) -> Group:
    return groups(request.param)


def run_group(num_ranks: int, folder: Path, other: Path | None, job: str = "run") -> Group:
    """``other``: of a group that has worked already."""
    write_tiny_llama(folder / "model", seed=0, spread=0.05)
    settings = json.loads((folder / "model/config.json").read_text())
    settings["dtype"] = "bfloat16"  # as most models say; the learner holds float32 all the same
    (folder / "model/config.json").write_text(json.dumps(settings))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.integration.learner_variants", job]
    folders = [str(folder)] if other is None else [str(folder), str(other)]
    processes = [
        subprocess.Popen([*command, str(rank), str(num_ranks), *folders], cwd=ROOT, env=environment)
        for rank in range(num_ranks)
    ]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0] * num_ranks
    finally:
        for process in processes:
            process.kill()
    files = [folder / f"results-{rank}.json" for rank in range(num_ranks)]
    return Group([json.loads(file.read_text()) for file in files], folder)


@pytest.mark.row(21)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_the_gradient_is_that_of_one_process_however_the_batch_is_split(group, stage, layout):
    assert group[f"gradients {stage}"][f"float32, {layout}"] < 1e-6


@pytest.mark.parametrize("stage", STAGES)
def test_recomputed_activations_give_the_same_gradient(group, stage):
    assert group[f"gradients {stage}"]["float32, recomputed"] < 1e-6


@pytest.mark.parametrize("stage", STAGES)
def test_bf16_computes_the_same_gradient_but_for_rounding(group, stage):
    assert 1e-5 < group[f"gradients {stage}"]["bfloat16, recomputed"] < 5e-2


@pytest.mark.parametrize("stage", ["1", "2", "1 offloaded", "2 offloaded"])
def test_the_canary_sees_a_call_pattern_that_loses_micro_batches(group, stage):
    message = group[f"trap {stage}"]

    assert f"zero_stage={stage[0]} loses gradients" in message
    assert "0.00" in message
    assert "\n" not in message


@pytest.mark.parametrize("stage", STAGES)
def test_two_steps_of_adamw_equal_plain_torch(group, stage):
    run = group[f"run {stage}"]

    assert run["clipped"]
    assert run["weights error"] < 1e-5
    assert run["movement error"] < 1e-3
    assert max(run["loss errors"] + run["norm errors"]) < 1e-5
    assert run["rates"] == pytest.approx([LR / WARMUP, 2 * LR / WARMUP])
    assert run["num_tokens"] == 43


@pytest.mark.row(22)
@pytest.mark.parametrize("stage", STAGES)
def test_a_bad_step_is_skipped_by_all_ranks_and_leaves_no_trace(group, stage):
    # Good, NaN in the loss of one rank, Inf in the gradient of one rank, no rollouts, good.
    for rank in group.ranks:
        assert rank[f"run {stage}"]["skipped"] == [False, True, True, True, False]
    assert group[f"run {stage}"]["untouched"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_learner_continues_with_the_same_bits(group, stage):
    run, resumed = group[f"run {stage}"], group[f"resumed {stage}"]

    assert resumed["hash"] == run["hash"]
    assert resumed["loss"] == run["losses"][1]
    assert resumed["rate"] == run["rates"][1]


@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_before_the_first_step_is_a_start_from_scratch(group, stage):
    """What the optimizer has gathered since is forgotten."""
    run, resumed = group[f"run {stage}"], group[f"resumed {stage}"]

    assert resumed["first loss"] == run["losses"][0]
    assert resumed["first hash"] == run["first hash"]


@pytest.mark.row(26)
@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_keeps_its_bits_at_every_stage_and_with_any_number_of_ranks(group, stage):
    assert group[f"carried {stage}"]["differing"] == []


@pytest.mark.row(26)
@pytest.mark.parametrize("stage", STAGES)
def test_two_ranks_go_on_from_one_as_it_would_have(groups, stage):
    carried = [rank[f"carried {stage}"] for rank in groups(2).ranks]

    uninterrupted = groups(1)[f"run {mirrored(stage)}"]["losses"][1]
    assert [rank["loss"] for rank in carried] == pytest.approx([uninterrupted] * 2, rel=1e-5)
    assert carried[0]["seeded"] == []
    assert "the random generators of rank 1 begin anew from seed 0" in carried[1]["seeded"][0]


@pytest.mark.row(26)
@pytest.mark.parametrize("stage", RELOAD_STAGES)
def test_one_rank_goes_on_from_two_as_they_would_have(groups, reloaded, stage):
    found = reloaded[f"reloaded {stage}"]

    uninterrupted = groups(2)[f"run {mirrored(stage)}"]["losses"][1]
    assert found["differing"] == []
    assert found["loss"] == pytest.approx(uninterrupted, rel=1e-5)


@pytest.mark.row(26)
def test_masters_and_adapters_keep_their_bits_with_another_number_of_ranks(groups, reloaded):
    names = [f"bf16 carried {stage}" for stage in MASTER_STAGES]
    names += [f"lora carried {stage}" for stage in LORA_STAGES]

    assert {name: groups(2)[name] for name in names} == {name: [] for name in names}
    assert reloaded["reloaded bf16"] == []


@pytest.mark.parametrize("stage", SAVING_STAGES)
def test_the_sign_of_zero_is_kept_and_one_rank_holds_what_is_gathered(group, stage):
    *others, last = (rank[f"signs {stage}"] for rank in group.ranks)

    assert last == [True]
    assert not any(others)


@pytest.mark.row(12)
@pytest.mark.parametrize("stage", SAVING_STAGES)
def test_a_full_disk_fails_the_save_and_not_the_learner(group, stage):
    for rank in group.ranks:
        found = rank[f"full disk {stage}"]
        assert found["error"] == errno.ENOSPC
        assert found["forgotten"]
        assert not found["skipped"]
        assert found["differing"] == []


@pytest.mark.parametrize("stage", SAVING_STAGES)
def test_what_is_no_checkpoint_of_this_model_is_refused_in_one_line(group, stage):
    for rank in group.ranks:
        refused = rank[f"refused {stage}"]
        pickled, other = refused["messages"]
        assert "pickled and is not read" in pickled and "model.path=" in pickled
        assert "lacks master/model.norm.weight" in other or "also has master/a.b" in other
        assert "\n" not in pickled + other
        assert refused["untouched"]


def test_a_saved_model_is_a_plain_folder_that_anybody_can_load(group):
    saved = group["saved weights"]

    assert saved["error"] < 1e-5
    assert (saved["dtype"], saved["tied"], saved["decoded"]) == ("torch.float32", True, "17 + 4")


@pytest.mark.parametrize("stage", STAGES)
def test_the_fingerprint_is_that_of_the_file(group, stage):
    first, later = group[f"first fingerprint {stage}"], group[f"run {stage}"]["fingerprints"]

    assert first["claimed"] == first["of the file"] == first["of the source"]
    assert later[0] == later[1] != first["claimed"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_and_rank_publishes_the_same_bytes(group, stage):
    expected = group["first fingerprint 0"]

    assert all(rank[f"first fingerprint {stage}"] == expected for rank in group.ranks)
    assert len(expected["names"]) == expected["tensors"]
    assert "lm_head.weight" not in expected["names"]  # tied: it would be the embedding again


@pytest.mark.parametrize("stage", STAGES)
def test_only_the_two_newest_versions_are_kept(group, stage):
    assert group[f"run {stage}"]["files"] == ["v000002.safetensors", "v000003.safetensors"]


@pytest.mark.row(22)
@pytest.mark.parametrize("stage", STAGES)
def test_weights_that_are_not_finite_are_published_by_no_rank(group, stage):
    assert all(rank[f"run {stage}"]["refused"] for rank in group.ranks)


@pytest.mark.parametrize("stage", STAGES)
def test_ranks_that_read_different_payloads_stop_instead_of_training(group, stage):
    messages = [rank[f"torn apart {stage}"] for rank in group.ranks]

    if len(messages) > 1:
        assert all("different payloads" in message for message in messages)
    else:
        assert messages == [""]


def test_a_deepspeed_that_loses_gradients_is_refused_in_one_line(group):
    assert group["old version"] == (
        "DeepSpeed 0.18.9 can lose gradients: install deepspeed>=0.19.4"
    )


@pytest.mark.parametrize("fault", WRONG_SUMS)
@pytest.mark.parametrize("stage", SUM_STAGES)
def test_a_known_wrong_sum_would_be_seen(group, stage, fault):
    assert group[f"wrong sums {stage}"][fault] > 1e-2


@pytest.mark.parametrize("stage", BOUNDARY_STAGES)
def test_a_forgotten_boundary_would_be_seen(group, stage):
    assert group[f"wrong sums {stage}"]["no boundary"] > 1e-2


@pytest.mark.row(22)
@pytest.mark.parametrize("stage", STAGES)
def test_going_back_after_bad_steps_restores_every_bit(group, stage):
    check_way_back(group[f"way back {stage}"])


@pytest.mark.row(22)
@pytest.mark.parametrize("stage", MASTER_STAGES)
def test_going_back_restores_every_bit_of_the_master_too(group, stage):
    check_way_back(group[f"bf16 way back {stage}"])


def check_way_back(way: dict[str, Any]) -> None:
    """Saved, one step further, three bad steps before a file was written, taken back, and the same
    step again."""
    saved, further, stayed, back, again = way["hashes"]

    assert saved == back != further
    assert further == stayed == again
    assert way["was copied"]
    assert way["losses"][0] == way["losses"][1]


@pytest.mark.row(21)
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_without_tokens_is_skipped_but_has_not_diverged(group, stage):
    for rank in group.ranks:
        way = rank[f"way back {stage}"]
        assert (way["skipped"], way["diverged"]) == ([True, True, True], [True, True, False])


@pytest.mark.parametrize("stage", MASTER_STAGES)
def test_gradients_of_bfloat16_weights_are_added_in_float32(groups, stage):
    assert groups(1)[f"units {stage}"] == [NUM_UNITS, NUM_UNITS]


@pytest.mark.parametrize("stage", MASTER_STAGES)
def test_bfloat16_weights_have_the_same_gradient_but_for_rounding(group, stage):
    assert 1e-5 < group[f"bf16 gradient {stage}"] < 5e-2


@pytest.mark.parametrize("stage", MASTER_STAGES)
def test_the_master_is_saved_and_its_cast_published(group, stage):
    weights = group[f"bf16 weights {stage}"]

    assert (weights["saved"], weights["published"]) == (["torch.float32"], ["torch.bfloat16"])
    assert weights["is cast"]
    assert weights["has more bits"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_start_and_payloads_give_the_same_bits(group, dtype):
    first, second = group[f"twice {dtype}"]

    assert first == second


def test_two_ranks_that_shard_and_offload_everything_learn_like_one(groups):
    alone, together = groups(1)["losses"], groups(2)["losses"]

    assert len(alone) == 4
    assert together == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("stage", LORA_STAGES)
def test_adapters_start_as_the_model_that_was_given(group, stage):
    assert group[f"lora {stage}"]["fingerprint"] == group["first fingerprint 0"]["claimed"]


@pytest.mark.parametrize("stage", LORA_STAGES)
def test_a_step_of_adapters_equals_plain_torch(group, stage):
    errors = group[f"lora {stage}"]["errors"]

    assert errors["plain"]["start"] < 1e-6
    assert errors["plain"]["movement"] < 1e-5
    assert errors["recomputed, a rank without tokens"]["movement"] < 1e-5
    if stage in MASTER_STAGES:
        assert 1e-5 < errors["bfloat16 weights"]["movement"] < 5e-2


@pytest.mark.parametrize("stage", LORA_STAGES)
def test_adapters_are_merged_bit_by_bit_as_peft_does(group, stage):
    assert {error["differs from peft"] for error in group[f"lora {stage}"]["errors"].values()} == {
        0
    }


@pytest.mark.parametrize("stage", LORA_STAGES)
def test_every_linear_layer_but_the_head_has_an_adapter_and_nothing_else_is_trained(group, stage):
    square, narrow, wide = 64 + 64, 64 + 32, 64 + 96
    rank, num_layers = 4, 2

    expected = rank * num_layers * (2 * square + 2 * narrow + 3 * wide)

    assert group[f"lora {stage}"]["num trained"] == expected


@pytest.mark.parametrize("stage", LORA_STAGES)
def test_adapters_and_their_optimizer_come_back_to_the_bit(group, stage):
    check_way_back(group[f"lora way back {stage}"])
    assert group[f"lora resumed {stage}"] == group[f"lora way back {stage}"]["hashes"][0]
