"""Seven hundred hand-checked verdicts of mathematics, under every kind of rules."""

from tests.golden_verdicts import disagreements


def test_the_golden_verdicts_of_mathematics_hold():
    assert disagreements("math") == []
