"""The forecast of ``laconic plan`` against plain arithmetic, and against drawing it."""

import json
import math
import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.capacity import (
    ACCELERATORS,
    Assumptions,
    Model,
    Workload,
    best,
    engines_beside,
    forecast,
    mean_of_larger,
    model_of,
    sequences_that_fit,
    written_per_s,
)
from cluster.capacity_command import measured
from cluster.nodes import Bundle, parse_shape
from cluster.seating import most_engines
from configs.errors import UserError
from configs.load import dump, load

R1_DISTILL_1_5B = {
    "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936,
    "tie_word_embeddings": False,
}  # fmt: skip
SMALL = Model(parameters=1.78e9, kv_bytes=28672)
H100 = ACCELERATORS["H100"]
WORK = Workload(
    problems=32, group_size=32, prompt_tokens=512, tokens=2000, spread=0.7, kept=0.3, max_lag=1,
    sequences=256, tensor_parallel=1, utilization=0.85,
)  # fmt: skip
RATES = Assumptions(written_per_s=10_000, learned_per_s=20_000, stall_s=0.0, swap_s=1.0)


def test_a_model_is_counted_from_its_configuration():
    model = model_of(R1_DISTILL_1_5B)

    assert model.kv_bytes == 28672
    assert model.parameters == pytest.approx(1.777e9, rel=1e-3)
    tied = model_of(R1_DISTILL_1_5B | {"tie_word_embeddings": True})
    assert model.parameters - tied.parameters == 151936 * 1536


def test_a_model_of_another_kind_is_refused_with_the_way_out():
    with pytest.raises(UserError, match="--parameters"):
        model_of({"hidden_size": 8})


@pytest.mark.parametrize(
    ("a", "spread_a", "b", "spread_b"),
    [(10, 1, 10, 1), (10, 3, 12, 0.5), (10, 0, 9, 0), (5, 2, 20, 2), (10, 0, 10, 4)],
)
def test_the_mean_of_the_larger_of_two_is_what_drawing_gives(
    a: float, spread_a: float, b: float, spread_b: float
):
    draw = random.Random(0)
    drawn = [max(draw.gauss(a, spread_a), draw.gauss(b, spread_b)) for _ in range(60_000)]

    assert mean_of_larger(a, spread_a, b, spread_b) == pytest.approx(
        statistics.fmean(drawn), abs=4 * (spread_a + spread_b + 1e-9) / math.sqrt(60_000)
    )


def test_steps_that_overlap_last_as_long_as_those_of_two_stations_with_a_buffer():
    """Batches are written one after the other, each of drawn lengths; one may wait."""
    work = replace(WORK, problems=2, group_size=16, kept=0.5)
    given = replace(RATES, learned_per_s=5_200)
    draw, sigma = random.Random(1), math.sqrt(math.log1p(work.spread**2))
    written_at = learned_at = 0.0
    ends: list[float] = []
    for _ in range(20_000):
        lengths = [
            work.tokens * math.exp(draw.gauss(0, sigma) - sigma**2 / 2)
            for _ in range(work.rollouts)
        ]
        # A batch begins when the one before it was taken by the learner.
        written_at = max(written_at, ends[-1] if ends else 0.0) + sum(lengths) / 10_000
        ends.append(max(written_at, learned_at))
        learned_at = ends[-1] + sum(lengths) * work.kept / 5_200
    seen = (ends[-1] - ends[100]) / (len(ends) - 101)

    found = forecast(1, 1, SMALL, (H100, H100), work, given)

    assert found.step_s == pytest.approx(seen, rel=0.02)
    assert found.step_s > max(found.write_s, found.learn_s)


def test_nothing_overlaps_at_lag_zero():
    exact = forecast(4, 2, SMALL, (H100, H100), replace(WORK, max_lag=0), RATES)
    lagging = forecast(4, 2, SMALL, (H100, H100), WORK, RATES)

    assert exact.step_s == pytest.approx(exact.write_s + exact.learn_s + 1.0)
    assert exact.write_s > lagging.write_s == pytest.approx(32 * 32 * 2000 / 40_000)
    assert lagging.learn_s == pytest.approx(32 * 32 * 2000 * 0.3 / 40_000)
    assert lagging.step_s < exact.step_s


def test_the_best_split_is_the_best_of_all():
    work, given = WORK, replace(RATES, price=2.0)
    found = best(parse_shape("8:H100"), SMALL, work, given)

    every = [forecast(8 - n, n, SMALL, (H100, H100), work, given) for n in range(1, 8)]
    top = max(every, key=lambda one: one.accepted_per_s)
    assert found[0] == top
    assert {one.ranks for one in found} <= set(range(1, 8))
    assert top.cost_per_million == pytest.approx(8 * 2.0 / 3600 / top.accepted_per_s * 1e6)


def test_no_engine_is_forecast_across_nodes():
    found = best(parse_shape("3x8:H100"), SMALL, replace(WORK, tensor_parallel=3), RATES)

    assert {one.ranks: one.engines for one in found}[6] == 6  # 24 GPUs, and two left of each node
    with pytest.raises(UserError, match="an engine of 16 GPUs of one node"):
        best(parse_shape("3x8:H100"), SMALL, replace(WORK, tensor_parallel=16), RATES)


def test_as_many_engines_are_forecast_as_are_seated():
    draw = random.Random(2)
    for _ in range(300):
        kinds = [f"{draw.randint(1, 3)}x{draw.randint(1, 9)}" for _ in range(draw.randint(1, 3))]
        resources, size = parse_shape("+".join(kinds)), draw.randint(1, 6)
        ranks = draw.randint(1, int(resources.gpus))
        learner = [Bundle(parts=("learner",), cpus=1, gpus=1)] * ranks
        engine = Bundle(parts=("generator",), cpus=1, gpus=size)

        seated = most_engines(learner, engine, resources, 999)

        nodes = [int(node.gpus) for node in resources.nodes]
        assert max(0, engines_beside(ranks, nodes, size)) == seated, (kinds, ranks, size)


def test_memory_bounds_what_an_engine_decodes_and_what_a_learner_holds():
    large = Model(parameters=30e9, kv_bytes=200_000)
    assert sequences_that_fit(SMALL, H100, replace(WORK, sequences=10_000)) < 10_000
    assert sequences_that_fit(SMALL, H100, WORK) == 256
    with pytest.raises(UserError, match=r"raise engine\.tensor_parallel"):
        written_per_s(Model(parameters=60e9, kv_bytes=1), H100, WORK, Assumptions())
    with pytest.raises(UserError, match="cannot carry this model"):
        best(parse_shape("4:H100"), large, replace(WORK, tensor_parallel=1), RATES)


@pytest.mark.parametrize(
    ("shape", "said"),
    [("2x8", "no accelerator is not known"), ("8:H100+8:A100", "of one kind"), ("1x8:T9", "T9")],
)
def test_gpus_that_nobody_knows_are_told(shape: str, said: str):
    with pytest.raises(UserError, match=said):
        best(parse_shape(shape), SMALL, WORK, RATES)


def a_run(folder: Path, wait_s: float, *settings: str) -> Path:
    config = load("tiny", ["engine.num_engines=2", *settings])
    (folder / "resolved.yaml").write_text(dump(config))
    rows = [
        {
            "generated_tokens": 1000 * step, "trained_tokens": 400 * step, "mean_tokens": 80.0,
            "generated_tokens_per_s": rate, "accepted_tokens_mean": 50.0, "accepted": 100,
            "wait_s": wait_s, "train_s": 2.0, "publish_s": 0.5,
        }
        for step, rate in ((1, 1.0), (2, 600.0), (3, 800.0), (4, 1000.0))
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_rates_of_a_run_are_read_from_its_steps(tmp_path: Path):
    work, given = measured(a_run(tmp_path, 0.5), WORK, Assumptions())

    assert (work.tokens, work.kept) == (80.0, 0.4)
    assert (given.written_per_s, given.learned_per_s) == (400.0, 2500.0)


def test_engines_that_were_not_what_a_run_waited_for_tell_no_rate(tmp_path: Path):
    run = a_run(tmp_path, 0.01)

    with pytest.raises(UserError, match=r"in 0% of its time.*: give --written"):
        measured(run, WORK, Assumptions())
    assert measured(run, WORK, Assumptions(written_per_s=900.0))[1].written_per_s == 900.0


def test_a_run_without_overlap_is_forecast_as_it_was(tmp_path: Path):
    run = a_run(
        tmp_path,
        4.0,
        "max_lag=0",
        "batch.problems=5",
        "sampling.group_size=4",
        "engine.max_num_seqs=3",
    )

    work, given = measured(run, WORK, Assumptions())

    assert given.written_per_s is not None and given.written_per_s > 1000 / 4.0 / 2
    same = replace(work, problems=5, group_size=4, sequences=3, max_lag=0, tokens=1000 / 20)
    assert forecast(2, 1, SMALL, (H100, H100), same, given).write_s == pytest.approx(4.0)
