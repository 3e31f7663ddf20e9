import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors import hub_data, problem_files
from actors.problem_files import DataError, read_problem_file, read_rows, resolve_data
from verifiers.types import Message

ASK = {"prompt": "1+1?", "answer": "2"}
VERL = {
    "prompt": [{"role": "user", "content": "2+3?"}],
    "reward_model": {"ground_truth": "5", "style": "rule"},
    "data_source": "sums",
    "ability": "math",
    "id": 7,
    "answer": "not this one",
}


def write_jsonl(path: Path, *rows: Any) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def user(content: str) -> tuple[Message, ...]:
    return (Message(role="user", content=content),)


def only(row: dict[str, Any], tmp_path: Path):
    (found,) = read_rows(write_jsonl(tmp_path / "x.jsonl", row))
    return found


def refused(name: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        read_rows(str(name))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def refused_row(row: Any, tmp_path: Path) -> str:
    """A good row and a blank line stand before it: the number is that of the line in the file."""
    path = tmp_path / "x.jsonl"
    path.write_text(f"{json.dumps(ASK)}\n\n{json.dumps(row)}\n")
    message = refused(path)
    assert "x.jsonl row 3" in message
    return message


def test_the_same_rows_come_out_of_every_format(tmp_path: Path):
    rows = [
        {"id": "a", "question": 'say "1,5"\r\nor \u2028 more', "answer": "1,5"},
        {"id": "b", "question": "Wie heißt das? 你好", "answer": "x"},
    ]
    text = json.dumps(rows, ensure_ascii=False)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    cells = [",".join('"' + v.replace('"', '""') + '"' for v in row.values()) for row in rows]
    files = {
        "x.jsonl": f"\ufeff{lines}\n\n",
        "list.json": f"\n{text}",
        "data.json": f'{{"data": {text}, "version": 1}}',
        "lines.json": lines,
        "x.csv": "id,question,answer\r\n" + "\r\n\r\n".join(cells) + "\r\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=1)

    for name in [*files, "x.parquet"]:
        found = read_rows(str(tmp_path / name))

        assert [(row.id, row.messages, row.answer) for row in found] == [
            (row["id"], user(row["question"]), row["answer"]) for row in rows
        ], name


def test_verl_rows_are_read_and_their_ground_truth_wins(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([VERL]), tmp_path / "x.parquet")

    (row,) = read_rows(str(tmp_path / "x.parquet"))

    assert (row.id, row.messages, row.answer, row.source) == ("7", user("2+3?"), "5", "sums")
    assert row.verifier is None


def test_the_index_of_verl_is_an_id_within_its_source(tmp_path: Path):
    rows = [
        {**ASK, "data_source": source, "extra_info": {"index": 0, "split": "train"}}
        for source in ("gsm8k", "math500")
    ]

    found = read_rows(write_jsonl(tmp_path / "x.jsonl", *rows))

    assert [row.id for row in found] == ["gsm8k-0", "math500-0"]


@pytest.mark.parametrize("key", ["prompt", "question", "problem"])
def test_a_prompt_has_one_of_three_names(key: str, tmp_path: Path):
    assert only({key: "1+1?", "answer": "2"}, tmp_path).messages == user("1+1?")


@pytest.mark.parametrize("key", ["answer", "ground_truth", "final_answer"])
def test_an_answer_has_one_of_three_names(key: str, tmp_path: Path):
    assert only({"prompt": "1+1?", key: "2", "solution": "by counting"}, tmp_path).answer == "2"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (12, "12"),
        (12.0, "12"),
        (-0.5, "-0.5"),
        (2**53 + 1, "9007199254740993"),
        (1e22, "1e+22"),
        (0, "0"),
        ("12.0", "12.0"),
        (" 3 #### 4 ", "4"),
        ("2*3=6 #### wrong\n#### 1,080\n", "1,080"),
        ("# 5", "# 5"),
        ("x = 1  #### not a label\nassert x", "x = 1  #### not a label\nassert x"),
        (["1/2", "0.5"], '["1/2", "0.5"]'),
        ({"tests": "assert π"}, '{"tests": "assert π"}'),
    ],
)
def test_an_answer_is_text_as_a_person_writes_it(given: Any, kept: str, tmp_path: Path):
    assert only({"prompt": "?", "answer": given}, tmp_path).answer == kept


def test_integers_that_went_through_a_float_column_of_csv_are_integers(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("question,answer\na,12.0\nb,-3.0\nc,1.50\nd,v2.0\n")

    assert [row.answer for row in read_rows(str(path))] == ["12", "-3", "1.50", "v2.0"]


def test_the_verifier_is_the_rows_own_or_the_one_known_for_its_source(tmp_path: Path):
    rows = [
        {"prompt": "a", "answer": "1", "data_source": "GSM8K", "verifier": "math"},
        {"prompt": "b", "answer": "1", "data_source": "openai/GSM8K"},
        {"prompt": "c", "answer": "1", "data_source": "elsewhere"},
        {"prompt": "d", "answer": "1", "verifier": ""},
    ]

    # the file's own name is no promise of what it holds
    found = read_rows(write_jsonl(tmp_path / "gsm8k.jsonl", *rows))

    assert [row.verifier for row in found] == ["math", "number", None, None]
    assert [row.source for row in found] == ["GSM8K", "openai/GSM8K", "elsewhere", "gsm8k"]


def test_ids_are_made_from_what_is_asked_and_answered(tmp_path: Path):
    rows = [
        {"prompt": "a", "answer": "1"},
        {"prompt": "a", "answer": "2"},
        {"prompt": [{"role": "system", "content": "a"}, *VERL["prompt"]], "answer": "1"},
        {"prompt": [{"role": "user", "content": "a"}, *VERL["prompt"]], "answer": "1"},
    ]
    first = read_rows(write_jsonl(tmp_path / "x.jsonl", *rows))
    other = read_rows(write_jsonl(tmp_path / "y.jsonl", *reversed(rows)))

    assert len({row.id for row in first}) == 4
    assert first[0].id == "acb3ee78badd7d1c", "runs that were started before could not resume"
    assert [row.id for row in first] == [row.id for row in reversed(other)]
    assert read_rows(write_jsonl(tmp_path / "z.jsonl", {"id": "", **rows[0]}))[0].id == first[0].id


def test_rows_without_an_id_that_repeat_are_dropped_and_counted(tmp_path: Path):
    other = {"prompt": "1+2?", "answer": "3"}

    rows = [ASK, other, ASK, {**ASK, "id": ""}, {**ASK, "id": None}]
    file = read_problem_file(write_jsonl(tmp_path / "x.jsonl", *rows))

    assert [row.answer for row in file.rows] == ["2", "3"]
    assert [place.rpartition("/")[2] for place in file.places] == ["x.jsonl row 1", "x.jsonl row 2"]
    assert file.num_duplicates == 3


def test_an_id_stands_for_one_row(tmp_path: Path):
    name = write_jsonl(tmp_path / "x.jsonl", {"id": 1, **ASK}, {"id": "1", **ASK})

    message = refused(name)

    assert "x.jsonl row 2" in message
    assert "x.jsonl row 1" in message
    assert "'1'" in message


def test_the_same_question_with_two_verifiers_is_no_repetition(tmp_path: Path):
    name = write_jsonl(tmp_path / "x.jsonl", ASK, {**ASK, "verifier": "math"})

    assert "x.jsonl row 2" in refused(name)


@pytest.mark.row(19)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": None}, "no answer"),
        ({"answer": " \n"}, "'answer'"),
        ({"answer": "so 5 ####"}, "'answer'"),
        ({"answer": float("nan")}, "nan"),
        ({"answer": "NaN"}, "nan"),
        ({"answer": float("-inf")}, "inf"),
        ({"answer": True}, "True"),
        ({"answer": []}, "[]"),
        ({"answer": {}}, "{}"),
        ({"answer": [float("inf")]}, "'answer'"),
        ({"answer": "\ud800"}, "surrogate"),
        ({"answer": None, "reward_model": {"style": "rule"}}, "no answer"),
        ({"reward_model": {"ground_truth": float("nan")}}, "reward_model.ground_truth"),
        ({"prompt": None, "text": "1+1?"}, "text"),
        ({"prompt": ""}, "empty prompt"),
        ({"prompt": "\u3000\n"}, "empty prompt"),
        ({"prompt": 5}, "'prompt'"),
        ({"prompt": []}, "'prompt'"),
        ({"prompt": ["1+1?"]}, "'prompt'"),
        ({"prompt": "half a \udfff"}, "surrogate"),
        ({"prompt": [{"role": "user"}]}, "content"),
        ({"prompt": [{"role": "user", "content": None}]}, "must be text"),
        ({"prompt": [{"role": 3, "content": "1+1?"}]}, "role 3"),
        ({"prompt": [{"role": ["user"], "content": "1+1?"}]}, "role ['user']"),
        ({"prompt": [{"role": "tool", "content": "1+1?"}]}, "'tool'"),
        ({"prompt": [{"role": "tool", "content": "4"}, *VERL["prompt"]]}, "'tool'"),
        ({"prompt": [*VERL["prompt"], {"role": "assistant", "content": "So"}]}, "'assistant'"),
        ({"prompt": [{"role": "system", "content": ""}, *VERL["prompt"]]}, "'prompt[0]'"),
        ({"id": 1.5}, "'id'"),
        ({"id": ["a"]}, "'id'"),
        ({"id": False}, "'id'"),
        ({"extra_info": {"index": {}}}, "'extra_info.index'"),
        ({"verifier": 3}, "'verifier'"),
        ({"data_source": ["x"]}, "'data_source'"),
    ],
)
def test_a_row_that_cannot_be_trained_on_is_named(change: dict, said: str, tmp_path: Path):
    assert said in refused_row({**ASK, **change}, tmp_path)


@pytest.mark.row(19)
@pytest.mark.parametrize("row", [["prompt", "answer"], "text", 5, None])
def test_a_row_that_is_no_object_is_named(row: Any, tmp_path: Path):
    assert "object" in refused_row(row, tmp_path)


@pytest.mark.row(19)
def test_a_megabyte_in_the_wrong_place_does_not_fill_the_screen(tmp_path: Path):
    refused_row({"prompt": [{"x" * 2**20: 1}], "answer": 1}, tmp_path)
    refused_row({"x" * 2**20: 1}, tmp_path)
    refused(write_jsonl(tmp_path / "y.jsonl", *[{"id": "i\n" * 2**19, **ASK}] * 2))


@pytest.mark.row(19)
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b'{"prompt": "a", "answer": 1}\n{"prompt": "\xff"}\n', "line 2"),
        ("x.csv", "question,answer\nä,1\n".encode("latin-1"), "line 2"),
        ("x.json", '[{"prompt": "a", "answer": 1}]'.encode("utf-16"), "line 1"),
        ("x.jsonl", b'{"prompt": "a"\n', "row 1 is not valid JSON"),
        ("x.jsonl", b"[" * 100_000, "too deeply"),
        ("x.jsonl", b'{"prompt": "a", "answer": 1e999}', "inf"),
        ("x.json", b'[{"prompt": "a", "answer": 1},]', "x.json is not valid JSON"),
        ("x.json", b'{"rows": []}', "list of rows"),
        ("x.json", b'"text"', "list of rows"),
        ("x.json", b'[{"prompt": "a", "answer": "1"}, 5]', "row 2"),
        ("x.csv", b"question,answer\na,1\nb\n", "row 2"),
        ("x.csv", b"question,answer\na,1\nb,1,c\n", "row 2"),
        ("x.csv", b'question,answer\n"a"b,1\n', "row 1 is not valid CSV"),
        ("x.csv", b"question,question,answer\na,b,1\n", "twice"),
        ("x.csv", b"question,answer\na,1\nb,\n", "row 2 has no answer"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\n", "Parquet"),
        ("x.jsonl", b"", "no rows"),
        ("x.json", b" \n", "no rows"),
        ("x.csv", b"", "no rows"),
        ("x.csv", b"question,answer\n", "no rows"),
        ("x.txt", b"1+1?", ".jsonl, .json, .csv, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, said: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)

    message = refused(tmp_path / name)

    assert name in message
    assert said in message


def test_a_parquet_file_without_a_prompt_shows_the_columns_that_it_has(tmp_path: Path):
    pq.write_table(pa.table({"text": ["a"], "answer": ["1"]}), tmp_path / "x.parquet")

    assert "text" in refused(tmp_path / "x.parquet")


def test_an_empty_parquet_file_has_no_rows(tmp_path: Path):
    empty = pa.table({"prompt": pa.array([], pa.string()), "answer": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "x.parquet")

    assert "no rows" in refused(tmp_path / "x.parquet")


@pytest.mark.row(19)
def test_a_parquet_string_that_is_not_utf8_is_named_by_its_row(tmp_path: Path):
    count = problem_files.BATCH_ROWS + 2
    prompts = pa.array([f"{number}+1?" for number in range(count - 1)] + ["bad"])
    _, offsets, text = prompts.buffers()
    spoiled = pa.py_buffer(text.to_pybytes().replace(b"bad", b"b\xffd"))
    broken = pa.Array.from_buffers(pa.string(), count, [None, offsets, spoiled])
    pq.write_table(pa.table({"prompt": broken, "answer": ["1"] * count}), tmp_path / "x.parquet")

    assert f"x.parquet row {count} is not UTF-8" in refused(tmp_path / "x.parquet")


def test_what_is_no_file_is_not_opened(tmp_path: Path):
    assert "directory" in refused(tmp_path)
    assert "no regular file" in refused("/dev/null")
    assert "does not exist" in refused(tmp_path / "none.jsonl")
    assert "does not exist" in refused("none.parquet")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = write_jsonl(tmp_path / "x.jsonl", ASK)

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)

    assert "x.jsonl cannot be read: Permission denied" in refused(name)


def test_made_models_bring_their_own_data():
    models = Path("models")

    assert resolve_data("tiny", "train", models) == str(models / "tiny" / "train.jsonl")
    assert resolve_data("smollm2", "heldout", models) == str(models / "smollm2" / "heldout.jsonl")
    assert resolve_data("mine.csv", "train", models) == "mine.csv"


def test_a_hub_data_set_is_not_looked_for_offline(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert "HF_HUB_OFFLINE" in refused("someone/some-data:train")


def test_a_name_that_the_hub_could_not_have_is_not_sent_there():
    assert "neither a file nor" in refused("../some/where:else/and/more")


def test_the_files_of_a_hub_data_set_are_read_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parts = [tmp_path / "0000.parquet", tmp_path / "0001.parquet"]
    for number, part in enumerate(parts):
        row = {"question": f"{number}+1?", "answer": number + 1}
        pq.write_table(pa.Table.from_pylist([row]), part)
    monkeypatch.setattr(problem_files, "download", lambda name: parts)

    rows = read_rows("someone/sums:train")

    assert [row.answer for row in rows] == ["1", "2"]
    assert {row.source for row in rows} == {"someone/sums"}


STORED = [
    ".gitattributes",
    "main/test/0000.parquet",
    "main/train/0001.parquet",
    "main/train/0000.parquet",
    "partial/README.parquet",
]


def test_a_split_of_the_hub_is_all_of_its_files_in_order():
    train = ["main/train/0000.parquet", "main/train/0001.parquet"]

    assert hub_data.choose_files("a/b", "", STORED) == train
    assert hub_data.choose_files("a/b:main/train", "main/train", STORED) == train
    assert hub_data.choose_files("a/b:test", "test", STORED) == ["main/test/0000.parquet"]


def test_a_hub_name_that_could_mean_several_things_is_refused_with_the_choices():
    stored = [*STORED, "socratic/train/0000.parquet"]

    with pytest.raises(DataError, match=r"a/b:main/train, a/b:socratic/train"):
        hub_data.choose_files("a/b", "", stored)
    with pytest.raises(DataError, match=r"no split 'dev' .*main/test, main/train"):
        hub_data.choose_files("a/b:dev", "dev", STORED)
    with pytest.raises(DataError, match=r"no split 'train'"):
        hub_data.choose_files("a/b:other/train", "other/train", STORED)


def test_the_rows_of_the_page_about_data_are_rows(tmp_path: Path):
    page = (Path(__file__).parents[2] / "docs/data.md").read_text()
    (block,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "page.jsonl").write_text(block)

    rows = read_rows(str(tmp_path / "page.jsonl"))

    asked = [(row.messages[0].content, row.answer) for row in rows]
    assert asked == [("1+1?", "2"), ("2+2?", "4"), ("3+3?", "6")]
