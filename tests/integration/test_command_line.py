"""Bad input is one line and exit code 2, before anything is started or written."""

import json
import socket
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Laconic, World


def one_line(laconic: Laconic, *arguments: str) -> str:
    done = laconic(*arguments)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr
    return last


@pytest.mark.row(28)
def test_a_misspelt_key_is_told_without_importing_anything_heavy(laconic: Laconic):
    line = one_line(laconic, "train", "tiny", "lenght_budget=3")

    assert line == "laconic: unknown key 'lenght_budget'; did you mean 'filter.length_budget'?"


@pytest.mark.row(28)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["model.path=nowhere"], ["model.path='nowhere'", "tiny and smollm2"]),
        (["data.train=nowhere.jsonl"], ["nowhere.jsonl"]),
        (["data.max_prompt_tokens=3"], ["data.max_prompt_tokens", "raise"]),
        (["cluster.device=cuda", "engine.num_engines=7"], ["8 GPUs", "Ray has 0"]),
        (["cluster.address=127.0.0.1:1"], ["no Ray answers", "127.0.0.1:1"]),
        (["data.verifier=maths"], ["maths", "math"]),
        (["learner.objective=chord"], ["learner.objective=chord", "set data.responses=beside"]),
        (["learner.objective=opsd"], ["learner.objective=opsd", "set learner.teacher.prompt"]),
        (["learner.objective_settings.entropi=1"], ["learner.objective_settings.entropi", "sft"]),
    ],
    ids=lambda value: "-".join(value)[:40],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    laconic: Laconic, world: World, settings: list[str], words: list[str]
):
    before = sorted(world.folder.glob("runs/*"))

    line = one_line(laconic, "train", "tiny", *world.settings, "name=bad", *settings)

    for word in words:
        assert word in line
    assert sorted(world.folder.glob("runs/*")) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["no rows"]),
        ('{"id": "a", "prompt": "2+2?"}\n', ["row 1", "answer"]),
        ("not json\n", ["row 1"]),
    ],
)
def test_bad_data_names_the_file_and_the_row(
    laconic: Laconic, world: World, tmp_path: Path, content: str, words: list[str]
):
    path = tmp_path / "rows.jsonl"
    path.write_text(content)

    line = one_line(laconic, "validate", "tiny", *world.settings, f"data.train={path}")

    assert "rows.jsonl" in line
    for word in words:
        assert word in line


def test_a_port_in_use_is_named(laconic: Laconic, world: World):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]

        line = one_line(laconic, "train", "tiny", *world.settings, f"cluster.learner_port={port}")

    assert f"cluster.learner_port={port} is in use" in line


def test_validate_says_what_it_found(laconic: Laconic, world: World):
    done = laconic("validate", "tiny", *world.settings)

    assert done.returncode == 0
    assert "ok: 200 problems to learn from" in done.stdout


def test_dry_run_shows_plan_and_arithmetic_and_starts_nothing(laconic: Laconic, world: World):
    started = time.monotonic()
    done = laconic("train", "tiny", *world.settings, "name=dry", "--dry-run")

    assert done.returncode == 0
    for words in ("length_budget: 180", "generator 0", "learner 0", "4 problems x 8 rollouts"):
        assert words in done.stdout
    assert not world.run_dir("dry").exists()
    assert time.monotonic() - started < 60


def test_doctor_reports_in_json(laconic: Laconic):
    rows = json.loads(laconic("doctor", "--json").stdout)

    assert {"name", "ok", "found", "advice"} <= rows[0].keys()


def test_verify_judges_a_file_line_by_line(laconic: Laconic, tmp_path: Path):
    rows = [
        {"id": "1", "answer": "4", "response": r"so \boxed{4}"},
        {"id": "2", "answer": "4", "response": r"so \boxed{5}"},
        {"id": "3", "answer": "4", "response": "hm", "verifier": "math"},
        {"id": "4", "answer": r"\frac{1}{2}", "response": r"\boxed{0.5}"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = laconic("verify", str(path))

    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(v["id"], v["status"]) for v in verdicts] == [
        ("1", "correct"),
        ("2", "wrong"),
        ("3", "no_answer"),
        ("4", "correct"),
    ]
    assert {"extracted", "ms"} <= verdicts[0].keys()


def test_verify_shows_where_two_judges_disagree(laconic: Laconic, tmp_path: Path):
    rows = [
        {"id": "same", "answer": "4", "response": r"so \boxed{4}"},
        {"id": "form", "answer": r"\frac{1}{2}", "response": r"so \boxed{0.5}"},
        {"id": "many", "answer": ["a half", r"\frac{1}{2}"], "response": r"so \boxed{0.5}"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    done = laconic("verify", str(path), "--compare", "string", "judge.workers=1")

    [form, many] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (form["id"], many["id"]) == ("form", "many")
    assert (form["first"]["verifier"], form["first"]["status"]) == ("math", "correct")
    assert (form["second"]["verifier"], form["second"]["status"]) == ("string", "wrong")
    assert "math and string agree on 1 of 3 rows (33.33 %)" in done.stderr
    assert "math says correct, string says wrong: 2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["judge.strictnes=strict"], "did you mean 'judge.strictness'"),
        (["judge.strictness=very"], "judge.strictness='very'"),
        (["judge.workers=0"], "judge.workers=0"),
        (["steps=3"], "only judge.key=value can be set here"),
        (["--compare", "maths"], "did you mean 'math'"),
    ],
)
def test_verify_refuses_what_it_cannot_set(
    laconic: Laconic, tmp_path: Path, arguments: list[str], words: str
):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "answer": "4", "response": "4"}\n')

    assert words in one_line(laconic, "verify", str(path), *arguments)


def test_validate_names_the_references_that_no_judge_can_use(
    laconic: Laconic, world: World, tmp_path: Path
):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": 1, "prompt": "a", "answer": "4"},
        {"id": 2, "prompt": "b", "answer": "seventy", "verifier": "number"},
        {"id": 3, "prompt": "c", "answer": "(", "verifier": "regex"},
        {"id": 4, "prompt": "d", "answer": {"cases": []}, "verifier": "python"},
        {"id": 5, "prompt": "e", "answer": {"schema": {"type": "objekt"}}, "verifier": "json"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [*world.settings, f"data.train={path}", "data.verifier=math"]

    done = laconic("validate", "tiny", *settings)

    warned = [line for line in done.stderr.splitlines() if "rows.jsonl row" in line]
    assert done.returncode == 0
    assert [f"row {n}:" in line for n, line in zip((2, 3, 4, 5), warned, strict=True)] == [True] * 4
    assert "'seventy' is not a number" in warned[0]
    assert "5 problems to learn from" in done.stdout
    assert "4 useless reference answers" in done.stdout


def test_validate_refuses_data_of_which_nothing_can_be_judged(
    laconic: Laconic, world: World, tmp_path: Path
):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "prompt": "a", "answer": "many"}\n')
    settings = [*world.settings, f"data.train={path}", "data.verifier=number"]

    assert "no reference answer can be judged" in one_line(laconic, "validate", "tiny", *settings)
