"""Deciding again over what a run recorded: by the judge's own functions, from its files alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from actors.recorder import Recorder
from cluster.replay import NOTE, Replay, lines, replay
from configs.errors import UserError
from configs.load import dump, load
from configs.schema import RecorderConfig, RunConfig
from tests.fakes import make_problem, make_ticket
from verifiers.hooks import bind_hooks, judged_group
from verifiers.types import Completion, FinishReason, Group, JudgedGroup, Status, Verdict

STEPS = (
    "filter.steps=[{use: duplicate}, {use: branchy, settings: {quantile: 0.9}}, "
    "{use: grape}, {use: max_kept, settings: {count: 2}}]"
)


def completion(
    text: str,
    num_tokens: int,
    finish_reason: FinishReason = "stop",
    logprob: float = -1.0,
    score: float | None = None,
) -> Completion:
    return Completion(
        text=text,
        token_ids=(7,) * num_tokens,
        logprobs=(logprob,) * num_tokens if score is None else (),
        finish_reason=finish_reason,
        first_version=0,
        last_version=0,
        start_us=0,
        end_us=1,
        is_expert=score is not None,
        origin="self" if score is None else "gold",
        score=score,
        aborted_by="doomed" if finish_reason == "abort" else None,
    )


WRITTEN: tuple[tuple[Completion, Status], ...] = (
    (completion("so 42", 10), "correct"),
    (completion("so 42", 10), "correct"),
    (completion("wait but 42", 20, logprob=-0.5), "correct"),
    (completion("41", 5), "wrong"),
    (completion("a b c", 8), "wrong"),  # a guard refused it
    (completion("42", 70), "correct"),  # above the budget
    (completion("and so on", 100, "length"), "no_answer"),
    (completion("and", 30, "abort"), "no_answer"),
    (completion("42", 9), "timeout"),
    (completion("given 42", 12, score=-0.75), "correct"),
)


def judged_groups(config: RunConfig) -> list[JudgedGroup]:
    """Two groups of the rollouts above as the judge decides them."""
    hooks = bind_hooks(config.filter)
    groups = []
    for number, limits in enumerate(((), (("branchy", 50.0),))):
        ticket = make_ticket(
            number, size=len(WRITTEN), budget=50, problem=make_problem(f"p-{number}")
        )
        group = Group(
            ticket=replace(ticket, limits=limits),
            generator_id="g",
            completions=tuple(completion for completion, _ in WRITTEN),
            temperature=1.0,
            top_p=1.0,
            max_tokens=100,
        )
        verdicts = [
            Verdict(
                status=status, reason="many_boxes" if c.text == "a b c" else "", scores={"s": 1.0}
            )
            for c, status in WRITTEN
        ]
        groups.append(judged_group(group, verdicts, hooks))
    return groups


async def recorded(folder: Path, *settings: str) -> Path:
    config = load("tiny", ["filter.length_budget=50", *settings])
    (folder / "resolved.yaml").write_text(dump(config))
    recorder = Recorder(str(folder), RecorderConfig(text=config.recorder.text))
    await recorder.start()
    for group in judged_groups(config):
        await recorder.rollouts(group)
    await recorder.close()
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without steps, for tests that only read it."""
    return asyncio.run(recorded(tmp_path_factory.mktemp("plain")))


def reasons(found: Replay) -> Sequence[str | None]:
    return [decision.reason for decision in found.decisions.values()]


async def test_without_changes_every_recorded_decision_comes_out_the_same(tmp_path: Path):
    found = replay(await recorded(tmp_path, STEPS), [])

    assert (found.agreeing, found.rollouts, found.changed) == (20, 20, ())
    assert found.before == found.after
    rest = [None, "wrong", "many_boxes", "over_budget", "truncated", "doomed", "verifier_timeout"]
    # The first group has no limit yet; the second one rejects the rollout that branches.
    assert reasons(found)[:10] == ["grape", "duplicate", *rest, "grape"]
    assert reasons(found)[10:] == ["grape", "duplicate", "branchy", *rest[1:], None]


async def test_a_check_that_was_made_comes_out_the_same_too(tmp_path: Path):
    run = await recorded(tmp_path, STEPS)
    [first, second] = judged_groups(load("tiny", ["filter.length_budget=50", STEPS]))

    found = replay(run, [])

    expected = [*first.decisions, *second.decisions]
    assert repr(list(found.decisions.values())) == repr(expected)  # NaN is not itself


def test_another_budget_and_other_steps_decide_anew(plain: Path):
    found = replay(
        plain,
        ["filter.length_budget=15", "filter.steps=[{use: max_kept, settings: {count: 1}}]"],
    )

    kept = [None, "max_kept", "over_budget", "wrong", "many_boxes", "over_budget", "truncated"]
    assert reasons(found) == 2 * [*kept, "doomed", "verifier_timeout", "max_kept"]
    assert (found.before.kept, found.after.kept) == (8, 2)
    assert (found.before.mean_tokens, found.after.mean_tokens) == (13.0, 10.0)
    assert found.after.share == 0.1
    # Of nine own answers four are right and whole.
    assert found.after.pass_rate == pytest.approx(4 / 9)
    assert found.changed[0] == {
        "rollout_id": "000000.0.1", "before": None, "after": "max_kept",
    }  # fmt: skip
    assert found.not_observed == 0


def test_what_was_cut_off_below_the_new_budget_is_not_observed(plain: Path):
    up_to_the_limit = replay(plain, ["filter.length_budget=100"])
    beyond = replay(plain, ["filter.length_budget=101"])

    # An aborted one might have lived under any larger budget.
    assert (up_to_the_limit.not_observed, beyond.not_observed) == (2, 4)
    assert beyond.after.reasons["truncated"] == 2
    assert up_to_the_limit.after.kept == up_to_the_limit.before.kept + 2


def test_problems_of_which_nothing_is_left_are_counted(plain: Path):
    found = replay(plain, ["filter.length_budget=5"])

    assert (found.before.problems_without, found.after.problems_without) == (0, 2)
    assert (found.after.mean_tokens, found.after.pass_rate) == (None, None)
    assert list(lines(found))[-1] == NOTE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["steps=3"], ["steps=3", "filter.length_budget, filter.steps and budget.kind=fixed"]),
        (["filter.reward={use: scores}"], ["filter.reward", "a replay can set"]),
        (["budget.kind=adaptive"], ["budget.kind=adaptive", "a replay can set"]),
        (["filter.steps"], ["key=value"]),
        (["filter.length_budget=0"], ["filter.length_budget=0"]),
        (["filter.steps=[{use: grap}]"], ["did you mean 'grape'"]),
        (
            ["filter.steps=[{use: branchy, settings: {quantile: 0.5}}]"],
            ["'branchy' with quantile=0.5", "limit of its own"],
        ),
    ],
)
def test_what_cannot_be_replayed_is_one_line(plain: Path, settings: list[str], words: list[str]):
    with pytest.raises(UserError) as caught:
        replay(plain, settings)

    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


async def test_where_budgets_moved_a_replay_must_fix_them(tmp_path: Path):
    run = await recorded(tmp_path, "budget.kind=adaptive")

    with pytest.raises(UserError, match=r"budget\.kind=adaptive; add --set budget\.kind=fixed"):
        replay(run, ["filter.length_budget=15"])
    assert replay(run, []).changed == ()
    found = replay(run, ["budget.kind=fixed", "filter.length_budget=15"])
    assert found.after.reasons["over_budget"] == 4


async def test_steps_that_read_texts_say_so_where_none_were_kept(tmp_path: Path):
    run = await recorded(tmp_path, "recorder.text=none", "filter.steps=[{use: duplicate}]")

    with pytest.raises(UserError, match=r"'duplicate' reads texts.*recorder\.text=none"):
        replay(run, [])
    found = replay(run, ["filter.steps=[{use: s3ft}]"])
    assert found.agreeing is None
    assert found.after.reasons["s3ft"] == 2
    assert "were not made again" in next(lines(found))


async def test_groups_whose_texts_are_gone_are_left_out_and_counted(tmp_path: Path):
    run = await recorded(tmp_path)
    config = load("tiny", ["filter.length_budget=50"])
    recorder = Recorder(str(run), RecorderConfig(text="none"))
    await recorder.start()
    [group, _] = judged_groups(config)
    ticket = replace(group.group.ticket, number=9)
    await recorder.rollouts(replace(group, group=replace(group.group, ticket=ticket)))
    await recorder.close()

    found = replay(run, ["filter.steps=[{use: duplicate}]"])

    assert (found.rollouts, found.left_out, found.agreeing) == (20, 10, 20)
    assert replay(run, []).rollouts == 30


def test_a_folder_without_a_run_is_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="holds no run"):
        replay(tmp_path, [])
