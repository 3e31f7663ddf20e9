"""A planted bias is found, and where there is none nothing is found more often than by chance."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.recorder import Recorder
from cluster.confounders import find, lines
from configs.errors import UserError
from configs.load import dump, load
from configs.run_files import Fate
from configs.schema import FilterConfig, RecorderConfig
from evaluation.confounders import Rollouts, confounders, shift_of
from tests.fakes import make_problem, make_ticket
from verifiers.hooks import bind_hooks, judged_group
from verifiers.types import Completion, Group, Verdict, rollout_id

SIZE = 8


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough permutations for a p of 0.005."""
    monkeypatch.setattr("evaluation.confounders.PERMUTATIONS", (199, 199))
    monkeypatch.setattr("evaluation.confounders.RESAMPLES", 400)


def written(seed: int, groups: int = 60) -> Rollouts:
    """Groups whose problems differ far more in length than their rollouts do, all of it trained;
    every problem is asked twice."""
    random = np.random.default_rng(seed)
    num = groups * SIZE
    group = np.repeat(np.arange(groups), SIZE)
    usual = random.normal(200, 80, groups // 2).clip(20)
    everything = np.ones(num, dtype=bool)
    return Rollouts(
        tokens=(random.normal(1, 0.2, num) * usual[group // 2]).clip(1).astype(int),
        group=group,
        problem=group // 2,
        propensity=np.ones(num),
        finished=everything,
        correct=everything,
        kept=random.random(num) < 0.6,
        consumed=everything,
        trained=everything,
        lag=np.zeros(num, dtype=int),
    )


def without_whole_groups(rollouts: Rollouts, seed: int) -> Rollouts:
    """As staleness does: a group goes as a whole, whatever its length."""
    groups = int(rollouts.group.max()) + 1
    stays = np.random.default_rng(1000 + seed).random(groups) < 0.7
    return replace(rollouts, trained=stays[rollouts.group] & rollouts.kept)


def test_where_groups_are_dropped_at_random_chance_is_what_it_claims_to_be():
    found = []
    for seed in range(40):
        rollouts = without_whole_groups(written(seed), seed)
        found.append(shift_of("kept -> trained", rollouts.kept, rollouts.trained, rollouts))

    for ps in ([shift.p for shift in found], [shift.mix_p for shift in found]):
        assert sum(p < 0.05 for p in ps) <= 5
        assert 10 <= sum(p < 0.5 for p in ps) <= 30
    outside = sum(not shift.low <= 0 <= shift.high for shift in found)
    assert outside <= 6


def test_long_rollouts_that_are_dropped_are_missed():
    rollouts = written(0)
    random = np.random.default_rng(7).random(len(rollouts.tokens))
    is_long = rollouts.tokens > np.median(rollouts.tokens)
    trained = rollouts.kept & ~(is_long & (random < 0.3))

    shift = confounders(replace(rollouts, trained=trained)).kept_to_trained

    assert shift is not None
    assert shift.p < 0.01
    assert shift.high < 0


def test_whole_groups_of_long_rollouts_that_are_dropped_are_missed():
    rollouts = written(1)
    means = np.bincount(rollouts.group, weights=rollouts.tokens) / SIZE
    stays = means < np.quantile(means, 0.7)

    shift = confounders(
        replace(rollouts, trained=rollouts.kept & stays[rollouts.group])
    ).kept_to_trained

    assert shift is not None
    assert shift.p < 0.01
    assert shift.high < 0


def test_a_problem_that_is_never_trained_is_missed_whatever_its_length():
    rollouts = written(2)
    rollouts = replace(rollouts, tokens=np.random.default_rng(3).permutation(rollouts.tokens))
    trained = rollouts.kept & (rollouts.problem % 3 > 0)

    shift = confounders(replace(rollouts, trained=trained)).kept_to_trained

    assert shift is not None
    assert shift.mix_p < 0.01 < shift.p


def test_a_lag_whose_rollouts_are_longer_is_seen_beside_one_whose_are_not():
    rollouts = written(4)
    means = np.bincount(rollouts.group, weights=rollouts.tokens) / SIZE
    long_groups = (means > np.median(means)).astype(int)

    by_length = confounders(replace(rollouts, lag=long_groups[rollouts.group]))
    by_chance = confounders(replace(rollouts, lag=(rollouts.group % 2)))

    assert [shift.name for shift in by_length.lags] == ["lag 0", "lag 1"]
    assert {shift.p < 0.01 for shift in by_length.lags} == {True}
    assert by_length.lags[1].difference > 0 > by_length.lags[0].difference
    assert {shift.p > 0.01 for shift in by_chance.lags} == {True}
    assert confounders(rollouts).lags == ()


def small(**columns: list[float] | list[bool]) -> Rollouts:
    """Six rollouts of three groups of two, each group a problem."""
    plain: dict[str, list[float] | list[bool]] = {
        "tokens": [10, 20, 30, 40, 50, 60],
        "group": [0, 0, 1, 1, 2, 2],
        "problem": [0, 0, 1, 1, 2, 2],
        "propensity": [1.0] * 6,
        "finished": [True, True, True, True, True, False],
        "correct": [True, True, True, True, False, True],
        "kept": [True, True, True, True, True, True],
        "consumed": [True, True, True, False, True, True],
        "trained": [True, False, True, False, True, True],
        "lag": [0, -1, 0, -1, 0, 0],
    }
    return Rollouts(**{name: np.array(value) for name, value in (plain | columns).items()})


def test_the_figures_of_stages_and_shifts_are_those_of_a_person_with_a_pencil():
    report = confounders(small())

    figures = [(s.name, s.rollouts, s.problems, s.mean, s.p50) for s in report.stages]
    assert figures == [
        ("generated", 6, 3, 35.0, 35.0),
        ("finished", 5, 3, 30.0, 30.0),
        ("correct", 4, 2, 25.0, 25.0),
        ("kept", 4, 2, 25.0, 25.0),
        ("trained", 2, 2, 20.0, 20.0),
    ]
    last = report.kept_to_trained
    assert last is not None
    # Of 10, 20, 30 (40 waits for its step) 10 and 30 are trained: at 10, 1/2 - 1/3.
    assert (last.before, last.after) == (3, 2)
    assert last.difference == 0
    assert last.ks == pytest.approx(1 / 6)
    # Problems had 2/3 and 1/3 and have a half each.
    assert last.mix == pytest.approx(1 / 6)
    assert last.p > 0.5


def test_ties_of_lengths_are_one_step_of_a_distribution():
    tied = small(tokens=[10, 10, 10, 10, 10, 10])

    assert {(shift.ks, shift.p) for shift in confounders(tied).shifts} == {(0.0, 1.0)}


def test_saved_rollouts_are_made_up_for_in_a_mean_of_its_own():
    [generated, *_] = confounders(small(propensity=[1, 1, 1, 1, 1, 0.5])).stages

    assert generated.mean == 35.0
    assert generated.weighted_mean == pytest.approx((10 + 20 + 30 + 40 + 50 + 2 * 60) / 7)
    assert confounders(small()).stages[0].weighted_mean is None


def test_stages_without_rollouts_have_no_figures_and_no_shift():
    report = confounders(small(correct=[False] * 6))

    assert [stage.rollouts for stage in report.stages] == [6, 5, 0, 0, 0]
    assert report.stages[-1].mean is None
    assert [shift.name for shift in report.shifts] == ["generated -> finished"]
    assert report.kept_to_trained is None


def test_the_same_rollouts_give_the_same_report():
    assert confounders(written(5, groups=10)) == confounders(written(5, groups=10))


async def reported(folder: Path, *settings: str, dropped: Callable[[int, int], bool]) -> list[str]:
    """The report of a run of 40 groups in which ``dropped(ticket, sample)`` went stale; samples
    are the longer the higher their number."""
    (folder / "resolved.yaml").write_text(dump(load("tiny", list(settings))))
    recorder = Recorder(str(folder), RecorderConfig(text="none"))
    await recorder.start()
    for number in range(40):
        completions = tuple(
            Completion(
                text="42",
                token_ids=(7,) * (10 + 10 * sample),
                finish_reason="stop",
                first_version=0,
                last_version=0,
                start_us=0,
                end_us=1,
            )
            for sample in range(4)
        )
        written = Group(
            ticket=make_ticket(number, size=4, problem=make_problem(f"p-{number % 8}")),
            generator_id="g",
            completions=completions,
            temperature=1.0,
            top_p=1.0,
            max_tokens=50,
        )
        hooks = bind_hooks(FilterConfig(length_budget=50))
        judged = judged_group(written, [Verdict(status="correct")] * 4, hooks)
        await recorder.rollouts(judged)
        await recorder.fates(
            [
                Fate(
                    rollout_id=rollout_id(number, 0, sample),
                    fate="stale" if dropped(number, sample) else "trained",
                    lag=0,
                )
                for sample in range(4)
            ]
        )
    await recorder.close()
    return list(lines(find(folder)))


@pytest.mark.parametrize(
    ("dropped", "words"),
    [
        (lambda ticket, sample: False, "no shift, whatever was kept and had its step"),
        (lambda ticket, sample: sample == 3, "SHIFTED .* other lengths"),
        (lambda ticket, sample: ticket % 8 == 0, "SHIFTED .* other problems"),
        (lambda ticket, sample: ticket in (3, 13, 22, 30), "no shift to be seen"),
    ],
)
async def test_the_report_says_what_stands_between_kept_and_trained(
    tmp_path: Path, dropped: Callable[[int, int], bool], words: str
):
    shown = await reported(tmp_path, dropped=dropped)

    assert re.match(f"kept -> trained: {words}", shown[-2])
    assert shown[-1] == "lag: all trained rollouts have the same, so it explains no length."


async def test_a_run_that_cancels_what_is_slow_is_told_that_its_lengths_are_biased(tmp_path: Path):
    shown = await reported(tmp_path, "economy.stop_after=2", dropped=lambda *_: False)

    assert any("short answers finish first" in line for line in shown)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="holds no run"):
        find(tmp_path)
