"""Groups that are settled, and tickets that go out, together share a wait for the disk, and nothing
else."""

import asyncio
import base64
from pathlib import Path

import pytest

from actors.history import History
from actors.ledger import Ledger
from actors.line_file import LineFile
from actors.replay import ReplayQueue
from actors.replay_log import log_files, read_log
from actors.settlement_rows import decode_settlement, encode_settlement
from cluster import check
from tests.unit.test_replay import Fates, config, opened, settlement, ticket_of


class Disk:
    """Counts durable writes; the first ``failures`` of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = self.failures = 0
        append = LineFile.append

        def counted(file: LineFile, lines: bytes, *, durable: bool = False) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("No space left on device")
            self.writes += durable
            append(file, lines, durable=durable)

        monkeypatch.setattr(LineFile, "append", counted)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def test_groups_that_come_together_are_written_at_once(tmp_path: Path, disk: Disk):
    queue = await opened(tmp_path, "batch.problems=4")
    for number in range(4):
        await queue.issue(ticket_of(number))
    before = disk.writes

    taken = await asyncio.gather(*(queue.settle(settlement(n, version=0)) for n in range(4)))

    assert taken == [True] * 4
    assert disk.writes == before + 1
    assert (await queue.counts()).settled_groups == 4
    kinds = [(record["kind"], record.get("ticket")) for record in read_log(tmp_path)]
    assert kinds[-4:] == [("settle", number) for number in range(4)]
    assert [r["seq"] for r in read_log(tmp_path)] == list(range(1, len(kinds) + 1))
    assert (await queue.lease(0)).num_rollouts == 4


async def test_of_two_that_settle_the_same_ticket_at_once_one_is_taken(tmp_path: Path, disk: Disk):
    queue = await opened(tmp_path)
    await queue.issue(ticket_of(0))

    taken = await asyncio.gather(*(queue.settle(settlement(0, version=0)) for _ in range(3)))

    assert taken == [True, False, False]
    assert sum(record["kind"] == "settle" for record in read_log(tmp_path)) == 1


async def test_one_who_gives_up_takes_nobody_along(tmp_path: Path, disk: Disk):
    queue = await opened(tmp_path)
    for number in range(2):
        await queue.issue(ticket_of(number))
    disk.failures = 1
    first = asyncio.create_task(queue.settle(settlement(0, version=0)))
    second = asyncio.create_task(queue.settle(settlement(1, version=0)))
    await asyncio.sleep(0.05)  # the first waits for the disk, with both groups in its hands
    first.cancel()

    assert await asyncio.wait_for(second, timeout=5) is True

    assert (await queue.counts()).settled_groups == 2


async def test_a_disk_that_stays_full_is_told_to_everybody_who_waited(tmp_path: Path, disk: Disk):
    queue = await opened(tmp_path, "cluster.wait_timeout_s=0.2")
    for number in range(3):
        await queue.issue(ticket_of(number))
    disk.failures = 1000

    answers = await asyncio.gather(
        *(queue.settle(settlement(n, version=0)) for n in range(3)), return_exceptions=True
    )

    assert all(isinstance(answer, TimeoutError) for answer in answers)
    assert all("No space left on device" in str(answer) for answer in answers)
    assert (await queue.counts()).settled_groups == 0


def test_packed_tokens_come_back_and_digits_of_older_logs_are_understood():
    group = settlement(7, version=3, accepted=2)
    record = encode_settlement(group)
    packed = record["rollouts"][0][2]

    assert decode_settlement(record) == group
    assert len(base64.b64decode(packed)) == 4 * len(group.rollouts[0].response_ids)
    for row, rollout in zip(record["rollouts"], group.rollouts, strict=True):
        row[1], row[2] = list(rollout.prompt_ids), list(rollout.response_ids)
    assert decode_settlement(record) == group


def test_tokens_are_let_go_of_once_and_again_after_steps_are_taken_back():
    ledger = Ledger()
    for number in range(2):
        issued = {"ticket": number, "attempt": 0, "cursor": number, "problem": "p", "budget": 9}
        ledger.apply({"kind": "issue", **issued})
        ledger.apply(encode_settlement(settlement(number, version=0)))
    ack = {"kind": "ack", "trained": 1, "tokens": 3, "dropped": {}}

    ledger.apply({**ack, "step": 0, "first": 0, "end": 1})
    ledger.release_trained()
    ledger.apply({**ack, "step": 1, "first": 1, "end": 2})
    ledger.release_trained()

    assert [bool(ledger.settled[number].rollouts) for number in range(2)] == [False, False]
    ledger.apply({"kind": "resume", "step": 1, "version": 1, "end": None})
    ledger.settled[1] = settlement(1, version=0)  # as a log that is read again gives it back
    ledger.apply({**ack, "step": 1, "first": 1, "end": 2})
    ledger.release_trained()
    assert ledger.settled[1].rollouts == ()


async def test_tickets_that_go_out_together_wait_for_the_disk_once(tmp_path: Path, disk: Disk):
    queue = await opened(tmp_path, "batch.problems=4")
    await queue.issue(ticket_of(0))
    await queue.issue(ticket_of(1))
    await queue.settle(settlement(1, version=0))
    before = disk.writes

    attempts = await queue.issue_all([ticket_of(number) for number in range(4)])

    assert attempts == [1, None, 0, 0], "out again, settled, new"
    assert disk.writes == before + 1
    records = [(r["ticket"], r["attempt"]) for r in read_log(tmp_path) if r["kind"] == "issue"]
    assert records[-3:] == [(0, 1), (2, 0), (3, 0)]
    assert await queue.num_issued() == 4


async def test_nobody_is_told_of_tickets_that_are_not_on_disk(tmp_path: Path, disk: Disk):
    queue = await opened(tmp_path, "cluster.wait_timeout_s=0.2")
    disk.failures = 1000

    with pytest.raises(TimeoutError, match="No space left on device"):
        await queue.issue_all([ticket_of(0), ticket_of(1)])

    assert await queue.num_issued() == 0
    assert not await queue.settle(settlement(0, version=0))


@pytest.mark.row(8)
@pytest.mark.parametrize("whole_lines", range(4))
async def test_a_queue_that_dies_in_the_middle_of_several_tickets_gives_no_attempt_twice(
    tmp_path: Path, whole_lines: int
):
    """However many of them reached the disk, and half of the next one."""
    queue = await opened(tmp_path)
    [log] = log_files(tmp_path)
    before = log.read_bytes()
    await queue.issue_all([ticket_of(number) for number in range(3)])
    await queue.close()
    lines = log.read_bytes()[len(before) :].splitlines(keepends=True)
    half = lines[whole_lines][:20] if whole_lines < 3 else b""
    log.write_bytes(before + b"".join(lines[:whole_lines]) + half)

    again = ReplayQueue(str(tmp_path), config(), Fates())
    await again.start_again()
    attempts = await again.issue_all([ticket_of(number) for number in range(3)])

    assert attempts == [1] * whole_lines + [0] * (3 - whole_lines)
    for number, attempt in enumerate(attempts):
        if attempt:
            assert not await again.settle(settlement(number, version=0, attempt=0)), "given up"
        assert await again.settle(settlement(number, version=0, attempt=attempt or 0))
    await again.close()
    history = History(max_lag=1)
    torn = check.read_log(tmp_path, history)
    history.close()
    assert history.violations == []
    assert torn == bool(half)
