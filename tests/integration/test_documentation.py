"""Every command of README.md and docs/ is run, word for word, in the order of the page."""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configs.load import recipe_names
from configs.pipeline import pipeline_names
from configs.run_files import latest_rollouts
from learner.objectives.advantages import Group
from learner.objectives.base import View
from learner.objectives.bind import bind
from tests.unit.test_reproduction import BENCHMARKS, benchmark_file
from verifiers.python_code import python_code
from verifiers.registry import VERIFIERS
from verifiers.types import Task

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_BY_OTHER_TESTS = {
    "make demo": "test_demo",
    "make test": "this run",
    "laconic dashboard runs/demo": "tests/browser",
    "laconic dashboard runs/first": "tests/browser",
    "laconic scale runs/short 2": "test_engines",
    "laconic scale runs/short": "test_engines",
    "ray start --head": "test_ray_job",
    "laconic submit my.yaml name=far --address http://127.0.0.1:8265 --follow": "test_submit",
    "laconic job list --address http://127.0.0.1:8265": "test_submit",
    "ray job submit --working-dir . -- python -m cluster.main tiny steps=3": "test_ray_job",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line and line not in RUN_BY_OTHER_TESTS]


def run(line: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(line),
        cwd=folder,
        # Fewer held-out problems than a preset asks: they take most of the time of short runs.
        env=os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1", "LACONIC__EVAL__PROBLEMS": "20"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    print(f"$ {line}\n{done.stdout}{done.stderr}")
    is_report = line.split()[1] == "doctor"  # exit code 1 says that it found something
    assert done.returncode == 0 or is_report, line
    return done.stdout


def test_the_pages_that_have_commands_are_these():
    pages = [
        "README.md",
        "dashboard.md",
        "economy.md",
        "evaluation.md",
        "extending.md",
        "operations.md",
        "pipelines.md",
        "reproduction.md",
        "verifiers.md",
    ]
    assert [page.name for page in PAGES if commands(page)] == pages


@pytest.mark.timeout(2400)
def test_the_readme_is_true(tmp_path: Path):
    """The first real run: a pretrained model, three steps, evaluated, exported, loaded again."""
    (tmp_path / "my.yaml").write_text(blocks(PAGES[0], "yaml")[0])
    (tmp_path / "problems.jsonl").write_text(blocks(PAGES[0], "json")[0])

    for line in commands(PAGES[0]):
        run(line, tmp_path)

    rows = (tmp_path / "runs/first/metrics.jsonl").read_text().splitlines()
    losses = [json.loads(row)["loss"] for row in rows]
    assert len(losses) == 3
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415  heavy

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first-model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "first-model")
    assert model.num_parameters() > 130e6
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    loaded_by_vllm = run(
        "laconic eval first-model --preset smollm2 eval.problems=3 eval.max_tokens=32 --json",
        tmp_path,
    )
    assert json.loads(loaded_by_vllm)["sets"]["smollm2"]["problems"] == 3


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_the_operations_page_is_true(tmp_path: Path):
    row = {"id": "1", "answer": "4", "response": r"so \boxed{4}"}
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n")

    printed = {line: run(line, tmp_path) for line in commands(ROOT / "docs/operations.md")}

    assert json.loads(printed["laconic verify answers.jsonl"])["status"] == "correct"
    assert "finished" in printed["laconic train tiny steps=5 name=short --resume"]
    assert printed["laconic check runs/short"].endswith("\nok\n")
    assert "LATEST" in printed["laconic ckpt list runs/short"]
    assert "go on with --resume" in printed["laconic ckpt fetch file://copies/short runs/again"]
    assert "<h1>short</h1>" in (tmp_path / "short.html").read_text()
    assert json.loads((tmp_path / "runs/made-up/run.json").read_text())["synthetic"]
    python = blocks(ROOT / "docs/operations.md", "python")[0]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{python}\nassert table.num_rows == 1280"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.timeout(2400)  # the problems of the made model are counted
def test_the_pipelines_page_is_true(tmp_path: Path):
    page = ROOT / "docs/pipelines.md"
    (tmp_path / "mine.yaml").write_text(blocks(page, "yaml")[0])

    printed = {line: run(line, tmp_path) for line in commands(page)}

    mine = printed["laconic pipeline mine.yaml stages.brevity.set.steps=10 --dry-run"]
    assert "stage 2/2 brevity: onpolicy_sft, from what capability ends with" in mine
    assert "10 steps of 32 x 8 rollouts, length budget 120" in mine
    named = re.findall(r"^\| `([\w.-]+)` \|", page.read_text(), re.MULTILINE)
    assert set(named) >= set(pipeline_names())
    assert all(f"`{name}`" in page.read_text() for name in recipe_names())


def test_the_reproduction_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    page = ROOT / "docs/reproduction.md"
    for name in BENCHMARKS:
        made = benchmark_file(tmp_path, name)
        made.rename(tmp_path / f"{name}{'_test' if name == 'gsm8k' else ''}.parquet")
    rows = [{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": None}]
    (tmp_path / "deepscaler.json").write_text(json.dumps(rows))

    printed = [run(line, tmp_path) for line in commands(page)]

    assert "without an answer 1" in printed[1] and "written 1" in printed[1]
    assert "# placement on cuda" in printed[0]


def test_the_verifiers_page_is_true(tmp_path: Path):
    page = ROOT / "docs/verifiers.md"
    (tmp_path / "my_judge.py").write_text(blocks(page, "python")[0])
    row = {"id": "1", "answer": "4", "response": r"so \boxed{4.01}"}
    (tmp_path / "answers.jsonl").write_text(json.dumps(row) + "\n")

    printed = {line: run(line, tmp_path) for line in commands(page)}

    own = printed["env PYTHONPATH=. laconic verify answers.jsonl --verifier my_judge:close_enough"]
    assert json.loads(own)["status"] == "correct"
    assert json.loads(printed["laconic verify answers.jsonl"])["status"] == "wrong"


def test_the_verifiers_page_names_every_judge_and_its_examples_are_references():
    page = ROOT / "docs/verifiers.md"
    assert set(re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE)) >= set(VERIFIERS)

    program = "```python\ndef add(a, b): return a + b\nif __name__ == '__main__':\n"
    program += "    import sys\n    print(add(*map(int, sys.stdin.read().split() or (0, 0))))\n```"
    for line in blocks(page, "json")[0].splitlines():
        assert python_code(Task(answer=line), program).status == "correct", line


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_the_extending_page_is_true(tmp_path: Path):
    """Parts from outside the tree train runs, rejected rollouts included."""
    page = ROOT / "docs/extending.md"
    for block in blocks(page, "python"):
        name = block.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(block)

    printed = {line: run(line, tmp_path) for line in commands(page)}

    replayed = printed["env PYTHONPATH=. laconic replay runs/stepped"]
    assert "as recorded: 64 of 64 decisions come out the same" in replayed
    assert "my_steps:SHORTER" in replayed
    weighed = [
        row
        for row in latest_rollouts(tmp_path / "runs/weighed").to_pylist()
        if row["verdict"] == "correct" and row["finish_reason"] == "stop"
    ]
    assert weighed
    assert all(row["reward"] == pytest.approx(1 + 0.5 / row["n_tokens"]) for row in weighed)
    assert all(0.9 < row["weight_mean"] < 1.1 for row in weighed)
    [run_dir] = set((tmp_path / "runs").iterdir()) - {
        tmp_path / "runs/stepped",
        tmp_path / "runs/weighed",
    }
    rows = [json.loads(row) for row in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    # A group whose answers are all wrong has nothing but rejected ones, and is learnt from all
    # the same; the loss of advantages is not the likelihood.
    assert all(row["num_rollouts"] == row["rollouts"] > row["accepted"] for row in rows)
    assert all(row["loss"] != pytest.approx(row["nll"], rel=1e-3) for row in rows)


def test_the_dashboard_page_is_true(tmp_path: Path):
    printed = {line: run(line, tmp_path) for line in commands(ROOT / "docs/dashboard.md")}

    [reasons, tokens] = [text for line, text in printed.items() if " query " in line]
    assert reasons.split()[:2] == ["reason", "rollouts"] and "over_budget" in reasons
    assert tokens.startswith("label,tokens\n")


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_economy_page_is_true(tmp_path: Path):
    printed = {line: run(line, tmp_path) for line in commands(ROOT / "docs/economy.md")}

    assert "128 of 128 decisions come out the same" in printed["laconic replay runs/watched"]
    report = printed["laconic confounders runs/watched"]
    assert "kept -> trained: no shift" in report


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_evaluation_page_is_true(tmp_path: Path):
    printed = {line: run(line, tmp_path) for line in commands(ROOT / "docs/evaluation.md")}

    [compared] = [text for line, text in printed.items() if line.startswith("laconic compare")]
    assert "forced-eval beside base-eval on tiny, 30 problems" in compared
    reports = [
        json.loads((tmp_path / f"runs/{name}-eval/report.json").read_text())
        for name in ("base", "forced")
    ]
    thought = [report["sets"]["tiny"]["mean_think_tokens"] for report in reports]
    assert thought[1] <= 61 < thought[0]
    named = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/evaluation.md").read_text(), re.MULTILINE)
    figures = {name for cell in named for name in re.findall(r"`(\w+)`", cell)}
    assert figures <= reports[0]["sets"]["tiny"].keys()


def test_the_objective_of_the_extending_page_is_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "my_objective.py").write_text(blocks(ROOT / "docs/extending.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    mine = bind("my_objective:MINE", {"temper": 1.0})
    logits_NV = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    advantages_N = torch.tensor([0.5, 0.0])

    [term] = mine(
        View(logits_NV=logits_NV, targets_N=torch.tensor([1, 0]), advantages_N=advantages_N)
    )

    logp_N = logits_NV.log_softmax(-1)[[0, 1], [1, 0]]
    assert torch.allclose(term.losses_N, -advantages_N * logp_N)
    assert mine.objective.advantages is not None
    group = Group(rewards=(1.0, 1.0, 0.0), lengths=(2, 4, 3))
    assert mine.objective.advantages(group, mine.settings) == [0.5, 0.0, 0.0]
