"""``laconic eval`` as a user starts it, beside plain transformers, and killed."""

import json
import math
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cluster.eval_rows import samples_of
from cluster.models import models_dir, resolve_model
from configs.run_files import read_table
from tests.integration.conftest import ROOT, Laconic, World, command
from verifiers.types import EvalSample

CAP = 320
"""Tokens of a response on both sides."""


class Plain:
    """The made model by transformers alone, judged by a pattern."""

    def __init__(self) -> None:
        folder = resolve_model("tiny", print)
        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        lines = (models_dir() / "tiny/heldout.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]

    @torch.inference_mode()
    def answers(self, problems: int, samples: int, **how: Any) -> list[tuple[str, int, bool]]:
        """(text, tokens, right and finished), problem by problem."""
        rows = self.rows[:problems]
        turns = [[{"role": "user", "content": row["prompt"]}] for row in rows]
        prompts = [
            self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            for turn in turns
        ]
        batch = self.tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=False,
            return_token_type_ids=False,
        )  # fmt: skip
        model: Any = self.model
        out = model.generate(
            **batch, max_new_tokens=CAP, num_return_sequences=samples, top_k=0, top_p=1.0, **how
        )
        found = []
        for number, ids in enumerate(out[:, batch["input_ids"].shape[1] :].tolist()):
            end = self.tokenizer.eos_token_id
            length = ids.index(end) + 1 if end in ids else len(ids)
            text = self.tokenizer.decode(ids[: length - (end in ids)])
            boxed = re.findall(r"\\boxed\{(\d+)\}", text.rpartition("</think>")[2])
            right = boxed[-1:] == [str(rows[number // samples]["answer"])]
            found.append((text, length, right and end in ids))
        return found


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


def evaluated(laconic: Laconic, out: Path, *arguments: str) -> dict[str, Any]:
    done = laconic("eval", *arguments, "--out", str(out), "--json")
    assert done.returncode == 0
    return json.loads(done.stdout.splitlines()[-1])


def is_right(sample: EvalSample) -> bool:
    return sample.status == "correct" and sample.finish_reason == "stop"


@pytest.mark.timeout(900)
def test_greedy_responses_are_those_of_transformers(laconic: Laconic, plain: Plain, tmp_path: Path):
    settings = ["eval.temperature=0", "eval.problems=24", f"eval.max_tokens={CAP}"]
    report = evaluated(laconic, tmp_path / "e", "tiny", *settings, "engine.dtype=float32")

    expected = plain.answers(24, 1, do_sample=False)
    found = {s.problem_id: s for s in samples_of(tmp_path / "e")["tiny"]}
    ours = [found[str(row["id"])] for row in plain.rows[:24]]
    assert [(s.text, s.num_tokens, is_right(s)) for s in ours] == expected
    right = sum(ok for _, _, ok in expected)
    assert right > 12
    assert report["sets"]["tiny"]["accuracy"] == pytest.approx(right / 24)
    think = [text.partition("</think>")[0] + "</think>" for text, _, _ in expected]
    counted = [len(plain.tokenizer(text)["input_ids"]) for text in think]
    closed = [i for i, s in enumerate(ours) if "</think>" in s.text]
    assert [ours[i].num_think for i in closed] == [counted[i] for i in closed]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_samples_have_the_accuracy_and_length_of_transformers(
    laconic: Laconic, plain: Plain, tmp_path: Path
):
    settings = ["eval.problems=40", "eval.samples=5", f"eval.max_tokens={CAP}"]
    report = evaluated(laconic, tmp_path / "e", "tiny", *settings, "engine.dtype=float32")

    torch.manual_seed(0)
    theirs = plain.answers(40, 5, do_sample=True, temperature=1.0)
    groups: dict[str, list[EvalSample]] = {str(row["id"]): [] for row in plain.rows[:40]}
    for sample in samples_of(tmp_path / "e")["tiny"]:
        groups[sample.problem_id].append(sample)
    for name, ours_PS, theirs_PS in (
        (
            "accuracy",
            [[is_right(s) for s in g] for g in groups.values()],
            [ok for *_, ok in theirs],
        ),
        ("tokens", [[s.num_tokens for s in g] for g in groups.values()], [n for _, n, _ in theirs]),
    ):
        # Problem by problem, so that only the sampling differs.
        here, there = np.array(ours_PS, float), np.array(theirs_PS, float).reshape(40, 5)
        difference = here.mean(axis=1) - there.mean(axis=1)
        error = difference.std(ddof=1) / math.sqrt(40)
        assert abs(difference.mean()) < 4 * error, name
        assert error > 0
    accuracy = report["sets"]["tiny"]["accuracy"]
    assert accuracy == pytest.approx(np.mean([is_right(s) for g in groups.values() for s in g]))


@pytest.fixture(scope="module")
def counting(world: World) -> list[str]:
    file = world.folder / "held.jsonl"
    rows = ({"id": f"h{i}", "prompt": f"Count to {i}.", "answer": str(i)} for i in range(60))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        str(world.folder / "model"), "--data", f"count={file}", "data.verifier=tests.easy:easy",
        "engine.max_model_len=256", "data.max_prompt_tokens=100", "engine.max_num_seqs=8",
        "engine.dtype=float32",
    ]  # fmt: skip


def kept(out: Path) -> int:
    return read_table(out, "evals").num_rows if (out / "rollouts/manifest.jsonl").exists() else 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_killed_evaluation_goes_on_where_it_was(
    laconic: Laconic, counting: list[str], tmp_path: Path
):
    out = tmp_path / "e"
    arguments = [*counting, "eval.samples=5"]
    killed = subprocess.Popen(
        command("eval", *arguments, "--out", str(out)),
        cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while kept(out) < 10 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    there = kept(out)
    assert 10 <= there < 300

    done = laconic("eval", *arguments, "--out", str(out), "--json")

    assert done.returncode == 0
    said = re.search(r"(\d+) responses are there already, (\d+) are missing", done.stderr)
    assert said is not None
    assert int(said[1]) >= there
    assert int(said[1]) + int(said[2]) == 300
    report = json.loads(done.stdout.splitlines()[-1])["sets"]["count"]
    assert (report["problems"], report["samples"]) == (60, 5)
    rows = read_table(out, "evals").select(["problem_id", "sample"]).to_pylist()
    assert len(rows) == len({(row["problem_id"], row["sample"]) for row in rows}) == 300
    assert (out / "budget.svg").is_file()

    again = laconic("eval", *arguments, "--out", str(out), "--json")
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere/model"], "name problems with --data FILE"),
        (
            ["tiny", "eval.decode.forced_end=stop", "eval.decode.thinking_budget=9"],
            "lacks </think>",
        ),
    ],
)
def test_bad_input_is_one_line(laconic: Laconic, tmp_path: Path, arguments: list[str], words: str):
    done = laconic("eval", *arguments, "--out", str(tmp_path / "e"))

    assert done.returncode == 2
    assert words in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "e").exists()
