"""Numbers that look random and can be had again: the same for the same seed, purpose and place."""

import xxhash


def coin(seed: int, purpose: str, place: int) -> float:
    """Uniform in [0, 1), whatever was asked before."""
    return (xxhash.xxh3_64_intdigest(f"{purpose}-{place}".encode(), seed=seed) >> 11) / 2**53
