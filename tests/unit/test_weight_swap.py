import asyncio

import pytest

from actors import weight_swap
from actors.engine import EngineDied
from actors.weight_swap import WeightSwap
from verifiers.types import PublishedWeights
from verifiers.weights_file import WeightsRefused

BASE = ["base-1", "base-2"]


class Recorded:
    """Loads names instead of files: what a name's fingerprint is, or what it raises, is a table."""

    def __init__(self, **answers) -> None:
        self.calls: list[str] = []
        self.holds = "base-1,base-2"
        self.answers = answers
        self.gate = asyncio.Event()
        self.gate.set()

    async def pause(self) -> int:
        self.calls.append("pause")
        return 17

    async def load_files(self, paths: list[str]) -> str:
        name = ",".join(paths)
        self.calls.append(f"load {name}")
        await self.gate.wait()
        answer = self.answers.get(name, f"print of {name}")
        if isinstance(answer, Exception):
            self.holds = f"half of {name}"
            raise answer
        self.holds = name
        return answer

    async def resume(self) -> None:
        self.calls.append(f"resume with {self.holds}")


def weights(version: int, path: str, fingerprint: str = "") -> PublishedWeights:
    return PublishedWeights(
        version=version,
        path=path,
        fingerprint=fingerprint or f"print of {path}",
        num_tensors=5,
        num_bytes=1,
    )


@pytest.fixture(autouse=True)
def files_are_as_published(monkeypatch):
    verified = []
    monkeypatch.setattr(
        weight_swap, "verify", lambda w, shapes, *, tied: verified.append((w, shapes, tied))
    )
    return verified


async def test_new_weights_are_verified_then_loaded_while_generation_stands_still(
    files_are_as_published,
):
    engine = Recorded()
    swap = WeightSwap(engine, BASE, {"a": (1,)}, tied=True)
    one = weights(1, "one")

    report = await swap.to(one)

    assert files_are_as_published == [(one, {"a": (1,)}, True)]
    assert engine.calls == ["pause", "load one", "resume with one"]
    assert swap.version == 1
    assert (report.version, report.fingerprint) == (1, "print of one")
    assert (report.num_tensors, report.in_flight) == (5, 17)
    assert 0 < report.stall_s <= report.seconds


async def test_a_file_that_is_not_as_published_never_touches_the_engine(monkeypatch):
    def refuse(*_, **__):
        raise WeightsRefused("flipped")

    monkeypatch.setattr(weight_swap, "verify", refuse)
    engine = Recorded()
    swap = WeightSwap(engine, BASE, {}, tied=False)

    with pytest.raises(WeightsRefused, match="flipped"):
        await swap.to(weights(1, "one"))

    assert (engine.calls, swap.version) == ([], 0)


@pytest.mark.parametrize(
    "stale", [weights(0, "zero"), weights(1, "one"), weights(2, "two", "other"), weights(2, "2b")]
)
async def test_what_is_not_newer_is_refused(stale):
    engine = Recorded()
    swap = WeightSwap(engine, BASE, {}, tied=False)
    await swap.to(weights(2, "two"))
    engine.calls.clear()

    with pytest.raises(
        WeightsRefused, match=f"version {stale.version} refused: the engine serves 2"
    ):
        await swap.to(stale)

    assert engine.calls == []


async def test_the_same_version_with_the_same_fingerprint_changes_nothing():
    engine = Recorded()
    swap = WeightSwap(engine, BASE, {}, tied=False)
    await swap.to(weights(2, "two"))
    engine.calls.clear()

    report = await swap.to(weights(2, "a copy of it", "print of two"))

    assert engine.calls == []
    assert (report.version, report.fingerprint) == (2, "print of two")
    assert (report.stall_s, report.in_flight) == (0.0, 0)


@pytest.mark.parametrize("failure", [RuntimeError("a\nworker   tripped"), "another print"])
async def test_weights_that_fail_to_load_are_replaced_by_the_base_model(failure):
    engine = Recorded(one=failure)
    swap = WeightSwap(engine, BASE, {}, tied=False)

    with pytest.raises(WeightsRefused, match="version 1 failed to load, version 0 was put back"):
        await swap.to(weights(1, "one"))

    assert engine.calls == ["pause", "load one", "load base-1,base-2", "resume with base-1,base-2"]
    assert swap.version == 0


async def test_weights_that_fail_to_load_are_replaced_by_the_version_before_them():
    engine = Recorded(two=RuntimeError("a\nworker   tripped"))
    swap = WeightSwap(engine, BASE, {}, tied=False)
    await swap.to(weights(1, "one"))

    with pytest.raises(WeightsRefused, match=r"version 1 was put back: a worker tripped$"):
        await swap.to(weights(2, "two"))

    assert engine.calls[-2:] == ["load one", "resume with one"]
    assert swap.version == 1
    assert (await swap.to(weights(3, "three"))).version == 3


@pytest.mark.parametrize("second", [OSError("it is gone"), "another print"])
async def test_an_engine_that_cannot_go_back_is_dead_and_never_resumes(second):
    engine = Recorded(two=RuntimeError("tripped"))
    swap = WeightSwap(engine, BASE, {}, tied=False)
    await swap.to(weights(1, "one"))
    engine.calls.clear()
    engine.answers["one"] = second

    with pytest.raises(EngineDied, match=r"version 2 failed to load \(tripped\) and version 1"):
        await swap.to(weights(2, "two"))

    assert engine.calls == ["pause", "load two", "load one"]


async def test_an_engine_that_died_while_loading_is_not_asked_to_go_back():
    engine = Recorded(one=EngineDied("gone"))
    swap = WeightSwap(engine, BASE, {}, tied=False)

    with pytest.raises(EngineDied, match="gone"):
        await swap.to(weights(1, "one"))

    assert engine.calls == ["pause", "load one"]


async def test_the_version_changes_before_generation_goes_on():
    class Watching(Recorded):
        async def resume(self) -> None:
            self.calls.append(f"version {swap.version}")

    engine = Watching()
    swap = WeightSwap(engine, BASE, {}, tied=False)

    await swap.to(weights(4, "four"))

    assert engine.calls[-1] == "version 4"


async def test_swaps_take_turns():
    engine = Recorded()
    swap = WeightSwap(engine, BASE, {}, tied=False)
    engine.gate.clear()
    first = asyncio.create_task(swap.to(weights(1, "one")))
    second = asyncio.create_task(swap.to(weights(2, "two")))
    while engine.calls[-1:] != ["load one"]:
        await asyncio.sleep(0.001)

    engine.gate.set()
    await asyncio.gather(first, second)

    assert engine.calls == [
        "pause",
        "load one",
        "resume with one",
        "pause",
        "load two",
        "resume with two",
    ]
