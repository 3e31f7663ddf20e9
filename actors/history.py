"""A run's queue log added up again, sample by sample, by other code than the queue's own. Pure.

In the manner of Jepsen's total queue: what was put in must come out, and once. It shares nothing
with ``actors/ledger.py``, or it would share its faults. What it proves is in docs/reliability.md.

Steps that a restart takes back are gone from the account, but had to be right while they stood.
"""

import base64
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from actors.history_steps import Samples, Taken
from actors.history_types import Faults, Record, Sample, Step, Tally, Ticket


@dataclass(slots=True)
class History:
    max_lag: int
    tickets: list[Ticket] = field(default_factory=list)
    samples: Samples = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    """Those that stand."""
    acks: list[Step] = field(default_factory=list)
    """All that ever stood, in their order."""
    ends: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Of every sample, each step that had it and what that did with it."""
    frontier: int = 0
    """First ticket that no step has taken."""
    before_restarts: list[Tally] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    _where: str = ""
    _next: int = 0
    """Step to be acknowledged."""
    _most_steps: int = 0
    _attempted: int = 0
    _faults: Faults = field(default_factory=Faults)

    def read(self, record: Record, where: str) -> None:
        """The next record; ``where`` it stands, for whoever has to look it up."""
        self._where = where
        match record["kind"]:
            case "issue":
                self._issue(record)
            case "settle":
                self._settle(record)
            case "dead":
                self._give_up(record)
            case "ack":
                self._acknowledge(record)
            case "commit":
                self._commit(record)
            case "resume":
                self._take_back(record["step"])
            case "published":
                self._require_version("the engines are given", record["version"])
            case "end":
                pass
            case unknown:
                self._wrong(f"a record of an unknown kind, {unknown!r}")

    def close(self) -> Tally:
        """Every sample that was promised has one end, or waits for it."""
        tally = self._tally()
        if not self.violations and tally.acked != tally.ok + tally.pending:
            self.violations.append(
                f"{tally.acked} samples were settled, {tally.ok} came to an end and "
                f"{tally.pending} wait: that does not add up"
            )
        return tally

    def _tally(self) -> Tally:
        groups = [ticket for ticket in self.tickets if ticket.samples is not None]
        kept = [sample for sample in self.samples.values() if sample.is_kept]
        steps = self.steps.values()
        taken = {ticket for step in steps for ticket in range(step.first, step.end)}
        dropped = sum((step.dropped for step in steps), Counter[str]())
        trained = sum(step.trained for step in steps)
        reasons = Counter(s.reason for s in self.samples.values() if s.reason is not None)
        return Tally(
            steps=len(steps),
            taken_back=len(self.acks) - len(steps),
            issued_groups=len(self.tickets),
            running_groups=len(self.tickets) - len(groups),
            settled_groups=len(groups),
            dead_groups=sum(ticket.given_up is not None for ticket in groups),
            recovered=sum(t.attempt > 0 and t.given_up is None for t in groups),
            attempted=self._attempted,
            acked=len(self.samples),
            ok=len(self.samples) - len(kept) + trained + dropped.total(),
            pending=sum(sample.ticket not in taken for sample in kept),
            **asdict(self._faults),
            accepted=len(self.samples) - reasons.total(),
            rejected=dict(reasons),
            kept=len(kept),
            trained=trained,
            dropped=dict(dropped),
            generated_tokens=sum(s.tokens for s in self.samples.values() if not s.is_expert),
            trained_tokens=sum(step.tokens for step in steps),
        )

    def _issue(self, record: Record) -> None:
        number, there = record["ticket"], len(self.tickets)
        self._attempted += record["size"]
        self._require_version(f"ticket {number} goes out for", record["version"])
        if number < there:
            self._issue_again(self.tickets[number], record)
            return
        if number > there:
            self._wrong(f"ticket {number} is issued, and ticket {there} never was")
            unknown = {"problem": "", "cursor": 0, "size": 0, "attempt": 0}
            self.tickets += [Ticket(**unknown) for _ in range(there, number)]
        if record["attempt"] != 0:
            self._wrong(f"ticket {number} begins with attempt {record['attempt']}")
        if self.tickets and record["cursor"] < self.tickets[-1].cursor:
            self._wrong(f"ticket {number} goes back in the data, to draw {record['cursor']}")
        known = {name: record[name] for name in ("problem", "cursor", "size", "attempt")}
        self.tickets.append(Ticket(**known))

    def _issue_again(self, ticket: Ticket, record: Record) -> None:
        number, attempt = record["ticket"], record["attempt"]
        if ticket.samples is not None:
            self._wrong(f"ticket {number} is issued again, though it was settled")
        if attempt != ticket.attempt + 1:
            self._wrong(f"attempt {attempt} at ticket {number} follows attempt {ticket.attempt}")
        if (record["problem"], record["cursor"]) != (ticket.problem, ticket.cursor):
            self._wrong(f"ticket {number} is issued again for another problem or draw")
        ticket.attempt, ticket.size = attempt, record["size"]

    def _settle(self, record: Record) -> None:
        number, attempt, written = record["ticket"], record["attempt"], len(record["outcomes"])
        ticket = self._outstanding(number, "settled", written)
        if ticket is None:
            return
        if attempt != ticket.attempt:
            self._faults.unexpected += written
            self._wrong(
                f"ticket {number} is settled by attempt {attempt}, when attempt {ticket.attempt} "
                "was out"
            )
        self._attempted += written - ticket.size
        ticket.samples = self._samples_of(record)
        self.samples |= ticket.samples

    def _samples_of(self, record: Record) -> Samples:
        kept = {row[0]: row for row in record["rollouts"]}
        found: Samples = {}
        for place, row in enumerate(record["outcomes"]):
            name, _, reason, tokens, first, last, *rare = row
            if name != f"{record['ticket']:06d}.{record['attempt']}.{place}":
                self._faults.unexpected += 1
                self._wrong(f"ticket {record['ticket']} is settled with a foreign sample, {name}")
            self._require_version(f"{name} was written by", max(first, last))
            found[name] = Sample(
                ticket=record["ticket"],
                reason=reason,
                tokens=tokens,
                versions=(first, last),
                is_expert=bool(rare and rare[0]),
                reward=self._reward(row, kept.pop(name)) if name in kept else None,
            )
            if reason is None and not found[name].is_kept:
                self._faults.lost += 1
                self._wrong(f"{name} was accepted and is not kept for the learner")
        for name in kept:
            self._faults.unexpected += 1
            self._wrong(f"{name} is kept for the learner, and nobody judged it")
        return found

    def _reward(self, outcome: list[Any], kept: list[Any]) -> float:
        """What the learner is to get must be what was judged."""
        name, _, response, first, last, rare = kept
        if [_length(response), first, last] != outcome[3:6]:
            self._wrong(f"{name} is kept for the learner otherwise than it was judged")
        if rare.get("is_accepted", True) != (outcome[2] is None):
            self._wrong(f"{name} is accepted in one place and rejected in another")
        return rare.get("reward", 1.0)

    def _give_up(self, record: Record) -> None:
        ticket = self._outstanding(record["ticket"], "given up", 0)
        if ticket is not None:
            ticket.samples, ticket.given_up = {}, record["why"]
            self._attempted -= ticket.size

    def _outstanding(self, number: int, verb: str, written: int) -> Ticket | None:
        if number >= len(self.tickets):
            self._faults.unexpected += written
            self._wrong(f"ticket {number} is {verb}, and was never issued")
            return None
        if self.tickets[number].samples is not None:
            self._faults.duplicated += written
            self._wrong(f"ticket {number} is {verb} a second time")
            return None
        return self.tickets[number]

    def _acknowledge(self, record: Record) -> None:
        number, first, end = record["step"], record["first"], record["end"]
        if number != self._next:
            self._wrong(f"step {number} is acknowledged where step {self._next} was to be")
        if first < self.frontier:
            self._faults.duplicated += len(self._kept(range(first, min(end, self.frontier))))
            self._wrong(f"step {number} takes tickets {first} to {self.frontier - 1} once more")
        if first > self.frontier:
            self._faults.lost += len(self._kept(range(self.frontier, first)))
            self._wrong(f"step {number} passes over tickets {self.frontier} to {first - 1}")
        for ticket in range(first, end):
            if ticket >= len(self.tickets) or self.tickets[ticket].samples is None:
                self._faults.lost += self.tickets[ticket].size if ticket < len(self.tickets) else 0
                self._wrong(f"step {number} takes ticket {ticket}, which nobody settled")
        self._take(record)
        self._stand(record)

    def _take(self, record: Record) -> None:
        taken = Taken(step=record["step"], max_lag=self.max_lag)
        taken.read(record, self._kept(range(record["first"], record["end"])))
        for text in taken.wrong:
            self._wrong(text)
        self._faults.add(taken.faults)
        for name, end in taken.ends.items():
            self.ends.setdefault(name, []).append((record["step"], end))

    def _stand(self, record: Record) -> None:
        before = next(reversed(self.steps.values()), None)
        step = Step(
            number=record["step"],
            first=record["first"],
            end=record["end"],
            trained=record["trained"],
            tokens=record["tokens"],
            dropped=Counter(record["dropped"]),
            written=sum(
                len(ticket.samples or ())
                for ticket in self.tickets[record["first"] : record["end"]]
            ),
            total_tokens=record["tokens"] + (before.total_tokens if before else 0),
        )
        self.acks.append(step)
        self.steps[step.number] = step
        self._next, self.frontier = step.number + 1, step.end
        self._most_steps = max(self._most_steps, self._next)

    def _commit(self, record: Record) -> None:
        step, oldest = record["step"], record["oldest_ticket"]
        if step > self._next:
            self._wrong(f"a checkpoint of step {step} is committed after {self._next} steps")
        if oldest > self.frontier:
            self._wrong(f"tickets below {oldest} are forgotten, and {self.frontier} was not taken")

    def _take_back(self, step: int) -> None:
        if step > self._next:
            self._wrong(f"the run goes on from step {step}, and {self._next} were acknowledged")
        self.before_restarts.append(self._tally())
        self.steps = {number: taken for number, taken in self.steps.items() if number < step}
        self._next = step
        self.frontier = max((taken.end for taken in self.steps.values()), default=0)

    def _require_version(self, what: str, version: int) -> None:
        """Weights of a version are there once so many steps were acknowledged: a restart takes
        steps back, and not what was written with them."""
        if not 0 <= version <= self._most_steps:
            self._wrong(f"{what} version {version} after {self._most_steps} steps")

    def _kept(self, tickets: Iterable[int]) -> Samples:
        there = (self.tickets[number] for number in tickets if number < len(self.tickets))
        return {name: sample for ticket in there for name, sample in ticket.kept.items()}

    def _wrong(self, what: str) -> None:
        self.violations.append(f"{self._where}: {what}")


def _length(ids: str | list[int]) -> int:
    """Of packed tokens, four bytes each, or of the digits that older logs have."""
    return len(ids) if isinstance(ids, list) else len(base64.b64decode(ids)) // 4
