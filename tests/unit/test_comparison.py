"""Comparisons by hand, from written evaluations; and figures of a set of samples."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from actors.recorder import Recorder
from cluster.compare import as_dict, compare_all, lines, notes, open_source, write
from cluster.eval_dir import KIND, EvalDir, identity_of
from cluster.eval_rows import samples_of
from configs.errors import UserError
from configs.load import load
from configs.run_files import RUN
from configs.schema import RecorderConfig
from evaluation.comparison import compare
from evaluation.figures import figures, problem_rows
from evaluation.plots import Point, pareto_front, pareto_plot, shown
from evaluation.report import report_lines, write_report
from verifiers.types import EvalSample, Message, Problem, Status


def sample(
    problem: str, number: int, status: Status, tokens: int, answer: str | None = "4", **more: Any
) -> EvalSample:
    return EvalSample(
        problem_id=problem, sample=number, version=0, status=status, num_tokens=tokens,
        finish_reason=more.pop("finish_reason", "stop"), extracted=answer,
        text=more.pop("text", f"{problem} {status}"), **more,
    )  # fmt: skip


def one_each(statuses: str, tokens: int) -> list[EvalSample]:
    """``one_each("++-", 9)``: three problems, the last one wrong."""
    return [
        sample(f"p{i}", 0, "correct" if mark == "+" else "wrong", tokens + i)
        for i, mark in enumerate(statuses)
    ]


async def written(
    folder: Path, sets: dict[str, list[EvalSample]], texts: Mapping[str, str] = {}, **run: Any
) -> Path:
    folder.mkdir()
    (folder / RUN).write_text(json.dumps({"kind": KIND, "sampling": {"samples": 1}, **run}))
    recorder = Recorder(str(folder), RecorderConfig())
    await recorder.start()
    ids = sorted({s.problem_id for group in sets.values() for s in group})

    def turn(id: str) -> Message:
        return Message(role="user", content=texts.get(id, "2+2?"))

    await recorder.problems(
        [
            Problem(
                id=id,
                messages=(turn(id),),
                answer="4",
                source="s",
                verifier="math",
                prompt_ids=(1,),
            )
            for id in ids
        ]
    )
    for label, group in sets.items():
        await recorder.evals(label, 0, group)
    await recorder.close()
    return folder


def test_a_pair_of_models_by_hand():
    found = compare(one_each("++++----", 100), one_each("+--+++--", 50))

    assert found is not None
    paired, flips = found
    assert (paired.base_accuracy, paired.other_accuracy) == (0.5, 0.5)
    assert paired.accuracy_change == 0
    assert (paired.gained, paired.lost) == (2, 2)
    assert (paired.accuracy_p, paired.mcnemar_p) == (1, 1)
    assert paired.tokens_ratio == pytest.approx((50 + 3.5) / (100 + 3.5))
    assert paired.tokens_p == pytest.approx(2 / 2**8)
    assert {flip.problem_id: flip.change for flip in flips} == {
        "p1": "right to wrong", "p2": "right to wrong",
        "p4": "wrong to right", "p5": "wrong to right",
    }  # fmt: skip
    assert [flip.other.status for flip in flips] == ["wrong", "wrong", "correct", "correct"]


def test_several_responses_flip_by_their_majority():
    base = [sample("p", i, "correct" if i < 2 else "wrong", 10) for i in range(3)]
    other = [sample("p", i, "correct" if i < 1 else "wrong", 10) for i in range(3)]

    found = compare(base, other)

    assert found is not None
    (flip,) = found[1]
    assert flip.change == "right to wrong"
    assert (flip.base.sample, flip.other.sample) == (0, 1)
    assert found[0].accuracy_change == pytest.approx(-1 / 3)


def test_only_problems_of_both_count():
    found = compare(one_each("++", 1), one_each("+-+-", 1)[1:])

    assert found is not None
    assert (found[0].problems, found[0].base_only, found[0].other_only) == (1, 1, 2)
    assert compare(one_each("+", 1), [sample("q", 0, "wrong", 1)]) is None


async def test_folders_are_compared_with_texts(tmp_path: Path):
    hostile = "\x1b[2Jboo\nnext"
    theirs = [*one_each("++", 5), sample("p2", 0, "wrong", 7, text=hostile)]
    base = await written(tmp_path / "a", {"sums": one_each("+-+", 9)})
    other = await written(tmp_path / "b", {"sums": theirs}, sampling={"samples": 2})
    sources = [open_source(str(base)), open_source(str(other))]

    rows = compare_all(sources[0], sources[1:])
    told = notes(sources[0], sources[1:])
    write(tmp_path / "out", sources, rows, as_dict(sources[0], rows, told))

    assert told == ["b was sampled with another samples: 2, not 1"]
    said = "\n".join(lines(sources[0], rows, show=5))
    assert "1 problems became right, 1 wrong" in said
    assert "boo next" in said
    assert "\x1b" not in said
    flips = [json.loads(line) for line in (tmp_path / "out/flips.jsonl").read_text().splitlines()]
    assert {flip["change"] for flip in flips} == {"right to wrong", "wrong to right"}
    lost = next(flip for flip in flips if flip["change"] == "right to wrong")
    assert (lost["problem"], lost["gold"], lost["other"]["text"]) == ("2+2?", "4", hostile)
    assert json.loads((tmp_path / "out/comparison.json").read_text())["rows"][0]["gained"] == 1
    assert (tmp_path / "out/pareto.png").stat().st_size > 1000
    assert "<svg" in (tmp_path / "out/pareto.svg").read_text()


async def test_a_run_is_compared_with_itself_before_training(tmp_path: Path):
    sets = {"before": one_each("+-", 9), "after": one_each("++", 5)}
    run = await written(tmp_path / "r", sets, kind="run")

    (row,) = compare_all(open_source(f"{run}@before"), [open_source(str(run))])

    assert (row.paired.gained, row.paired.lost) == (1, 0)
    with pytest.raises(UserError, match="no evaluation 'later'; there is after, before"):
        open_source(f"{run}@later")


async def test_sets_are_paired_by_name_and_ids_lose_the_label(tmp_path: Path):
    other_ids = [sample(f"y/p{i}", 0, "correct", 3) for i in range(2)]
    base = await written(tmp_path / "a", {"x": one_each("++", 9), "y": one_each("+-", 9)})
    other = await written(tmp_path / "b", {"x": one_each("-+", 5), "y": other_ids})

    rows = compare_all(open_source(str(base)), [open_source(str(other))])

    assert [(r.label, r.paired.gained, r.paired.lost) for r in rows] == [("x", 0, 1), ("y", 1, 0)]
    third = await written(tmp_path / "c", {"z": one_each("++", 9), "w": one_each("++", 9)})
    with pytest.raises(UserError, match="no set in common"):
        compare_all(open_source(str(base)), [open_source(str(third))])


async def test_sets_that_share_ids_keep_their_own_problems(tmp_path: Path):
    """Ids that an earlier set has too were written with the label before them."""
    texts = {"p0": "of x", "y/p0": "of y"}
    right = {"x": [sample("p0", 0, "correct", 9)], "y": [sample("y/p0", 0, "correct", 9)]}
    wrong = {"x": [sample("p0", 0, "wrong", 9)], "y": [sample("y/p0", 0, "wrong", 9)]}
    base = await written(tmp_path / "a", right, texts)
    other = await written(tmp_path / "b", wrong, texts)
    sources = [open_source(str(base)), open_source(str(other))]

    rows = compare_all(sources[0], sources[1:])
    write(tmp_path / "out", sources, rows, {})

    said = [line.strip() for line in lines(sources[0], rows, show=1) if "problem: " in line]
    assert said == ["problem: of x (answer 4)", "problem: of y (answer 4)"]
    flips = [json.loads(line) for line in (tmp_path / "out/flips.jsonl").read_text().splitlines()]
    assert [(flip["set"], flip["problem"]) for flip in flips] == [("x", "of x"), ("y", "of y")]


def test_what_is_no_folder_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="neither an evaluation's nor a run's folder"):
        open_source(str(tmp_path))


async def test_responses_come_back_as_they_were(tmp_path: Path):
    told = sample("p", 3, "timeout", 12, None, num_think=9, logprob_mean=-0.25)
    again = sample("p", 3, "correct", 13, num_think=9, logprob_mean=-0.25)
    folder = await written(tmp_path / "a", {"s": [told, again]})

    assert samples_of(folder) == {"s": [again]}


def test_the_figures_by_hand(tmp_path: Path):
    samples = [
        sample("a", 0, "correct", 100, num_think=80, logprob_mean=-0.1),
        sample("a", 1, "correct", 200, num_think=150, logprob_mean=-0.1),
        sample("b", 0, "wrong", 300, "7", num_think=290, logprob_mean=-0.5),
        sample("b", 1, "correct", 640, finish_reason="length", num_think=640, logprob_mean=-0.5),
    ]

    found = figures(samples, max_tokens=640, temperature=1.0)

    assert found["accuracy"] == 0.5  # the truncated one is not right
    assert found["mean_tokens"] == 310
    assert found["truncated"] == 0.25
    assert (found["mean_think_tokens"], found["mean_answer_tokens"]) == (290, 20)
    assert found["efficiency"] == pytest.approx(50 / 310 * 100)
    assert [(r["k"], r["value"]) for r in found["pass_at"]] == [(1, 0.5), (2, 0.5)]
    assert [(r["k"], r["value"]) for r in found["maj_at"]] == [(1, 0.5), (2, 0.5)]
    curve = {row["budget"]: row["accuracy"] for row in found["budgets"]}
    assert (curve[100], curve[640]) == (0.25, 0.5)
    assert found["verdicts"] == {"correct": 3, "wrong": 1}
    rows = {row["problem_id"]: row for row in problem_rows(samples)}
    assert (rows["a"]["right"], rows["b"]["right"], rows["b"]["truncated"]) == (2, 0, 1)
    assert rows["b"]["most_common_answer"] == "7"

    report = {"model": "m$x^", "sets": {"_s$": found}}
    write_report(tmp_path, report, {"_s$": samples}, lambda _: None)
    assert {p.name for p in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("budget", "lengths", "calibration") for kind in ("png", "svg")
    } | {"problems.parquet"}
    assert "accuracy 50.0 %" in report_lines(report)[0]


def test_efficiency_is_as_published():
    from evaluation.figures import efficiency  # noqa: PLC0415

    assert efficiency(0.599, 2186) == pytest.approx(2.74, abs=0.005)


def point(label: str, tokens: float, accuracy: float) -> Point:
    return Point(
        label=label, tokens=tokens, tokens_ci=(tokens, tokens),
        accuracy=accuracy, accuracy_ci=(accuracy, accuracy),
    )  # fmt: skip


def test_the_front_is_what_nothing_beats(tmp_path: Path):
    points = [
        point("c", 300, 0.9),
        point("a", 100, 0.5),
        point("d", 350, 0.8),
        point("b", 100, 0.7),
    ]

    assert [p.label for p in pareto_front(points)] == ["b", "c"]
    first, again = (pareto_plot(points, tmp_path / name, "t")[1] for name in ("x", "y"))
    assert first.read_text() == again.read_text()


def test_labels_cannot_draw(tmp_path: Path):
    assert shown("__x\n\x1b") == "x  "
    assert len(shown("y" * 99)) == 48


def test_an_evaluation_is_gone_on_with_only_when_it_is_the_same(tmp_path: Path):
    config, folder = load("tiny", []), EvalDir(path=tmp_path / "e")
    folder.begin(config, {"model": "tiny", "sets": {"a": "b"}})
    folder.begin(config, {"model": "tiny", "sets": {"a": "b"}})
    assert folder.run is not None
    assert len(folder.run["starts"]) == 2
    assert folder.report is None

    with pytest.raises(UserError, match='with other model: "tiny", and now it would be "x"'):
        folder.begin(config, {"model": "x", "sets": {"a": "b"}})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("words")
    with pytest.raises(UserError, match="is no evaluation"):
        EvalDir(path=tmp_path / "mine").begin(config, {})


def test_responses_with_another_cap_do_not_belong_together(tmp_path: Path):
    folder = EvalDir(path=tmp_path / "e")

    def begin(*settings: str) -> None:
        config = load("tiny", ["eval.max_tokens=null", *settings])
        folder.begin(config, identity_of(config, {"a": "b"}, "f"))

    begin("engine.max_model_len=512", "data.max_prompt_tokens=128")
    begin("engine.max_model_len=512", "data.max_prompt_tokens=128")
    with pytest.raises(UserError, match="with other max_tokens: 384, and now it would be 412"):
        begin("engine.max_model_len=512", "data.max_prompt_tokens=100")
