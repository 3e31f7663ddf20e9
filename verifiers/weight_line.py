"""How a learner and the engines find each other to stream weights: names in a store that it holds.

Each engine has a line of its own to the learner, so that one that dies takes nobody with it.
"""

JOINED = "joined"
"""Counts the engines that came."""


def line(place: int) -> str:
    """The store's part for the engine that came as number ``place``."""
    return f"engine-{place}"


def here(place: int) -> str:
    """Set when that engine is about to open its line."""
    return f"{line(place)}-is-here"
