import asyncio
import json
from pathlib import Path

import pytest

from configs.schema import JudgeConfig
from verifiers.registry import UnknownVerifier
from verifiers.types import Verdict
from verifiers.verify_file import AHEAD_PER_WORKER, AnswerFile, BadRow

GOOD = '{"id": 1, "answer": "5", "response": "5"}\n'


class SlowFirst:
    """A pool whose first verdict comes last."""

    def __init__(self, config: JudgeConfig) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.closed = False
        self.rest_done = asyncio.Event()
        pools.append(self)

    async def start(self) -> None: ...

    async def judge(self, verifier: str, answer: str, response: str, prompt: str = "") -> Verdict:
        self.asked.append((verifier, answer, response))
        if response == "first":
            await self.rest_done.wait()
        elif response == "last":
            self.rest_done.set()
        return Verdict(status="wrong", extracted=response, detail="d", ms=1.23456)

    async def close(self) -> None:
        self.closed = True


pools: list[SlowFirst] = []


@pytest.fixture
def fake_pool(monkeypatch: pytest.MonkeyPatch) -> list[SlowFirst]:
    pools.clear()
    monkeypatch.setattr("verifiers.verify_file.JudgePool", SlowFirst)
    return pools


def write(folder: Path, text: str) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


async def test_rows_come_in_the_order_of_the_file_whoever_is_judged_first(tmp_path, fake_pool):
    path = write(
        tmp_path,
        '{"id": "a", "answer": 5, "response": "first"}\n\n'
        '{"id": 7, "answer": "x", "response": "last", "verifier": "contains", "more": 1}\n',
    )

    rows = [row async for row in AnswerFile(path, "math").judged(JudgeConfig())]

    assert [(row.row.id, row.verdict.extracted) for row in rows] == [("a", "first"), (7, "last")]
    assert fake_pool[0].asked == [("math", "5", "first"), ("contains", "x", "last")]
    assert fake_pool[0].closed


async def test_a_file_longer_than_what_is_asked_at_once_keeps_its_order(tmp_path, fake_pool):
    rows = [{"id": i, "answer": "5", "response": "5"} for i in range(5 * AHEAD_PER_WORKER)]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)))

    ids = [row.row.id async for row in AnswerFile(path, "math").judged(JudgeConfig())]

    assert ids == list(range(5 * AHEAD_PER_WORKER))


async def test_a_long_file_is_reported_while_it_is_read(tmp_path, fake_pool):
    path = write(tmp_path, GOOD * 1000)

    rows = AnswerFile(path, "math").judged(JudgeConfig())
    async for _ in rows:
        break
    await rows.aclose()

    assert len(fake_pool[0].asked) <= AHEAD_PER_WORKER + 1
    assert fake_pool[0].closed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 1}', "answer and response missing"),
        ('{"id": 1, "answer": null, "response": ""}', "answer missing"),
        ('{"id": 1, "answer": "  ", "response": ""}', "answer missing"),
        ('{"answer": "1", "response": "1"}', "id missing"),
        ('{"id": true, "answer": "1", "response": ""}', "id must be str or int, got bool"),
        ('{"id": 1, "answer": true, "response": ""}', "answer must be str or int or float"),
        ('{"id": 1, "answer": "1", "response": "", "prompt": 1}', "prompt must be str"),
        ('{"id": 1, "answer": "1", "response": 5}', "response must be str, got int"),
        ("[1]", "a row is an object"),
        ("{", "not JSON"),
        ('{"id": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"id": 1, "answer": "1", "response": "", "verifier": "mathh"}', "did you mean 'math'"),
        ('{"id": 1, "answer": "1", "response": "", "verifier": 3}', "verifier must be str"),
        ('{"id": 1, "answer": "1", "response": "", "verifier": "os:system"}', "names code"),
    ],
)
def test_a_bad_row_stops_everything_before_a_judge_starts(tmp_path, fake_pool, line, message):
    path = write(tmp_path, GOOD + "\n" + line + "\n" + GOOD)

    with pytest.raises(BadRow, match=message) as caught:
        AnswerFile(path, "math")

    assert str(caught.value).startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)
    assert not fake_pool


async def test_code_named_by_the_caller_may_be_named_by_a_row_too(tmp_path, fake_pool):
    judge = "tests.strange_judges:hangs"
    row = '{"id": 1, "answer": "1", "response": "", "verifier": "%s"}'

    rows = [r async for r in AnswerFile(write(tmp_path, row % judge), judge).judged(JudgeConfig())]

    assert len(rows) == 1


def test_an_unknown_default_verifier_is_refused(tmp_path):
    with pytest.raises(UnknownVerifier, match="did you mean 'math'"):
        AnswerFile(write(tmp_path, GOOD), "mathh")


@pytest.mark.parametrize("content", [None, b"\xff\xfe{}"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadRow, match=r"rows\.jsonl cannot be read"):
        AnswerFile(path, "math")
