"""What the objective needs against what the run gives it, before anything starts."""

import pytest

from cluster.prepare import refuse_contradictions
from configs.errors import UserError
from configs.load import load
from learner.objectives.registry import resolve


def check(objective: str, *settings: str) -> None:
    config = load("tiny", [f"learner.objective={objective}", *settings])
    refuse_contradictions(config, resolve(objective).needs)


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        ("sft", ()),
        ("sft", ("data.responses=instead",)),
        ("dft", ("data.responses=beside",)),
        ("chord", ("data.responses=beside",)),
        ("chord_grpo", ("data.responses=beside", "batch.drop_equal=true")),
        ("dapo", ("batch.drop_equal=true",)),
        ("raft", ()),
    ],
)
def test_what_fits_together_is_let_through(objective: str, settings: tuple[str, ...]):
    check(objective, *settings)


@pytest.mark.parametrize(
    ("objective", "setting"),
    [
        ("grpo", "data.responses=instead"),
        ("grpo", "data.responses=beside"),
        ("raft", "data.responses=beside"),
        ("chord", "data.responses=ignore"),
        ("chord_grpo", "data.responses=instead"),
        ("sft", "batch.drop_equal=true"),
        ("raft", "batch.drop_equal=true"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line_that_names_both(
    objective: str, setting: str
):
    with pytest.raises(UserError) as caught:
        check(objective, setting)

    message = str(caught.value)
    assert f"learner.objective={objective}" in message
    assert setting.partition("=")[0] in message
    assert "\n" not in message
