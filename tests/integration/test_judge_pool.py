"""The pool with real judge processes: hostile answers, lost processes, any thread."""

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.schema import JudgeConfig
from tests.golden_verdicts import CODE, GOLDEN, box
from verifiers.judge_keeper import PoolClosed
from verifiers.nursery import ROOT
from verifiers.pool import MAX_RESPONSE_CHARS, JudgePool
from verifiers.registry import UnknownVerifier
from verifiers.types import Status
from verifiers.verify_file import AnswerFile

EVERYTHING = GOLDEN + CODE
STRANGE = "tests.strange_judges"
HANGING = [r"(x+y+z+w)^{500}", r"\prod_{i=1}^{9999} (x+i)"]
"""Short, legal LaTeX that no filter refuses and that sympy does not finish."""


@pytest.fixture(scope="module")
def pool() -> Iterator[JudgePool]:
    """Two workers and patience: what must not time out here does not on a busy machine."""
    pool = JudgePool(JudgeConfig(workers=2, timeout_s=60.0))
    pool.open()
    yield pool
    pool.shutdown()


@pytest.fixture(scope="module")
def hasty_pool() -> Iterator[JudgePool]:
    """One worker, little time: what hangs here hangs everything behind it."""
    pool = JudgePool(JudgeConfig(workers=1, timeout_s=1.0))
    pool.open()
    yield pool
    pool.shutdown()


async def golden_statuses(pool: JudgePool) -> list[Status]:
    verdicts = await asyncio.gather(
        *(pool.judge(verifier, answer, text) for verifier, answer, text, _ in EVERYTHING)
    )
    return [verdict.status for verdict in verdicts]


def fresh_pool_statuses() -> list[Status]:
    async def run() -> list[Status]:
        pool = JudgePool(JudgeConfig(workers=1, timeout_s=60.0))
        await pool.start()
        try:
            return await golden_statuses(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


def in_thread(function, *arguments):
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *arguments).result(120)


@pytest.mark.row(16)
def test_verdicts_are_the_same_from_the_main_thread_a_thread_and_asyncio(pool):
    expected = [status for *_, status in EVERYTHING]

    assert asyncio.run(golden_statuses(pool)) == expected
    assert in_thread(asyncio.run, golden_statuses(pool)) == expected
    assert in_thread(fresh_pool_statuses) == expected  # started off the main thread


async def test_the_event_loop_goes_on_while_the_pool_starts():
    pool = JudgePool(JudgeConfig(workers=1))
    starting = asyncio.create_task(pool.start())
    num_turns = 0
    while not starting.done():
        await asyncio.sleep(0.001)
        num_turns += 1
    await pool.close()

    assert num_turns > 10


@pytest.mark.row(15)
async def test_a_hanging_answer_is_killed_and_costs_only_its_own_verdict(hasty_pool):
    before = hasty_pool.stats

    verdicts = await hasty_pool.judge_many(
        "math", "1", [box(HANGING[0]), box("1"), box(HANGING[1]), box("2")]
    )

    assert [verdict.status for verdict in verdicts] == ["timeout", "correct", "timeout", "wrong"]
    assert verdicts[0].detail == "no verdict within 1 s"
    assert verdicts[0].ms >= 1000
    after = hasty_pool.stats
    assert after.killed - before.killed == 2
    assert after.workers == before.workers == 1


@pytest.mark.row(15)
async def test_a_timeout_is_not_remembered(hasty_pool):
    hang = f"{STRANGE}:sleeps"
    killed = hasty_pool.stats.killed

    assert (await hasty_pool.judge(hang, "", "30")).status == "timeout"
    assert (await hasty_pool.judge(hang, "", "30")).status == "timeout"
    assert hasty_pool.stats.killed == killed + 2


@pytest.mark.row(15)
async def test_many_poisons_never_shrink_the_pool(hasty_pool):
    poisons = [rf"\boxed{{10^{{10^{{{i}}}}}}}" for i in range(10, 510)]
    poisons += [box("(10^9)!"), box("(" * 3000 + "1" + ")" * 3000)]

    verdicts = await hasty_pool.judge_many("math", "1", poisons)

    assert {verdict.status for verdict in verdicts} == {"wrong"}
    assert all(verdict.detail.startswith("refused: ") for verdict in verdicts)
    assert (await hasty_pool.judge("math", "1", box("1"))).status == "correct"
    assert hasty_pool.stats.workers == 1


@pytest.mark.row(15)
async def test_a_hang_of_one_worker_does_not_hold_up_the_others(pool):
    hang = asyncio.create_task(pool.judge(f"{STRANGE}:sleeps", "", "5"))

    async with asyncio.timeout(60):
        for i in range(50):
            assert (await pool.judge("number", str(i), f"It is {i}.")).status == "correct"

    assert not hang.done()
    assert (await hang).status == "correct"


@pytest.mark.row(15)
async def test_killing_a_judge_kills_what_it_started(hasty_pool, tmp_path):
    pid_file = tmp_path / "pid"

    verdict = await hasty_pool.judge(f"{STRANGE}:hangs_with_a_child", str(pid_file), "")

    assert verdict.status == "timeout"
    assert await is_gone(int(pid_file.read_text()))


@pytest.mark.parametrize(
    ("judge", "cause"),
    [
        ("crashes", "judge process died of SIGSEGV"),
        ("leaves", "judge process exited with 1: enough of this"),
        ("raises", "KeyError: 'a bug of the verifier'"),
        ("says_true", "TypeError: tests.strange_judges:says_true returned bool, not a Verdict"),
        ("runs_out_of_memory", "the judge process ran out of memory"),
        ("swallows_its_memory_error", "the judge process ran out of memory"),
        ("is_not_there", "AttributeError: module 'tests.strange_judges'"),
    ],
)
async def test_a_broken_judge_gives_an_error_with_its_cause_and_is_replaced(pool, judge, cause):
    errors = pool.stats.errors

    verdict = await pool.judge(f"{STRANGE}:{judge}", "1", "1")

    assert verdict.status == "error"
    assert verdict.detail.startswith(cause)
    assert pool.stats.errors == errors + 1
    good = await pool.judge_many("number", "1", ["1", "1.0", "2", "01"])
    assert [verdict.status for verdict in good] == ["correct", "correct", "wrong", "correct"]
    assert pool.stats.workers == 2


async def test_a_useless_reference_answer_is_an_error(pool):
    verdict = await pool.judge("number", "NaN", "5")
    assert (verdict.status, verdict.extracted) == ("error", None)
    assert "'NaN' is not a number" in verdict.detail


async def test_a_judge_killed_from_outside_is_replaced():
    pool = JudgePool(JudgeConfig(workers=1))
    await pool.start()
    facts = json.loads((await pool.judge(f"{STRANGE}:tells", "", "1")).extracted or "")

    os.kill(facts["pid"], 9)
    assert await is_gone(facts["pid"])

    assert (await pool.judge("number", "1", "1")).status == "correct"
    assert pool.stats.workers == 1
    await pool.close()


async def test_judges_come_back_when_the_process_that_they_are_forked_from_dies():
    pool = JudgePool(JudgeConfig(workers=2))
    await pool.start()
    facts = json.loads((await pool.judge(f"{STRANGE}:tells", "", "1")).extracted or "")
    mother = int(Path(f"/proc/{facts['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    assert mother != os.getpid()

    os.kill(mother, 9)
    assert await is_gone(facts["pid"])

    statuses = [(await pool.judge("number", "1", f"{i}")).status for i in range(1, 5)]
    assert statuses == ["correct", "wrong", "wrong", "wrong"]
    both = [pool.judge(f"{STRANGE}:sleeps", "", seconds) for seconds in ("0.5", "0.51")]
    assert [v.status for v in await asyncio.gather(*both)] == ["correct", "correct"]
    assert pool.stats.workers == 2
    await pool.close()
    assert await is_gone(mother)


async def test_a_verdict_is_not_lost_with_the_process_that_its_judge_was_forked_from():
    pool = JudgePool(JudgeConfig(workers=2))
    await pool.start()
    facts = json.loads((await pool.judge(f"{STRANGE}:tells", "", "1")).extracted or "")
    mother = int(Path(f"/proc/{facts['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    in_judges = [
        asyncio.create_task(pool.judge(f"{STRANGE}:sleeps", "", seconds))
        for seconds in ("1.0", "1.01")
    ]
    await asyncio.sleep(0.3)

    os.kill(mother, 9)
    at_once = [await pool.judge("number", "1", f"{i}") for i in range(1, 9)]

    verdicts = [*await asyncio.gather(*in_judges), *at_once]
    assert [(v.status, v.detail) for v in verdicts if v.status == "error"] == []
    assert pool.stats.errors == 0
    await pool.close()


@pytest.mark.row(24)
async def test_a_full_queue_makes_whoever_asks_wait_and_loses_nothing():
    pool = JudgePool(JudgeConfig(workers=1, queue_size=4))
    await pool.start()
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, pool.stats.waiting)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    responses = [[str(4 * i + j) for j in range(4)] for i in range(50)]
    verdicts = await asyncio.gather(*(pool.judge_many("number", "7", r) for r in responses))
    watching.cancel()
    await pool.close()

    statuses = [verdict.status for group in verdicts for verdict in group]
    assert statuses == ["correct" if i == 7 else "wrong" for i in range(200)]
    assert 0 < most <= 4
    assert pool.stats.waiting == 0


@pytest.mark.row(18)
async def test_a_judge_process_has_limits_a_session_of_its_own_and_no_secrets(monkeypatch):
    monkeypatch.setenv("SOME_API_TOKEN", "secret")
    pool = JudgePool(JudgeConfig(workers=1, memory_mib=777))
    await pool.start()

    facts = json.loads((await pool.judge(f"{STRANGE}:tells", "", "")).extracted or "")
    await pool.close()

    assert facts["session"] == facts["pid"]
    assert facts["core"] == 0
    assert facts["memory"] == 777 * 1024 * 1024
    allowed = {"PATH", "PYTHONPATH", "PYTHONHASHSEED", "LANG", "LC_ALL", "LC_CTYPE"}
    assert set(facts["environment"]) <= allowed | {"LD_LIBRARY_PATH"}


async def test_a_judge_that_prints_and_reads_cannot_confuse_the_conversation(pool):
    verdict = await pool.judge(f"{STRANGE}:chatters", "1", "1")
    assert (verdict.status, verdict.extracted) == ("wrong", "")
    assert (await pool.judge("number", "3", "3")).status == "correct"


@pytest.mark.row(17)
@pytest.mark.parametrize("verifier", ["math", "number", "contains"])
@pytest.mark.parametrize(
    "attack",
    [
        "__import__('os').system('touch {canary}')",
        "().__class__.__base__.__subclasses__()[0].__init__.__globals__['open']('{canary}','w')",
        "open('{canary}', 'w')",
        r"\input{{/etc/passwd}}",
        r"\immediate\write18{{touch {canary}}}",
        "1; __import__('pathlib').Path('{canary}').touch()",
        "1 + eval(\"open('{canary}','w').close() or 0\")",
    ],
)
async def test_code_in_an_answer_is_text(pool, tmp_path, verifier, attack):
    canary = tmp_path / "canary"
    text = attack.format(canary=canary)

    verdicts = await pool.judge_many(verifier, "7", [box(text), text, f"#### {text}"])

    assert all(verdict.status in ("wrong", "no_answer") for verdict in verdicts)
    assert verdicts[0].status == "wrong"
    assert list(tmp_path.iterdir()) == []


async def test_a_verdict_is_given_once_and_remembered():
    pool = JudgePool(JudgeConfig(workers=1))
    await pool.start()

    first = await pool.judge("number", "5", "it is 5")
    again = await pool.judge("openai/gsm8k", "5", "it is 5")
    other = await pool.judge("number", "6", "it is 5")
    await pool.close()

    assert (first.status, again.status, other.status) == ("correct", "correct", "wrong")
    assert again.ms == 0.0
    assert (pool.stats.judged, pool.stats.cached) == (2, 1)
    assert not keepers_left(pool)  # an idle one ends too


async def test_a_judge_is_recycled_after_its_share_of_verdicts():
    pool = JudgePool(JudgeConfig(workers=1, recycle_after=3))
    await pool.start()
    pids: Counter[int] = Counter()
    deadline = time.monotonic() + 60

    while len(pids) < 3 and time.monotonic() < deadline:
        verdict = await pool.judge(f"{STRANGE}:tells", "", str(time.monotonic()))
        pids[json.loads(verdict.extracted or "")["pid"]] += 1

    assert len(pids) == 3
    assert [count >= 3 for count in pids.values()][:2] == [True, True]
    assert pool.stats.workers == 1
    assert pool.stats.errors == pool.stats.killed == 0
    await pool.close()


@pytest.mark.parametrize("text", ["", "\x00", "\ud800 7", "７", "\u2028\n\r7", "7" * 2_000_000])
async def test_any_text_gets_a_verdict(pool, text):
    for verifier in ("math", "number", "contains"):
        verdict = await pool.judge(verifier, "7", text)
        assert verdict.status in ("correct", "wrong", "no_answer"), verdict


async def test_of_an_endless_response_the_end_is_judged(pool):
    assert (await pool.judge("number", "7", "y" * MAX_RESPONSE_CHARS + " 7")).status == "correct"


async def test_closing_ends_every_process_and_whoever_still_waits_is_told():
    pool = JudgePool(JudgeConfig(workers=1, timeout_s=60.0))
    await pool.start()
    facts = json.loads((await pool.judge(f"{STRANGE}:tells", "", "")).extracted or "")
    waiting = [
        asyncio.create_task(pool.judge(f"{STRANGE}:sleeps", "", seconds))
        for seconds in ("50", "51")
    ]
    await asyncio.sleep(0.2)

    async with asyncio.timeout(30):
        await pool.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(result) for result in results] == [PoolClosed, PoolClosed]
    assert await is_gone(facts["pid"])
    assert pool.stats.workers == 0
    assert not keepers_left(pool)
    with pytest.raises(PoolClosed):
        await pool.judge("number", "1", "1")


async def test_judges_die_with_the_process_that_started_them():
    code = (
        "import time\nfrom configs.schema import JudgeConfig\n"
        "from verifiers.pool import JudgePool\n"
        "pool = JudgePool(JudgeConfig(workers=1, timeout_s=600)); pool.open()\n"
        f"tells = pool.submit('{STRANGE}:tells', '', [''])[0].result()[0]\n"
        f"pool.submit('{STRANGE}:hangs', '', [''])\n"
        "print(tells.extracted, flush=True); time.sleep(600)"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    facts = json.loads(await asyncio.wait_for(parent.stdout.readline(), 120))

    parent.kill()
    await parent.wait()

    assert await is_gone(facts["pid"])


async def test_an_unknown_verifier_is_the_users_error(pool):
    with pytest.raises(UnknownVerifier, match="did you mean 'math'"):
        await pool.judge("maths", "1", "1")


async def test_a_pool_that_cannot_start_says_why():
    pool = JudgePool(JudgeConfig(workers=2, memory_mib=48))
    with pytest.raises(RuntimeError, match=r"do not start.* judge\.memory_mib 48 is below the"):
        await pool.start()
    assert pool.stats.workers == 0


async def test_a_file_is_judged_by_real_processes(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": i, "verifier": verifier, "answer": answer, "response": response}
        for i, (verifier, answer, response, _) in enumerate(GOLDEN)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))

    file = AnswerFile(path, "math")
    results = [row async for row in file.judged(JudgeConfig(timeout_s=60.0))]

    assert [row.row.id for row in results] == list(range(len(GOLDEN)))
    assert [row.verdict.status for row in results] == [status for *_, status in GOLDEN]


def keepers_left(pool: JudgePool) -> list[threading.Thread]:
    return [keeper._thread for keeper in pool._keepers if keeper._thread.is_alive()]


async def is_gone(pid: int) -> bool:
    """Whether the process ends within seconds; a zombie that nobody reaps is gone as well."""
    for _ in range(500):
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        await asyncio.sleep(0.01)
    return False
