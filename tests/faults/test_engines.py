"""Engines of a real run are killed, hung, added and removed while it trains.

One run for all tests, in their order: each takes it over with two engines and leaves it with two.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from configs.run_files import read_jsonl
from tests.faults.live import Live, training
from tests.integration.conftest import Laconic, World, laconic, world
from tests.integration.runs import Account, is_alive, processes, wait_until

__all__ = ["laconic", "world"]  # the fixtures

START_S = 120
"""An engine that starts imports vLLM: some 20 s on two idle cores."""

BACK_S = 60 + START_S

HANG_S = 20
"""``cluster.engine_timeout_s``; the first batch of an engine computes nothing for some seconds."""

SWAP_S = 15
"""``sync.timeout_s``; a swap waits for what the engine computes, so for its first batch too."""


pytestmark = [pytest.mark.timeout(400), pytest.mark.long]


@pytest.fixture(scope="module")
def live(world: World) -> Iterator[Live]:
    settings = [
        "steps=5000", "max_lag=1", "checkpoint.every=1000",
        "cluster.engine_restarts=8", f"cluster.engine_timeout_s={HANG_S}",
        f"sync.timeout_s={SWAP_S}",
    ]  # fmt: skip
    with training(world, "engines", *settings) as run:
        yield run


def wait_for_two(live: Live) -> None:
    live.wait(lambda: len(live.serving()) == 2, "two engines that serve", BACK_S)


@pytest.mark.row(26)
def test_an_engine_that_is_asked_for_joins_and_takes_tickets(live: Live, laconic: Laconic):
    asked = laconic("scale", str(live.folder), "2")
    assert asked.returncode == 0

    [joined] = live.wait(lambda: live.events("engine_joined"), "the second engine", BACK_S)

    assert joined["name"] == "generator-1"
    wait_for_two(live)
    live.wait(lambda: live.serving()["generator-1"]["requests_done"] > 0, "its first group", 60)
    shown = laconic("scale", str(live.folder))
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
        ["generator-0", "serving"],
        ["generator-1", "serving"],
    ]


@pytest.mark.row(26)
def test_more_engines_than_ray_has_room_for_are_refused_and_the_run_goes_on(
    live: Live, laconic: Laconic
):
    asked = laconic("scale", str(live.folder), "99")
    assert asked.returncode == 0

    [refused] = live.wait(lambda: live.events("scale_refused"), "the refusal", 30)

    assert refused["wanted"] == 99
    assert laconic("scale", str(live.folder), "0").returncode == 2
    assert len(live.serving()) == 2


def kill_while_it_writes(live: Live, name: str) -> None:
    live.wait(lambda: live.serving()[name]["running"] > 0, "the engine to write", 60)
    os.kill(live.pid(name), signal.SIGKILL)


def kill_its_core_while_it_writes(live: Live, name: str) -> None:
    live.wait(lambda: live.serving()[name]["running"] > 0, "the engine to write", 60)
    os.kill(live.core(name), signal.SIGKILL)


def stop_while_it_writes(live: Live, name: str) -> None:
    live.wait(lambda: live.serving()[name]["running"] > 0, "the engine to write", 60)
    os.kill(live.pid(name), signal.SIGSTOP)


def stop_its_core_before_a_swap(live: Live, name: str) -> None:
    """The learner stands still with a batch before it: it will step and publish come what may."""
    learner = processes(live.folder)["learner-0"]
    os.kill(learner, signal.SIGSTOP)
    live.wait(lambda: is_quiet(live), "the engines to have nothing left to write", 60)
    os.kill(live.core(name), signal.SIGSTOP)
    os.kill(learner, signal.SIGCONT)


def kill_in_a_swap(live: Live, name: str) -> None:
    stop_its_core_before_a_swap(live, name)
    newest = max(event["version"] for event in live.events("published"))
    [other] = set(live.serving()) - {name}
    live.wait(
        lambda: live.serving()[other]["version"] > newest, "the other to have the next version", 60
    )
    os.kill(live.pid(name), signal.SIGKILL)


def is_quiet(live: Live) -> bool:
    """While the learner stands still the gate is shut; soon nothing more is out."""
    before = len(Account(live.folder).issued)
    time.sleep(1.5)
    account = Account(live.folder)
    return not account.running and len(account.issued) == before


@pytest.mark.parametrize(
    ("how", "why"),
    [
        pytest.param(kill_while_it_writes, "died during", marks=pytest.mark.row(1)),
        pytest.param(kill_its_core_while_it_writes, "process died", marks=pytest.mark.row(3)),
        pytest.param(kill_in_a_swap, "died during load_weights", marks=pytest.mark.row(2)),
        pytest.param(
            stop_its_core_before_a_swap,
            f"waited {SWAP_S} s for generator-",
            marks=pytest.mark.row(2),
        ),
        # The next publication, or else its silence, finds it out.
        pytest.param(
            stop_while_it_writes,
            f"waited {SWAP_S} s for|said nothing for {HANG_S} s",
            marks=pytest.mark.row(4),
        ),
    ],
)
def test_a_lost_engine_is_back_at_the_newest_version(
    live: Live, how: Callable[[Live, str], None], why: str
):
    wait_for_two(live)
    before = {kind: len(live.events(kind)) for kind in ("engine_lost", "engine_joined")}
    name = max(live.serving(), key=lambda name: int(name.split("-")[1]))
    [other] = set(live.serving()) - {name}
    pid, core = live.pid(name), live.core(name)

    how(live, name)

    lost = live.wait(lambda: live.events("engine_lost")[before["engine_lost"] :], "the loss", 60)
    joined = live.wait(
        lambda: live.events("engine_joined")[before["engine_joined"] :], "another one", BACK_S
    )
    assert [event["name"] for event in lost] == [name]
    assert re.search(why, lost[0]["why"])
    assert len(joined) == 1
    assert (joined[0]["at_us"] - lost[0]["at_us"]) / 1e6 < 60 + joined[0]["seconds"]
    live.wait_for_steps(2)
    wait_for_two(live)
    newest = max(event["version"] for event in live.events("published"))
    versions = [row["version"] for row in live.serving().values()]
    assert min(versions) >= newest - 1
    assert joined[0]["version"] >= max(
        event["version"] for event in live.events("published")
        if event["at_us"] < joined[0]["at_us"] - 1e6 * SWAP_S
    )  # fmt: skip
    assert other in live.serving()
    wait_until(lambda: not is_alive(pid) and not is_alive(core), "its processes to be gone", 30)


@pytest.mark.row(26)
def test_the_last_engine_leaves_when_it_is_told_to(live: Live, laconic: Laconic):
    wait_for_two(live)
    last = max(live.serving(), key=lambda name: int(name.split("-")[1]))

    laconic("scale", str(live.folder), "1")

    [left] = live.wait(lambda: live.events("engine_left"), "it to leave", 90)
    assert left["name"] == last
    live.wait(lambda: len(live.serving()) == 1, "the run to have one engine", 30)
    live.wait_for_steps(2)


@pytest.mark.row(1)
@pytest.mark.row(4)
def test_at_the_end_nothing_is_lost_and_nothing_was_done_twice(live: Live):
    live.driver.send_signal(signal.SIGTERM)
    assert live.driver.wait(timeout=90) == 75

    account = Account(live.folder)
    steps = len(list(read_jsonl(live.folder / "metrics.jsonl")))
    assert sorted(account.steps) == list(range(steps))
    assert account.trained_tickets == list(range(4 * steps))
    outcomes = account.outcomes
    assert outcomes["accepted"] == account.trained + account.queued + account.dropped.total()
    assert outcomes.total() == 8 * len(account.settled)
    assert len(account.issued) == len(account.settled) + len(account.running)
    assert max(account.issued.values()) > 0
    versions = [event["version"] for event in live.events("published")]
    assert versions == list(range(1, steps + 1))
