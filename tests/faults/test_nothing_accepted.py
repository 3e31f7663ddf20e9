"""Runs in which there is nothing to learn: they say so, and end."""

import pytest

from tests.integration.conftest import Laconic, World, laconic, world
from tests.integration.runs import Account, events

__all__ = ["laconic", "world"]  # the fixtures

pytestmark = [pytest.mark.timeout(1200), pytest.mark.row(20)]

PATIENCE = 3


@pytest.mark.parametrize(
    ("reason", "setting"),
    [("wrong", "data.verifier=tests.easy:hard"), ("truncated", "filter.length_budget=1")],
)
def test_when_everything_is_rejected_the_run_ends_and_says_why(
    world: World, laconic: Laconic, reason: str, setting: str
):
    name = f"all-{reason}"

    done = laconic(
        "train", "tiny", *world.settings, f"name={name}", "steps=5",
        f"cluster.batch_patience={PATIENCE}", setting,
    )  # fmt: skip

    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert f"cluster.batch_patience={PATIENCE}" in said
    assert f"{reason} " in said and "0 of " in said
    folder = world.run_dir(name)
    assert len(events(folder, "batch_extended")) == PATIENCE
    account = Account(folder)
    assert account.outcomes[reason] > 0 and account.outcomes["accepted"] == 0
    assert account.steps == {}
