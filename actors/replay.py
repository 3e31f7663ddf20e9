"""The durable queue between judges and learner, and the gate through which problems enter.

Tickets are consumed strictly in the order of their numbers, never in finish order: short answers
finish first, and a queue filled by them would shorten what is trained whatever the method.

Lag is bounded at the gate, not by throwing away. With P groups a step, a ticket with N others
before it is trained N // P steps from now, so it may go out while

    number < gathered + (max_lag + 1 - (step - version)) * P

where ``step`` is the next step to be leased, ``version`` what the engines hold, and ``gathered``
the tickets already taken for a step.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from actors.ledger import Counts, Ledger
from actors.one_writer import hold
from actors.open_lease import LeftOut, OpenLease, Rules
from actors.replay_log import ReplayLog, read_log
from actors.settlement_rows import encode_settlement
from actors.ticket_rows import Record, encode_ticket
from configs.errors import LeaseLost
from configs.run_files import Fate
from configs.schema import RunConfig
from verifiers.types import Lease, Rollout, Room, Settlement, Ticket

logger = logging.getLogger(__name__)

INVARIANTS_EVERY = 16
"""Acknowledged steps between checks of every count; with ``debug`` it is each one."""

PREDECESSOR_S = 30.0
"""Longest wait for the process that had the queue before to be gone."""

DISK_AGAIN_S = 0.5
"""Between two attempts to write while the disk is full or fails."""


class RecordsFates(Protocol):
    async def fates(self, rows: list[Fate]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a restart goes on from."""

    unsettled: tuple[Record, ...]
    """Of the tickets that were out when the last process ended, in their order: as
    ``ticket_rows`` wrote them."""
    cursor: int
    """Draws of the data's order up to the newest ticket."""


class ReplayQueue:
    """Nothing that it confirms to a caller is not on disk yet."""

    def __init__(
        self,
        directory: str,
        config: RunConfig,
        recorder: RecordsFates,
        keep_rejected: bool = False,
    ) -> None:
        """``keep_rejected``: the objective learns from whole groups."""
        self._rules = Rules(
            max_lag=config.max_lag,
            whole_groups=keep_rejected,
            drop_equal=config.batch.drop_equal,
        )
        self._directory = Path(directory)
        self._config = config
        self._recorder = recorder
        self._ledger = Ledger()
        self._changed = asyncio.Condition()
        self._step = 0
        self._version = 0
        self._gathered = 0
        self._epoch = 0
        self._end: int | None = None
        self._open = OpenLease(first=0)
        self._lease: Lease | None = None
        self._settling: list[tuple[Settlement, asyncio.Future[bool]]] = []
        """What nobody has begun to write."""
        self._settled_at_us: dict[int, int] = {}
        self._log: ReplayLog | None = None
        self._disk: str | None = None

    async def open(self, step: int) -> Opened:
        """Rebuild what was there and go on from optimizer step ``step``, the checkpoint's.

        The unsettled tickets are to be issued again. Steps after the checkpoint are taken back,
        their groups kept.
        """
        async with self._changed:
            await self._rebuild()
            await self._resume(step, version=step, end=None)
        unsettled = sorted(self._ledger.unsettled())
        return Opened(
            unsettled=tuple(self._ledger.issued[number] for number in unsettled),
            cursor=self._ledger.cursor,
        )

    async def start_again(self) -> None:
        """In a new process, under a run that goes on: nothing is taken back, no lease is open."""
        async with self._changed:
            await self._rebuild()
            self._follow()

    async def take_back(self, step: int) -> None:
        """The learner goes on from ``step`` again; engines and tickets stay as they are."""
        async with self._changed:
            await self._rebuild()
            await self._resume(step, version=self._ledger.version, end=self._ledger.end)
            self._changed.notify_all()

    async def _rebuild(self) -> None:
        """Of the log alone; it has the tokens that memory has let go of."""
        self._directory.mkdir(parents=True, exist_ok=True)
        # What an earlier process writes after this has read would be lost.
        await asyncio.to_thread(hold, self._directory, PREDECESSOR_S)
        if self._log is not None:
            self._log.close()
        self._ledger = await asyncio.to_thread(_read, self._directory)
        self._ledger.counts().check()
        self._log = ReplayLog(self._directory)

    async def _resume(self, step: int, *, version: int, end: int | None) -> None:
        assert self._log is not None, "it is rebuilt before"
        await self._write(
            {"kind": "resume", "step": step, "boot": self._log.boot, "version": version, "end": end}
        )
        self._follow()

    def _follow(self) -> None:
        """Stand where the ledger does."""
        assert self._log is not None, "it is rebuilt before"
        self._ledger.release_trained()
        self._step, self._version, self._end = (
            self._ledger.step, self._ledger.version, self._ledger.end,
        )  # fmt: skip
        self._gathered = self._ledger.trained
        self._lease, self._open = None, OpenLease(first=self._gathered)
        self._epoch = self._log.boot << 32

    async def num_issued(self) -> int:
        return self._ledger.num_issued

    async def room(self, number: int) -> Room:
        """Wait until ticket ``number`` may go out."""
        async with self._changed:
            # Behind it stand a step, a publication and a swap, with a deadline each that says more.
            room = f"room for ticket {number}"
            await self._wait(lambda: number < self._limit(), room, deadlines=4)
            return Room(version=self._version, below=self._limit())

    async def issue(self, ticket: Ticket) -> int | None:
        """Note that the ticket goes out, with all that was decided about it. Returns which attempt
        at it this is; None: it is settled already."""
        return (await self.issue_all([ticket]))[0]

    async def issue_all(self, tickets: Sequence[Ticket]) -> list[int | None]:
        """The same for several, no two of one number, with one wait for the disk.

        A process that dies meanwhile may leave the first of them in its log; nobody was told, so
        they are tickets that are out like any other, and whoever asks again gets a next attempt.
        """
        async with self._changed:
            attempts = [self._ledger.next_attempt(ticket.number) for ticket in tickets]
            stamp = {"version": self._version, "at_us": _now_us()}
            pairs = zip(tickets, attempts, strict=True)
            going = [replace(one, attempt=attempt) for one, attempt in pairs if attempt is not None]
            assert len({ticket.number for ticket in going}) == len(going), "each has one attempt"
            await self._write(*(encode_ticket(ticket) | stamp for ticket in going))
        return attempts

    async def end_of_data(self, number: int) -> None:
        """No ticket from ``number`` on will ever come; a last step may be short."""
        async with self._changed:
            await self._write({"kind": "end", "ticket": number})
            self._end = number
            self._changed.notify_all()

    async def settle(self, settlement: Settlement) -> bool:
        """Keep a judged group. False: another attempt at this ticket is out, or it was settled.

        Whoever comes while another one waits for the disk goes with those who wait as well: one
        wait for all of them.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._settling.append((settlement, answer))
        await asyncio.sleep(0)  # who is ready as well comes along
        async with self._changed:
            if not answer.done():
                await self._settle_all()
        return answer.result()

    async def _settle_all(self) -> None:
        came, self._settling = self._settling, []
        taken: dict[int, tuple[Settlement, asyncio.Future[bool]]] = {}
        for settlement, answer in came:
            is_first = settlement.ticket not in taken
            if is_first and self._ledger.accepts(settlement.ticket, settlement.attempt):
                taken[settlement.ticket] = (settlement, answer)
            else:
                answer.set_result(False)
        try:
            await self._write(*(encode_settlement(one) for one, _ in taken.values()))
        except TimeoutError as error:  # they have waited as long
            for _, answer in taken.values():
                answer.set_exception(TimeoutError(str(error)))
                answer.exception()  # whoever asked may be gone
            raise
        except asyncio.CancelledError:  # of one of them
            self._settling = [*taken.values(), *self._settling]
            raise
        for settlement, answer in taken.values():
            self._settled_at_us[settlement.ticket] = _now_us()
            answer.set_result(True)
        self._changed.notify_all()

    async def give_up(self, ticket: Ticket, why: str) -> int:
        """A dead letter: nobody can write or judge it. Returns how many there are."""
        async with self._changed:
            if not self._ledger.is_settled(ticket.number):
                record = {"ticket": ticket.number, "attempt": ticket.attempt, "why": why}
                await self._write({"kind": "dead", "problem": ticket.problem.id, **record})
                self._changed.notify_all()
        return len(self._ledger.dead)

    async def lease(self, step: int, *, as_it_is: bool = False) -> Lease:
        """Take ``batch.problems`` more groups for optimizer step ``step``, once they are settled.

        Asked again it adds to the same lease, until enough was accepted or the data ended; then
        ``is_ready`` is true, and an empty lease means that there is nothing left to learn from.
        ``as_it_is``: what was taken already is all there will be, even if nothing was accepted.
        """
        async with self._changed:
            if self._lease is not None and self._lease.step == step:
                return self._lease  # the answer did not arrive
            assert step == self._step and self._lease is None, (step, self._step, self._lease)
            end = self._gathered + self._config.batch.problems
            if as_it_is and self._gathered > self._open.first:
                end = self._gathered
            settled = f"tickets {self._gathered} to {end - 1} to be settled"
            await self._wait(lambda: self._is_settled_below(end), settled, deadlines=2)
            end = min(end, self._end) if self._end is not None else end
            for ticket in range(self._gathered, end):
                self._open.add(self._ledger.settled[ticket], step, self._rules)
            self._gathered = end
            enough = len(self._open.accepted) >= self._config.batch.min_rollouts
            self._epoch += 1
            is_ready = enough or as_it_is or end == self._end
            groups = map(self._ledger.group, range(self._open.first, end) if is_ready else ())
            lease = self._open.describe(
                step, self._epoch, end, is_ready=is_ready, groups=tuple(groups)
            )
            if lease.is_ready:
                self._lease = lease
                self._step += 1
            self._changed.notify_all()
        return lease

    async def payload(self, step: int, epoch: int) -> list[Rollout]:
        """The rollouts of the open lease. Every learner rank asks for itself."""
        self._require_open(step, epoch)
        return self._open.fresh

    async def ack(self, lease: Lease, *, skipped: bool) -> None:
        """The optimizer step was taken (or ``skipped``: its rollouts are dropped)."""
        async with self._changed:
            if self._ledger.has_acknowledged(lease.step, lease.end_ticket):
                return  # and died before it could say so
            self._require_open(lease.step, lease.epoch)
            taken = self._open
            trained = [] if skipped else taken.fresh
            dropped = Counter[str](reason for _, reason in taken.left_out)
            dropped["skipped"] = len(taken.fresh) - len(trained)
            record = {
                "kind": "ack",
                "step": lease.step,
                "first": lease.first_ticket,
                "end": lease.end_ticket,
                "trained": len(trained),
                "left_out": taken.names_left_out(skipped=skipped),
                "tokens": sum(len(rollout.response_ids) for rollout in trained),
                "dropped": {reason: count for reason, count in dropped.items() if count > 0},
            }
            await self._write(record)
            self._ledger.release_trained()
            self._lease = None
            self._open = OpenLease(first=lease.end_ticket)
        if self._config.debug or lease.step % INVARIANTS_EVERY == 0:
            self._ledger.counts().check()
        await self._recorder.fates(self._fates(lease, taken, skipped))

    async def commit(self, step: int, oldest_ticket: int) -> None:
        """A checkpoint of ``step`` is whole; the oldest kept one stands at ``oldest_ticket``."""
        async with self._changed:
            record = {"kind": "commit", "step": step, "oldest_ticket": oldest_ticket}
            await self._write(record)

    async def published(self, version: int) -> None:
        """Every engine now writes with ``version``."""
        async with self._changed:
            await self._write({"kind": "published", "version": version})
            self._version = version
            self._changed.notify_all()

    async def counts(self) -> Counts:
        return self._ledger.counts()

    async def disk(self) -> str | None:
        """Why nothing can be written just now; None when all is well."""
        return self._disk

    async def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _limit(self) -> int:
        """First ticket that may not go out yet. The run's last step needs no ticket after it."""
        per_step = self._config.batch.problems
        ahead = self._config.max_lag + 1 - (self._step - self._version)
        return self._gathered + per_step * min(ahead, self._config.steps - self._step)

    def _is_settled_below(self, end: int) -> bool:
        if self._end is not None:
            end = min(end, self._end)
        return all(ticket in self._ledger.settled for ticket in range(self._gathered, end))

    async def _wait(self, ready: Callable[[], bool], what: str, *, deadlines: int) -> None:
        """Longer than what it waits for may take: the deadline nearest to a fault speaks first."""
        limit = deadlines * self._config.cluster.wait_timeout_s
        try:
            async with asyncio.timeout(limit):
                await self._changed.wait_for(ready)
        except TimeoutError:
            raise TimeoutError(
                f"the queue waited {limit:.0f} s for {what}: step {self._step}, engines at version "
                f"{self._version}, {len(self._ledger.unsettled())} groups out"
            ) from None

    async def _write(self, *records: dict[str, Any]) -> None:
        """On disk first, then in memory: what is lost with the process was never promised.

        While the disk is full or fails everybody waits, and with them the whole run; not for longer
        than lets the one who waits here speak first.
        """
        assert self._log is not None, "open() comes first"
        if not records:
            return
        limit = self._config.cluster.wait_timeout_s / 2
        deadline = time.monotonic() + limit
        while True:
            try:
                self._log.append(*records)
                break
            except OSError as error:
                if self._disk is None:
                    logger.warning("the queue's log cannot be written: %s; waiting", error)
                self._disk = str(error)
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"the queue waited {limit:.0f} s for a disk that takes its log in "
                        f"{self._directory}: {error}; make room there and go on with --resume"
                    ) from None
            await asyncio.sleep(DISK_AGAIN_S)
        self._disk = None
        for record in records:
            self._ledger.apply(record)

    def _require_open(self, step: int, epoch: int) -> None:
        if self._lease is None or (self._lease.step, self._lease.epoch) != (step, epoch):
            raise LeaseLost(f"lease {epoch} of step {step} is no longer open")

    def _fates(self, lease: Lease, taken: "OpenLease", skipped: bool) -> list[Fate]:
        now = _now_us()

        def fate(rollout: Rollout, name: Literal["trained", "aborted"] | LeftOut) -> Fate:
            ticket = int(rollout.id.split(".")[0])
            return Fate(
                rollout_id=rollout.id,
                fate=name,
                step=lease.step,
                lag=lease.step - rollout.first_version,
                version=lease.step,
                at_us=now,
                queue_ms=(now - self._settled_at_us.get(ticket, now)) / 1000,
                weight=rollout.weight,
                loss_tokens=len(rollout.response_ids) if name == "trained" else 0,
            )

        rows = [fate(rollout, "aborted" if skipped else "trained") for rollout in taken.fresh]
        rows += [fate(rollout, reason) for rollout, reason in taken.left_out]
        for ticket in range(lease.first_ticket, lease.end_ticket):
            self._settled_at_us.pop(ticket, None)
        return rows


def _read(directory: Path) -> Ledger:
    ledger = Ledger()
    for record in read_log(directory):
        ledger.apply(record)
    return ledger


def _now_us() -> int:
    return time.time_ns() // 1000
