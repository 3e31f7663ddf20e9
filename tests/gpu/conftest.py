"""The same small world as on a CPU."""

from tests.integration.conftest import laconic, world

__all__ = ["laconic", "world"]
