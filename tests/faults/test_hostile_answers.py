"""A thousand answers that want to hang, break or run a judge, among good ones."""

import asyncio
import random
import socket
from collections import Counter
from pathlib import Path

import pytest

from configs.schema import JudgeConfig
from verifiers.pool import JudgePool
from verifiers.types import Verdict

LIMIT_S = 1.0
NUM_HOSTILE = 1000
NUM_HANGING = 24
"""Of these no filter knows that they hang: they must be killed, one by one."""

TOWERS = (
    r"\dfrac{{5^{{(5^{{(5^{{(5^{n})}}-4)}}-5}}}}}}{{16}}",
    "10^{{10^{{{n}}}}}",
    "2^{{2^{{2^{n}}}}}",
    "({n}^9)!",
    "(({n}!)!)!",
    "9**9**{n}",
)
CODE = (
    "__import__('os').system('touch {canary}') or {n}",
    "().__class__.__base__.__subclasses__()[{n}].__init__.__globals__['open']('{canary}','w')",
    "open('{canary}','w').write('{n}')",
    r"\input{{/etc/passwd}}{n}",
    r"\immediate\write18{{touch {canary}}}{n}",
    "exec(\"open('{canary}','w')\")+{n}",
    "__import__('socket').create_connection(('127.0.0.1',{port})) and {n}",
    r"\csname end\endcsname\openout{n}={canary}",
    "lambda: {n}",
    "{{{{{n}.__class__}}}}",
)
SHAPES = (
    lambda n: "(" * (3000 + n) + "1" + ")" * (3000 + n),
    lambda n: r"\frac{" * (200 + n) + "1" + "}{2}" * (200 + n),
    lambda n: "9" * (5000 + n),
    lambda n: "x" * (2000 + n),
    lambda n: "\x00" * n + r"\boxed",
    lambda n: "\ud800" * (n + 1),
    lambda n: "{" * (n + 1),
    lambda n: r"\left(" * (100 + n),
    lambda n: "^" * (n + 2),
    lambda n: "1e" + "9" * (n + 5),
    lambda n: "NaN" + " " * n,
    lambda n: r"\infty-\infty+" * 20 + str(n),
)


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        yield server


def hostile_answers(canary: Path, port: int) -> list[str]:
    rng = random.Random(0)
    answers = [rf"(x+y+z+w)^{{{500 + n}}}" for n in range(NUM_HANGING // 2)]
    answers += [rf"\prod_{{i=1}}^{{{9000 + n}}} (x+i)" for n in range(NUM_HANGING // 2)]
    for n in range(NUM_HOSTILE - NUM_HANGING):
        kind = n % 3
        if kind == 0:
            answers.append(TOWERS[n // 3 % len(TOWERS)].format(n=n))
        elif kind == 1:
            answers.append(CODE[n // 3 % len(CODE)].format(n=n, canary=canary, port=port))
        else:
            answers.append(SHAPES[n // 3 % len(SHAPES)](n))
    rng.shuffle(answers)
    return answers


@pytest.mark.row(17)
@pytest.mark.row(15)
@pytest.mark.timeout(480)
async def test_a_thousand_hostile_answers_cost_themselves_and_nobody_else(
    tmp_path: Path, listener: socket.socket
):
    canary = tmp_path / "canary"
    answers = hostile_answers(canary, listener.getsockname()[1])
    assert len(set(answers)) == NUM_HOSTILE
    pool = JudgePool(JudgeConfig(workers=2, timeout_s=LIMIT_S))
    await pool.start()

    async def good(n: int) -> Verdict:
        gold = rf"\frac{{{2 * n + 1}}}{{2}}"
        return await pool.judge("math", gold, rf"Half of it, \boxed{{{2 * n + 1}/2}}.")

    try:
        asked = []
        for n, answer in enumerate(answers):
            asked.append(pool.judge("math", "7", rf"So \boxed{{{answer}}}."))
            asked.append(good(n))
        verdicts = await asyncio.gather(*asked)
        hostile, honest = verdicts[::2], verdicts[1::2]
        stats = pool.stats
    finally:
        await pool.close()

    counts = Counter(verdict.status for verdict in hostile)
    assert counts["correct"] == 0
    assert counts["error"] == 0, [v for v in hostile if v.status == "error"]
    assert counts["timeout"] == stats.killed
    assert stats.killed >= NUM_HANGING  # some of the others may hang as well
    assert max(verdict.ms for verdict in hostile) <= 1000 * (LIMIT_S + 1)
    assert {verdict.status for verdict in honest} == {"correct"}
    assert stats.workers == 2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BlockingIOError):  # nobody called
        listener.accept()
