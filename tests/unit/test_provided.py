from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import RunConfig
from learner.provided import bound_objective, needs_rejected, needs_teacher, normalizer_of


def configured(
    objective: str,
    *,
    responses: str = "ignore",
    drop_equal: bool = False,
    temperature: str | None = None,
    reward: str | None = None,
    **learner: Any,
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"path": "made"},
            "data": {"train": "made", "responses": responses},
            "filter": {"length_budget": 16, "reward": {"use": reward} if reward else None},
            "batch": {"drop_equal": drop_equal},
            "sampling": {"policy": {"use": temperature} if temperature else None},
            "learner": {"objective": objective, **learner},
        }
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (configured("chord"), ["objective=chord ", "set data.responses=beside"]),
        (configured("chord_grpo", responses="instead"), ["set data.responses=beside"]),
        (configured("grpo", responses="instead"), ["objective=grpo", "data.responses=instead"]),
        (configured("grpo", responses="beside"), ["own samples alone", "chord_grpo"]),
        (configured("raft", responses="beside"), ["own samples alone", "data.responses=beside"]),
        (configured("sft", drop_equal=True), ["batch.drop_equal", "objective=sft"]),
        (configured("raft", drop_equal=True), ["batch.drop_equal", "objective=raft"]),
        (
            configured("sft", temperature="entropy"),
            ["sampling.policy=entropy", "objective=sft", "leave it out, or take", "grpo"],
        ),
        (configured("chord", responses="beside", temperature="entropy"), ["sampling.policy"]),
        (configured("sft", reward="scores"), ["filter.reward=scores", "objective=sft"]),
        (configured("raft", reward="scores"), ["filter.reward=scores", "leave it out"]),
        (configured("opsd"), ["learner.teacher.prompt", "learner.teacher.model"]),
        (configured("sft", teacher={"model": "x/y"}), ["'x/y' would never be asked", "sft"]),
        (configured("sftt"), ["did you mean 'sft'"]),
        (configured("sft", objective_settings={"beta": 1.0}), ["objective_settings.beta"]),
    ],
)
def test_what_the_run_does_not_have_is_told_in_one_line(config, words):
    with pytest.raises(UserError) as caught:
        bound_objective(config)

    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("config", "rejected", "teacher", "normalizer"),
    [
        (configured("sft"), False, False, "global_tokens"),
        (configured("sft", responses="instead"), False, False, "global_tokens"),
        (configured("raft"), False, False, "global_tokens"),
        (configured("grpo"), True, False, "sequence_mean"),
        (configured("dapo", reward="scores"), True, False, "global_tokens"),
        (configured("dr_grpo"), True, False, "constant"),
        (configured("dapo", normalizer="constant"), True, False, "constant"),
        (configured("chord", responses="beside"), False, False, "global_tokens"),
        (configured("dft", responses="beside"), False, False, "global_tokens"),
        (
            configured("chord_grpo", responses="beside", drop_equal=True),
            True,
            False,
            "global_tokens",
        ),
        (configured("asft"), False, True, "global_tokens"),
        (configured("grpo", temperature="entropy"), True, False, "sequence_mean"),
        (configured("raft", temperature="entropy"), False, False, "global_tokens"),
        (configured("curio"), False, True, "global_tokens"),
        (configured("opsd", teacher={"model": "x/y"}), False, True, "global_tokens"),
        (configured("opsd", teacher={"prompt": "{problem}"}), False, True, "global_tokens"),
    ],
)
def test_what_an_objective_asks_of_the_run(config, rejected, teacher, normalizer):
    bound = bound_objective(config)

    assert needs_rejected(bound) == rejected
    assert needs_teacher(bound) == teacher
    assert normalizer_of(config, bound) == normalizer
