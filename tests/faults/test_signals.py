"""A run that is told to stop does so in time, whatever it is in the middle of."""

import os
import signal
import subprocess
import time

import pytest

from tests.faults.live import training
from tests.integration.conftest import World, world
from tests.integration.runs import Account, is_alive, wait_until

__all__ = ["world"]  # the fixture

pytestmark = [pytest.mark.timeout(900), pytest.mark.row(11)]

GRACE_S = 4


def test_a_step_that_takes_too_long_is_not_waited_for_and_a_second_signal_ends_at_once(
    world: World,
):
    settings = ["steps=5000", f"cluster.grace_s={GRACE_S}", "checkpoint.every=2"]
    with training(world, "graceless", *settings, stderr=subprocess.PIPE) as live:
        live.wait_for_steps(3)
        parts = [live.pid(name) for name in ("learner-0", "generator-0", "queue")]
        os.kill(parts[0], signal.SIGSTOP)
        began = time.monotonic()

        live.driver.send_signal(signal.SIGTERM)

        assert live.driver.wait(timeout=30) == 75
        assert GRACE_S <= time.monotonic() - began < 30
        assert live.driver.stderr is not None
        said = live.driver.stderr.read().decode().strip().splitlines()[-1]
        assert f"cluster.grace_s={GRACE_S}" in said and "--resume" in said
        wait_until(lambda: not any(map(is_alive, parts)), "its parts to be gone", 30)
    before = Account(live.folder)

    with training(world, "graceless", *settings, "--resume") as live:
        live.wait_for_steps(2)
        parts = [live.pid(name) for name in ("learner-0", "generator-0", "queue")]
        live.driver.send_signal(signal.SIGTERM)
        live.driver.send_signal(signal.SIGTERM)

        assert live.driver.wait(timeout=20) == 75
        wait_until(lambda: not any(map(is_alive, parts)), "its parts to be gone", 30)

    after = Account(live.folder)
    assert set(before.settled) <= set(after.settled)
    assert after.trained_tickets == list(range(len(after.trained_tickets)))
