"""What a user may write on the command line, and what one line they get for a mistake."""

from pathlib import Path

import pytest

from configs.load import (
    ConfigError,
    dump,
    known_keys,
    load,
    load_resolved,
    preset_names,
    sources,
)
from configs.schema import LoraConfig, RunConfig


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid(preset: str):
    assert isinstance(load(preset, ["data.train=problems.jsonl"]), RunConfig)


def test_what_a_preset_leaves_open_is_asked_for():
    with pytest.raises(ConfigError, match=r"^data\.train is required and has no value; set it"):
        load("opsd-qwen3-1.7b", [])


def test_the_later_value_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    more = tmp_path / "more.yaml"
    more.write_text("steps: 7\nfilter:\n  length_budget: 90\n")
    monkeypatch.setenv("LACONIC__STEPS", "3")
    monkeypatch.setenv("LACONIC__FILTER__LENGTH_BUDGET", "80")

    assert load("tiny", []).steps == 3
    assert load("tiny", []).filter.length_budget == 80
    assert load("tiny", [str(more)]).filter.length_budget == 90
    assert load("tiny", [str(more), "steps=9"]).steps == 9


@pytest.mark.row(28)
def test_numbers_are_numbers_and_a_misspelt_boolean_is_not_one():
    assert load("tiny", ["learner.optimizer.lr=1e-6"]).learner.optimizer.lr == 1e-6
    with pytest.raises(ConfigError, match="debug"):
        load("tiny", ["debug=ture"])


@pytest.mark.row(28)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["lenght_budget=3"], ["lenght_budget", "'filter.length_budget'"]),
        (["learner.optimizer.lrr=1"], ["'learner.optimizer.lr'"]),
        (["steps=0"], ["steps=0", "greater than 0"]),
        (["steps=some"], ["steps='some'", "integer"]),
        (["steps"], ["key=value", "'steps'"]),
        (["steps=???"], ["steps", "no value"]),
        (["name=${oc.env:HOME}"], ["name", "interpolation"]),
        (["filter=3"], ["'filter' is a section"]),
        (["name=../../etc"], ["name=", "pattern"]),
        (["sampling.temperature=0.7"], ["sampling.temperature=0.7", "equal to 1"]),
        (["max_lag=0", "sync_every=2"], ["sync_every 2", "max_lag", "Raise max_lag"]),
        (["sampling.max_tokens=5"], ["sampling.max_tokens 5", "filter.length_budget"]),
        (["engine.max_model_len=128"], ["engine.max_model_len 128", "Raise"]),
        (["eval.max_tokens=9999"], ["eval.max_tokens 9999", "Raise"]),
        (
            ["learner.zero_stage=0", "learner.offload_optimizer=true"],
            ["learner.offload_optimizer=true", "Raise learner.zero_stage"],
        ),
        (
            ["learner.zero_stage=0", "learner.weights=bfloat16", "learner.dtype=bfloat16"],
            ["learner.weights=bfloat16", "Raise learner.zero_stage"],
        ),
        (
            ["learner.weights=bfloat16", "learner.dtype=float32"],
            ["learner.dtype=float32", "Set learner.dtype=bfloat16"],
        ),
        (["learner.lora.rang=3"], ["learner.lora.rang", "'learner.lora.rank'"]),
        (["learner.lora.dropout=1.0"], ["learner.lora.dropout=1.0", "less than 1"]),
        (["missing.yaml"], ["missing.yaml", "does not exist"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(settings: list[str], words: list[str]):
    with pytest.raises(ConfigError) as failure:
        load("tiny", settings)

    message = str(failure.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.row(28)
@pytest.mark.parametrize(
    "content", ["- a\n- b\n", "steps: [1\n", "steps: 1\nsteps: 2\n", "name: ${oc.env:HOME}\n"]
)
def test_a_bad_file_is_refused_with_its_name(tmp_path: Path, content: str):
    path = tmp_path / "bad.yaml"
    path.write_text(content)

    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load("tiny", [str(path)])


@pytest.mark.row(28)
def test_an_unknown_key_in_a_file_is_refused_too(tmp_path: Path):
    path = tmp_path / "more.yaml"
    path.write_text("filter:\n  lenght_budget: 3\n")

    with pytest.raises(ConfigError, match=r"filter\.length_budget"):
        load("tiny", [str(path)])


def test_the_resolved_file_gives_the_same_configuration_back(tmp_path: Path):
    config = load("tiny", ["learner.optimizer.lr=3e-5", "name=a"])
    path = tmp_path / "resolved.yaml"
    path.write_text(dump(config))

    assert load_resolved(path) == config


def test_an_optional_section_is_switched_on_by_a_key_and_off_by_null():
    assert load("tiny", []).learner.lora is None
    assert load("tiny", ["learner.lora.rank=3"]).learner.lora == LoraConfig(rank=3)
    assert load("tiny", ["learner.lora={}"]).learner.lora == LoraConfig()
    assert load("tiny", ["learner.lora.rank=3", "learner.lora=null"]).learner.lora is None


def test_every_leaf_of_the_schema_can_be_set():
    keys = set(known_keys())

    assert {"steps", "filter.length_budget", "learner.optimizer.betas"} <= keys
    assert "filter" not in keys


@pytest.mark.parametrize("prompt", ["{problem}", "{problem} Hint: {answer}", '{problem} "so": yes'])
def test_a_template_that_begins_with_a_brace_is_text(prompt: str):
    assert load("tiny", [f"learner.teacher.prompt={prompt}"]).learner.teacher.prompt == prompt


def test_the_wordings_of_the_data_page_are_settings(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs/data.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "wordings.yaml").write_text(block)

    templates = load("tiny", [str(tmp_path / "wordings.yaml")]).data.templates

    assert [template.level for template in templates] == ["short", "long"]


def test_where_a_setting_is_from_is_who_gave_it_last(tmp_path, monkeypatch):
    (tmp_path / "more.yaml").write_text("steps: 7\nlearner: {optimizer: {lr: 0.1}}\n")
    monkeypatch.setenv("LACONIC__ENGINE__MAX_NUM_SEQS", "9")

    found = sources("tiny", ["seed=3", str(tmp_path / "more.yaml"), "learner.lora.rank=4"])

    assert found["steps"] == "more.yaml"
    assert found["learner.optimizer.lr"] == "more.yaml"
    assert found["learner.optimizer.betas"] == "tiny.yaml"
    assert found["engine.max_num_seqs"] == "environment"
    assert found["seed"] == found["learner.lora.rank"] == "command line"
    assert "max_lag" in found and "debug" not in found
