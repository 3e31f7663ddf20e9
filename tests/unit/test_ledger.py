"""The ledger counts as it goes, and forgets; its numbers are those of whoever reads the whole log
and forgets nothing."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger import Counts, Ledger, given_up
from actors.replay_log import read_log
from actors.settlement_rows import decode_settlement, encode_settlement
from tests.made_run import Record
from tests.unit.test_history import lived
from tests.unit.test_replay import settlement
from verifiers.types import Settlement


def counted(records: Sequence[Record]) -> Counts:
    issued, dead = set[int](), set[int]()
    settled: dict[int, Settlement] = {}
    steps: dict[int, Record] = {}
    for record in records:
        match record["kind"]:
            case "issue":
                issued.add(record["ticket"])
            case "settle":
                settled[record["ticket"]] = decode_settlement(record)
            case "dead":
                dead.add(record["ticket"])
                settled[record["ticket"]] = given_up(record["ticket"], record["attempt"])
            case "ack":
                steps[record["step"]] = record
            case "resume":
                steps = {step: ack for step, ack in steps.items() if step < record["step"]}
    trained = max((ack["end"] for ack in steps.values()), default=0)
    outcomes = [outcome for group in settled.values() for outcome in group.outcomes]
    rollouts = [rollout for group in settled.values() for rollout in group.rollouts]
    return Counts(
        issued_groups=len(issued),
        running_groups=len(issued - settled.keys()),
        settled_groups=len(settled),
        dead_groups=len(dead),
        settled=len(outcomes),
        accepted=sum(rollout.is_accepted for rollout in rollouts),
        rejected=dict(Counter(outcome.reason for outcome in outcomes if outcome.reason)),
        kept=len(rollouts),
        trained=sum(ack["trained"] for ack in steps.values()),
        queued=sum(len(g.rollouts) for number, g in settled.items() if number >= trained),
        dropped=dict(sum((Counter(ack["dropped"]) for ack in steps.values()), Counter[str]())),
        generated_tokens=sum(o.num_tokens for o in outcomes if not o.is_expert),
        trained_tokens=sum(ack["tokens"] for ack in steps.values()),
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_after_every_record_the_counts_are_those_of_the_whole_log(seed: int):
    with tempfile.TemporaryDirectory() as folder:
        lived(Path(folder), seed)
        records = list(read_log(Path(folder)))
    ledger, out = Ledger(), set[int]()

    for place, record in enumerate(records, start=1):
        ledger.apply(record)
        if record["kind"] not in ("issue", "settle") or place == len(records):
            assert ledger.counts() == counted(records[:place])
        if record["kind"] == "issue":
            out.add(record["ticket"])
        elif record["kind"] in ("settle", "dead"):
            out.discard(record["ticket"])
        assert ledger.unsettled() == sorted(out)


def test_steps_that_no_checkpoint_goes_back_to_are_only_sums():
    ledger = Ledger()
    for step in range(1000):
        issued = {"ticket": step, "attempt": 0, "cursor": step, "problem": "p", "budget": 9}
        ledger.apply({"kind": "issue", **issued})
        ledger.apply(encode_settlement(settlement(step, version=step)))
        taken = {"trained": 1, "tokens": 3, "dropped": {}}
        ledger.apply({"kind": "ack", "step": step, "first": step, "end": step + 1, **taken})
        if step % 10 == 9:
            ledger.apply({"kind": "commit", "step": step + 1, "oldest_ticket": step - 9})

        assert len(ledger.consumed) <= 21

    assert (ledger.counts().trained, ledger.counts().trained_tokens) == (1000, 3000)
    ledger.apply({"kind": "resume", "step": 990, "version": 990, "end": None})
    assert (ledger.trained, ledger.step) == (990, 990)
    counts = ledger.counts()
    assert (counts.trained, counts.trained_tokens, counts.queued) == (990, 2970, 10)
    counts.check()
