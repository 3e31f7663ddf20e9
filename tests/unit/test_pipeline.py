"""Pipelines without engines: what is composed, who sees which problem, and going on after a death
anywhere. Only the launching of a run is a fake; it leaves a run's folder as a run does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.problem_files import read_rows
from cluster.checkpoint import CheckpointStore, TrainState
from cluster.pipeline import PIPELINE, compose, plan_lines, require_objectives, run_pipeline
from configs.errors import UserError
from configs.load import ConfigError, load, recipe_names
from configs.pipeline import PipelineConfig, load_pipeline, pipeline_names, validate_pipeline
from configs.run_files import RUN, SUMMARY
from configs.schema import RunConfig
from evaluation.split import overlaps, problem_hash, stages_of

NAMES = ["sft", "rlvr", "opsd"]


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = ({"prompt": f"Count to {i}.", "answer": str(i), "response": "1"} for i in range(300))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def make(tmp_path: Path, problems: Path) -> Callable[..., PipelineConfig]:
    def make(*settings: str) -> PipelineConfig:
        ours = [f"runs_dir={tmp_path / 'runs'}", "name=p", f"set.data.train={problems}"]
        return load_pipeline("sft-rlvr-opsd", [*ours, *settings])

    return make


class Killed(BaseException):
    pass


class Runs:
    """Launches nothing; ``kill_at``: run and moment at which the process dies, once."""

    def __init__(self, kill_at: tuple[str, str] | None = None) -> None:
        self.kill_at = kill_at
        self.launched: list[tuple[str, bool]] = []
        self.models: dict[str, str] = {}
        self.questions: dict[str, set[str]] = {}

    def _die(self, name: str | None, when: str) -> None:
        if self.kill_at == (name, when):
            self.kill_at = None
            raise Killed

    def __call__(
        self, config: RunConfig, preset: str, *, resume: bool, sources: dict[str, str]
    ) -> tuple[dict[str, Any], Path]:
        assert config.name is not None
        assert sources["model.path"] == sources["data.train"] == "pipeline"
        folder = Path(config.runs_dir) / config.name
        self.launched.append((config.name, resume))
        if not resume:
            assert not folder.exists()
            (folder / "weights").mkdir(parents=True)
            self._die(config.name, "before it is a run")
            (folder / RUN).write_text("{}")
        self.models[config.name] = config.model.path
        rows = read_rows(config.data.train)
        self.questions[config.name] = {row.messages[-1].content for row in rows}
        self._die(config.name, "in the middle")
        store = CheckpointStore(folder / "checkpoints", keep=2)
        begun = store.begin(config.steps)
        (begun / "model").mkdir()
        store.commit(begun, TrainState(step=config.steps, end_ticket=0, seconds=1.0))
        self._die(config.name, "before its summary")
        figures = {"accuracy": 0.5, "accuracy_ci": [0.4, 0.6], "mean_tokens": 100.0}
        summary = {"before": figures, "after": figures, "steps": config.steps, "seconds": 2.0}
        (folder / SUMMARY).write_text(json.dumps(summary))
        self._die(config.name, "after its summary")
        return summary, folder


def run(pipeline: PipelineConfig, runs: Runs, *, resume: bool = False) -> Path:
    return run_pipeline(pipeline, "p", resume=resume, launch=runs, say=lambda line: None)


def test_each_stage_starts_from_what_the_one_before_ended_with(make: Callable[..., PipelineConfig]):
    runs = Runs()

    folder = run(make("set.model.revision=abc"), runs)

    assert [name for name, _ in runs.launched] == ["1-sft", "2-rlvr", "3-opsd"]
    assert runs.models["1-sft"] == "tiny"
    assert runs.models["2-rlvr"] == str(folder / "1-sft/checkpoints/step-000060/model")
    assert runs.models["3-opsd"] == str(folder / "2-rlvr/checkpoints/step-000025/model")


def test_stages_see_different_problems_and_together_all(make: Callable[..., PipelineConfig]):
    runs = Runs()
    folder = run(make(), runs)

    seen = list(runs.questions.values())
    assert sum(map(len, seen)) == 300 == len(set.union(*seen))
    assert all(70 < len(questions) < 130 for questions in seen)
    measured = json.loads((folder / "report.json").read_text())["overlap"]["measured"]
    assert measured["sft"] == {"sft": 1.0, "rlvr": 0.0, "opsd": 0.0}


@pytest.mark.parametrize(("overlap", "low", "high"), [(0.5, 0.35, 0.65), (1.0, 1.0, 1.0)])
def test_overlap_is_what_was_asked_for_and_is_reported(
    make: Callable[..., PipelineConfig], overlap: float, low: float, high: float
):
    folder = run(make(f"overlap={overlap}"), Runs())

    report = json.loads((folder / "report.json").read_text())
    assert report["overlap"]["asked"] == overlap
    # Of a stage's own problems the others see the asked share; those that it borrowed add to it.
    assert low <= report["overlap"]["measured"]["sft"]["rlvr"] <= high + 0.2 * (overlap < 1)
    assert ("% by rlvr" in (folder / "report.md").read_text()) == (overlap > 0)


def test_the_same_words_fall_to_the_same_stage_however_they_are_spaced():
    assert problem_hash(["a  b", "c"]) == problem_hash(["a", "b\nc"])
    assert problem_hash(["ab"]) != problem_hash(["a b"])


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=5), st.floats(0, 1), st.text())
def test_every_problem_has_a_stage(shares: list[float], overlap: float, words: str):
    named = {str(number): share for number, share in enumerate(shares)}

    alone = stages_of(problem_hash([words]), named, 0.0)
    more = stages_of(problem_hash([words]), named, overlap)

    assert len(alone) == 1
    assert set(alone) <= set(more)
    assert set(stages_of(problem_hash([words]), named, 1.0)) == set(named)


def test_shares_are_kept():
    counts = {"a": 0, "b": 0}
    for number in range(4000):
        counts[stages_of(problem_hash([str(number)]), {"a": 3.0, "b": 1.0}, 0.0)[0]] += 1

    assert counts["a"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert overlaps({"a": {"1", "2"}, "b": {"2"}, "c": set()})["a"] == {"a": 1, "b": 0.5, "c": 0}


MOMENTS = ["before it is a run", "in the middle", "before its summary", "after its summary"]


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("stage", ["1-sft", "2-rlvr", "3-opsd"])
def test_a_pipeline_goes_on_wherever_it_died(
    make: Callable[..., PipelineConfig], stage: str, when: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cluster.pipeline.hold", lambda folder: None)
    runs = Runs(kill_at=(stage, when))
    with pytest.raises(Killed):
        run(make(), runs)

    folder = run(make(), runs, resume=True)

    report = json.loads((folder / "report.json").read_text())
    assert report["is_finished"]
    assert [row["name"] for row in report["stages"]] == NAMES
    again = [launch for launch in runs.launched if launch[0] == stage]
    expected = {
        "before it is a run": [False, False],
        "after its summary": [False],
    }.get(when, [False, True])
    assert [resume for _, resume in again] == expected
    others = [launch for launch in runs.launched if launch[0] != stage]
    assert len(others) == 2 and not any(resume for _, resume in others)


def test_a_finished_pipeline_that_is_resumed_starts_nothing(make: Callable[..., PipelineConfig]):
    runs = Runs()
    folder = run(make(), runs)
    before = (folder / "report.md").read_text()

    run(make(), runs, resume=True)

    assert len(runs.launched) == 3
    assert (folder / "report.md").read_text() == before


def test_another_pipeline_is_not_gone_on_with(make: Callable[..., PipelineConfig]):
    run(make(), Runs())

    with pytest.raises(UserError, match=r"--resume with another overlap.*began with 0\.0"):
        run(make("overlap=0.5"), Runs(), resume=True)
    with pytest.raises(UserError, match=r"exists; add --resume"):
        run(make(), Runs())
    with pytest.raises(UserError, match=r"holds no pipeline"):
        run(make("name=q"), Runs(), resume=True)
    with pytest.raises(UserError, match=r"--resume needs name"):
        run(make("name=null"), Runs(), resume=True)


def test_a_model_from_the_middle_skips_the_stages_before(make: Callable[..., PipelineConfig]):
    runs = Runs()

    folder = run(make("first=rlvr", "set.model.path=tiny"), runs)

    assert [name for name, _ in runs.launched] == ["1-rlvr", "2-opsd"]
    assert runs.models["1-rlvr"] == "tiny"
    assert json.loads((folder / "report.json").read_text())["planned"] == ["rlvr", "opsd"]


def test_a_report_of_a_part_says_what_is_missing(make: Callable[..., PipelineConfig]):
    pipeline = make()
    with pytest.raises(Killed):
        run(pipeline, Runs(kill_at=("2-rlvr", "in the middle")))
    folder = Path(pipeline.runs_dir) / "p"

    assert "Not run yet: rlvr, opsd." in (folder / "report.md").read_text()
    assert not json.loads((folder / "report.json").read_text())["is_finished"]
    assert (folder / PIPELINE).is_file()


def test_a_page_is_safe_from_what_names_and_paths_say(make: Callable[..., PipelineConfig]):
    folder = run(make('set.model.path="<script>alert(1)</script>|x"'), Runs())

    page = (folder / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "\\|x" in (folder / "report.md").read_text()


@pytest.mark.parametrize("name", pipeline_names())
def test_every_pipeline_of_ours_can_be_run(name: str):
    """Composed, its objectives have what they need, and the words of a stage are a run's keys."""
    given = ["set.data.train=x.jsonl"] if name.endswith("7b") else []
    stages = compose(load_pipeline(name, given))

    require_objectives(stages)
    assert len(stages) > 1


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_fits_a_run(name: str):
    from learner.provided import bound_objective  # noqa: PLC0415  heavy

    bound_objective(load("tiny", [name]))


def test_the_plan_says_who_gets_what(make: Callable[..., PipelineConfig]):
    text = "\n".join(plan_lines(make("overlap=0.5", "stages.rlvr.set.steps=7")))

    assert "stage 2/3 rlvr: rlvr, from what sft ends with" in text
    assert "7 steps of 32 x 8 rollouts, length budget 640" in text
    assert "are also seen by opsd" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["stages.rlvr.set.stepz=3"], "stage rlvr: unknown key 'stepz'; did you mean 'steps'"),
        (["stages.rlvr.recipe=rlvl"], "stage rlvr: .*recipe"),
        (["stages.rlvr.sett.steps=3"], "unknown key .*did you mean 'set'"),
        (["overlab=1"], "did you mean 'overlap'"),
        (["overlap=2"], "overlap: input should be less than or equal to 1"),
        (["first=rl"], "first='rl' is none of sft, rlvr, opsd"),
        (["set.name=x"], r"set\.name is the pipeline's own"),
        (["stages.rlvr.set.runs_dir=x"], r"runs_dir is the pipeline's own"),
        (["steps"], "key=value"),
    ],
)
def test_mistakes_are_told_in_one_line(settings: list[str], words: str):
    with pytest.raises(ConfigError, match=rf"(?i){words}") as failure:
        compose(load_pipeline("sft-rlvr-opsd", settings))

    assert "\n" not in str(failure.value)


def test_a_stage_without_problems_is_told(make: Callable[..., PipelineConfig]):
    with pytest.raises(UserError, match=r"stage 'sft' gets none of the 300 problems"):
        run(make("stages.sft.share=1e-9"), Runs())


def test_a_pipeline_without_stages_or_run_is_none():
    with pytest.raises(ConfigError, match="a pipeline needs run"):
        validate_pipeline({"stages": {"a": {}}})
    with pytest.raises(ConfigError, match="stages names none"):
        validate_pipeline({"run": "tiny", "stages": {}})


def test_files_build_upon_others(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("extends: [tiny, rlvr]\nsteps: 3\n")
    (tmp_path / "more.yaml").write_text("extends: mine.yaml\nbatch: {problems: 5}\n")

    config = load(str(tmp_path / "more.yaml"), ["raft", "seed=4"])

    assert (config.steps, config.batch.problems, config.seed) == (3, 5, 4)
    assert config.learner.objective == "raft"
    (tmp_path / "mine.yaml").write_text("extends: more.yaml\n")
    with pytest.raises(ConfigError, match="extends itself"):
        load(str(tmp_path / "more.yaml"), [])
    (tmp_path / "mine.yaml").write_text("extends: tiyn\n")
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        load(str(tmp_path / "mine.yaml"), [])
