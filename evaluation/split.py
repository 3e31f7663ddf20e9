"""Which stage of a pipeline sees which problem: by a hash of its words, so that order, ids and
repetitions in the files change nothing, and the same problem is never on two sides."""

from collections.abc import Mapping, Sequence

import xxhash


def problem_hash(turns: Sequence[str]) -> str:
    """Of the words of all turns, white space aside."""
    return xxhash.xxh3_128_hexdigest(
        " ".join(word for turn in turns for word in turn.split()).encode()
    )


def stages_of(hash: str, shares: Mapping[str, float], overlap: float) -> tuple[str, ...]:
    """The stages that see this problem: one by ``shares``, and each other with probability
    ``overlap``."""
    total, below, home = sum(shares.values()), 0.0, None
    position = _uniform(hash, "stage")
    for stage, share in shares.items():
        below += share / total
        if home is None and position < below:
            home = stage
    home = home if home is not None else list(shares)[-1]  # the sum may round to below 1
    return tuple(
        stage for stage in shares if stage == home or _uniform(hash, f"also {stage}") < overlap
    )


def overlaps(seen: Mapping[str, set[str]]) -> dict[str, dict[str, float]]:
    """For each two stages: what share of the first one's problems the second one sees."""
    return {
        one: {
            other: len(seen[one] & seen[other]) / len(seen[one]) if seen[one] else 0.0
            for other in seen
        }
        for one in seen
    }


def _uniform(hash: str, what: str) -> float:
    """In [0, 1), always the same for the same arguments."""
    return xxhash.xxh3_64_intdigest(f"{hash} {what}".encode()) / 2**64
