"""Who holds which ticket: the state that the replay log describes, and nothing else.

Live and after a restart the same ``apply`` runs over the same records, so what a restart rebuilds
is what was there. Tickets are consumed strictly in order, hence one number says what was trained:
everything below ``trained``.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from actors.settlement_rows import decode_settlement
from verifiers.types import GroupOutcome, Settlement

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rollouts, except where a name says groups. ``check`` holds after every record."""

    issued_groups: int
    running_groups: int
    settled_groups: int
    dead_groups: int
    """Of the settled ones those that were given up: nobody could write or judge them."""
    settled: int
    accepted: int
    rejected: dict[str, int]
    kept: int
    """For the learner: the accepted ones, or, where the objective learns from whole groups, the
    rejected ones too that were judged."""
    trained: int
    """Given to the learner in a step that was taken, whatever their reward."""
    queued: int
    dropped: dict[str, int]
    generated_tokens: int
    trained_tokens: int

    def check(self) -> None:
        assert self.issued_groups == self.running_groups + self.settled_groups, self
        assert self.dead_groups <= self.settled_groups, self
        assert self.settled == self.accepted + sum(self.rejected.values()), self
        assert self.kept == self.trained + self.queued + sum(self.dropped.values()), self
        assert self.accepted <= self.kept <= self.settled, self


@dataclass(slots=True)
class _Consumed:
    """What one optimizer step took, kept so that a restart can take it back."""

    first: int
    end: int
    trained: int
    tokens: int
    dropped: Counter[str]


@dataclass(slots=True)
class Ledger:
    issued: dict[int, Record] = field(default_factory=dict)
    """Of every ticket the record of the attempt that is out, or that settled it."""
    cursor: int = 0
    """Draws of the data's order up to the newest ticket."""
    settled: dict[int, Settlement] = field(default_factory=dict)
    forgotten: int = 0
    """Tickets below were trained before the oldest checkpoint; only their sums are kept."""
    trained: int = 0
    """First ticket that no acknowledged optimizer step has taken."""
    consumed: dict[int, _Consumed] = field(default_factory=dict)
    """By optimizer step: those that may be taken back, and the one before them."""
    step: int = 0
    """The next one to be acknowledged."""
    version: int = 0
    """What the engines of the last process wrote with."""
    end: int | None = None
    """First ticket that the data of the last process had nothing for."""
    dead: dict[int, str] = field(default_factory=dict)
    """Tickets that were given up, and why."""
    _released: int = 0
    """Tickets below have let go of their tokens."""
    _unsettled: set[int] = field(default_factory=set)
    _reasons: Counter[str] = field(default_factory=Counter)
    _num_settled: int = 0
    _num_accepted: int = 0
    _num_kept: int = 0
    _generated_tokens: int = 0
    _num_trained: int = 0
    _trained_tokens: int = 0
    _dropped: Counter[str] = field(default_factory=Counter)

    @property
    def num_issued(self) -> int:
        return self.forgotten + len(self.issued)

    def unsettled(self) -> list[int]:
        return sorted(self._unsettled)

    def next_attempt(self, number: int) -> int | None:
        """None: the ticket is settled, and nobody is to write it again."""
        if number < self.forgotten or number in self.settled:
            return None
        return self.issued[number]["attempt"] + 1 if number in self.issued else 0

    def group(self, number: int) -> GroupOutcome:
        """What became of a settled ticket."""
        issued, settled = self.issued[number], self.settled[number]
        return GroupOutcome(
            ticket=number,
            problem_id=issued["problem"],
            budget=issued["budget"],
            temperature=issued["temperature"],
            logprob_mean=settled.logprob_mean,
            outcomes=settled.outcomes,
        )

    def is_settled(self, ticket: int) -> bool:
        return ticket < self.forgotten or ticket in self.settled

    def apply(self, record: Record) -> None:
        match record["kind"]:
            case "issue":
                self._issue(record)
            case "settle":
                self._settle(decode_settlement(record))
            case "ack":
                self._acknowledge(record)
            case "commit":
                self._forget_below(record["oldest_ticket"])
            case "dead":
                self.dead[record["ticket"]] = record["why"]
                self._settle(given_up(record["ticket"], record["attempt"]))
            case "published":
                self.version = record["version"]
            case "end":
                self.end = record["ticket"]
            case "resume":
                self.version, self.end = record["version"], record["end"]
                self._take_back_after(record["step"])
            case unknown:
                raise ValueError(f"the queue's log holds an unknown record {unknown!r}")

    def has_acknowledged(self, step: int, end: int) -> bool:
        return step in self.consumed and self.consumed[step].end == end

    def accepts(self, ticket: int, attempt: int) -> bool:
        """False for the late result of an attempt that was given up, and for a repeated one."""
        issued = self.issued.get(ticket)
        return issued is not None and issued["attempt"] == attempt and ticket not in self.settled

    def release_trained(self) -> None:
        """Let go of the tokens of what was trained: only a restart asks for them, of the log."""
        for number in range(max(self.forgotten, self._released), self.trained):
            self.settled[number] = replace(self.settled[number], rollouts=())
        self._released = self.trained

    def counts(self) -> Counts:
        """Asked every second: it looks at what waits for the learner, and at nothing older."""
        waiting = filter(None, map(self.settled.get, range(self.trained, self.num_issued)))
        return Counts(
            issued_groups=self.num_issued,
            running_groups=len(self._unsettled),
            settled_groups=self.forgotten + len(self.settled),
            dead_groups=len(self.dead),
            settled=self._num_settled,
            accepted=self._num_accepted,
            rejected=dict(self._reasons),
            kept=self._num_kept,
            trained=self._num_trained,
            queued=sum(len(settlement.rollouts) for settlement in waiting),
            dropped=dict(self._dropped),
            generated_tokens=self._generated_tokens,
            trained_tokens=self._trained_tokens,
        )

    def _settle(self, settlement: Settlement) -> None:
        self.settled[settlement.ticket] = settlement
        self._unsettled.discard(settlement.ticket)
        self._num_settled += len(settlement.outcomes)
        self._num_accepted += sum(rollout.is_accepted for rollout in settlement.rollouts)
        self._num_kept += len(settlement.rollouts)
        self._reasons.update(o.reason for o in settlement.outcomes if o.reason is not None)
        written = (o for o in settlement.outcomes if not o.is_expert)
        self._generated_tokens += sum(outcome.num_tokens for outcome in written)

    def _issue(self, record: Record) -> None:
        number = record["ticket"]
        if number > self.num_issued:
            raise ValueError(f"ticket {number} was issued before ticket {self.num_issued}")
        self.issued[number] = record
        if number not in self.settled:
            self._unsettled.add(number)
        self.cursor = max(self.cursor, record["cursor"])

    def _acknowledge(self, record: Record) -> None:
        if record["first"] != self.trained:
            raise ValueError(
                f"step {record['step']} acknowledges {record['first']}, not {self.trained}"
            )
        self.trained, self.step = record["end"], record["step"] + 1
        taken = self.consumed[record["step"]] = _Consumed(
            first=record["first"],
            end=record["end"],
            trained=record["trained"],
            tokens=record["tokens"],
            dropped=Counter(record["dropped"]),
        )
        self._num_trained += taken.trained
        self._trained_tokens += taken.tokens
        self._dropped += taken.dropped

    def _forget_below(self, ticket: int) -> None:
        for number in range(self.forgotten, ticket):
            del self.issued[number], self.settled[number]
        self.forgotten = max(self.forgotten, ticket)
        # The checkpoint that keeps ``ticket`` keeps the step that ends there as the last one.
        self.consumed = {s: taken for s, taken in self.consumed.items() if taken.end >= ticket}

    def _take_back_after(self, step: int) -> None:
        """Steps from ``step`` on came after the checkpoint: their groups are to be had again."""
        self.step = step
        for number in [number for number in self.consumed if number >= step]:
            taken = self.consumed.pop(number)
            self._num_trained -= taken.trained
            self._trained_tokens -= taken.tokens
            self._dropped -= taken.dropped
        self.trained = max((taken.end for taken in self.consumed.values()), default=0)
        self._released = min(self._released, self.trained)


def given_up(ticket: int, attempt: int) -> Settlement:
    """Of a group without a single rollout."""
    return Settlement(ticket=ticket, attempt=attempt, outcomes=(), rollouts=(), logprob_mean=None)
