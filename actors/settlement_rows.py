"""A settlement as one record of the queue's log, and back: every token exactly as it was."""

import base64
import struct
from collections.abc import Iterable
from typing import Any

from verifiers.types import Outcome, Rollout, Settlement

Record = dict[str, Any]

RARE = {
    "is_accepted": True,
    "reward": 1.0,
    "weight": 1.0,
    "level": None,
    "is_expert": False,
    "logprobs": (),
    "weights": (),
    "teacher_prompt_ids": (),
}
"""What is written only where it is not the default, so that plain runs pay nothing for it."""
FLOATS = ("logprobs", "weights")


def encode_settlement(settlement: Settlement) -> Record:
    return {
        "kind": "settle",
        "ticket": settlement.ticket,
        "attempt": settlement.attempt,
        "outcomes": [_encode_outcome(outcome) for outcome in settlement.outcomes],
        "rollouts": [
            [
                r.id,
                _pack_ids(r.prompt_ids),
                _pack_ids(r.response_ids),
                r.first_version,
                r.last_version,
                _encode_rare(r),
            ]
            for r in settlement.rollouts
        ],
        "logprob_mean": settlement.logprob_mean,
    }


def decode_settlement(record: Record) -> Settlement:
    return Settlement(
        ticket=record["ticket"],
        attempt=record["attempt"],
        outcomes=tuple(_decode_outcome(*row) for row in record["outcomes"]),
        rollouts=tuple(
            Rollout(
                id=rollout_id,
                prompt_ids=_unpack_ids(prompt),
                response_ids=_unpack_ids(response),
                first_version=first,
                last_version=last,
                **_decode_rare(rare),
            )
            for rollout_id, prompt, response, first, last, rare in record["rollouts"]
        ),
        logprob_mean=record["logprob_mean"],
    )


def _encode_outcome(o: Outcome) -> list[Any]:
    row = [o.rollout_id, o.status, o.reason, o.num_tokens, o.first_version, o.last_version]
    if o.measures:
        return [*row, o.is_expert, o.measures]
    return [*row, True] if o.is_expert else row


def _decode_outcome(
    rollout_id: str,
    status: Any,
    reason: str | None,
    num_tokens: int,
    first: int,
    last: int,
    is_expert: bool = False,
    measures: Iterable[tuple[str, float]] = (),
) -> Outcome:
    return Outcome(
        rollout_id=rollout_id,
        status=status,
        reason=reason,
        num_tokens=num_tokens,
        first_version=first,
        last_version=last,
        is_expert=is_expert,
        measures=tuple((name, value) for name, value in measures),
    )


def _encode_rare(rollout: Rollout) -> Record:
    values = {name: getattr(rollout, name) for name in RARE}
    return {
        name: _pack(value) if name in FLOATS else value
        for name, value in values.items()
        if value != RARE[name]
    }


def _decode_rare(rare: Record) -> Record:
    values = {name: _unpack(value) if name in FLOATS else value for name, value in rare.items()}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _pack_ids(ids: tuple[int, ...]) -> str:
    """Most of a log is tokens: packed they are written in a tenth of the time that digits take."""
    return base64.b64encode(struct.pack(f"<{len(ids)}I", *ids)).decode()


def _unpack_ids(ids: str | list[int]) -> tuple[int, ...]:
    """Logs of runs that began with an older version have digits."""
    if isinstance(ids, list):
        return tuple(ids)
    packed = base64.b64decode(ids)
    return struct.unpack(f"<{len(packed) // 4}I", packed)


def _pack(values: tuple[float, ...]) -> str:
    """float32 is what the engine computes: exact, and shorter than digits."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _unpack(text: str) -> tuple[float, ...]:
    packed = base64.b64decode(text)
    return struct.unpack(f"<{len(packed) // 4}f", packed)
