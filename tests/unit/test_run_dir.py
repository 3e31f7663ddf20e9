"""Where a run lives, and what may change when it goes on."""

import json
from pathlib import Path

import pytest

from cluster.run_dir import RunDirError, locate, require_space
from configs.load import load
from configs.run_files import FORMAT, RUN


def config(tmp_path: Path, *settings: str):
    return load("tiny", [f"runs_dir={tmp_path}", "name=a", *settings])


def test_nothing_is_written_until_it_is_created(tmp_path: Path):
    run_dir = locate(config(tmp_path), "tiny", resume=False)
    assert list(tmp_path.iterdir()) == []

    run_dir.create(config(tmp_path), "tiny")

    assert {path.name for path in run_dir.path.iterdir()} == {
        "lock",
        "run.json",
        "resolved.yaml",
        "sources.json",
        "weights",
    }


def test_an_existing_run_is_not_overwritten(tmp_path: Path):
    locate(config(tmp_path), "tiny", resume=False).create(config(tmp_path), "tiny")

    with pytest.raises(RunDirError, match=r"exists; add --resume .* another name="):
        locate(config(tmp_path), "tiny", resume=False)


def test_resume_needs_a_name_and_a_run(tmp_path: Path):
    with pytest.raises(RunDirError, match="needs name="):
        locate(load("tiny", []), "tiny", resume=True)
    with pytest.raises(RunDirError, match="holds no run to resume"):
        locate(config(tmp_path), "tiny", resume=True)


def test_a_run_of_a_newer_version_is_left_alone(tmp_path: Path):
    run_dir = locate(config(tmp_path), "tiny", resume=False)
    run_dir.create(config(tmp_path), "tiny")
    run = json.loads((run_dir.path / RUN).read_text())
    assert run["format"] == FORMAT

    (run_dir.path / RUN).write_text(json.dumps(run | {"format": FORMAT + 1}))

    with pytest.raises(RunDirError, match="written by a newer version"):
        locate(config(tmp_path), "tiny", resume=True)


@pytest.mark.row(28)
def test_a_resumed_run_may_be_longer_but_not_another(tmp_path: Path):
    locate(config(tmp_path), "tiny", resume=False).create(config(tmp_path), "tiny")

    assert locate(config(tmp_path, "steps=99"), "tiny", resume=True).is_resumed
    sharded = ("learner.world_size=2", "learner.zero_stage=3", "learner.offload_optimizer=true")
    assert locate(config(tmp_path, *sharded), "tiny", resume=True).is_resumed
    with pytest.raises(RunDirError, match=r"filter\.length_budget: the run has 120, .* says 60"):
        locate(config(tmp_path, "filter.length_budget=60"), "tiny", resume=True)
    with pytest.raises(RunDirError, match=r"learner\.dtype: the run has 'float32'"):
        locate(config(tmp_path, "learner.dtype=bfloat16"), "tiny", resume=True)
    with pytest.raises(RunDirError, match=r"another seed"):
        locate(config(tmp_path, "seed=1"), "tiny", resume=True)


@pytest.mark.row(28)
@pytest.mark.parametrize("what", ["problems", "tokenizer"])
def test_a_resumed_run_finds_its_problems_and_its_tokenizer_again(tmp_path: Path, what: str):
    began = {"problems": "a" * 32, "tokenizer": "b" * 32}
    new = locate(config(tmp_path), "tiny", resume=False)
    new.require_same(began)
    new.create(config(tmp_path), "tiny", began)
    resumed = locate(config(tmp_path), "tiny", resume=True)

    resumed.require_same(began)
    with pytest.raises(RunDirError, match=f"with other {what}.*began with [ab]{{12}}, .* c{{12}}"):
        resumed.require_same(began | {what: "c" * 32})


def test_a_job_keeps_its_runs_outside_of_its_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("HOME", str(tmp_path))

    path = locate(load("tiny", ["name=a"]), "tiny", resume=False).path

    assert path == tmp_path / "laconic" / "runs" / "a"


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path):
    require_space(tmp_path / "not" / "there", 1)
    with pytest.raises(RunDirError, match=r"GiB free and the run needs about .* runs_dir="):
        require_space(tmp_path / "not" / "there", 1 << 60)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunDirError, match="cannot write the run directory"):
        locate(config(tmp_path / "file"), "tiny", resume=False).create(config(tmp_path), "tiny")
