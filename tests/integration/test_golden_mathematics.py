"""Seven hundred hand-checked verdicts of mathematics, under every kind of rules."""

import pytest

from tests.golden_verdicts import disagreements


@pytest.mark.row(16)
def test_the_golden_verdicts_of_mathematics_hold():
    assert disagreements("math") == []
