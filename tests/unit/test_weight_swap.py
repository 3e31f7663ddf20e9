import asyncio

import pytest

from actors.engine import EngineDied
from actors.weight_swap import WeightSwap
from verifiers.types import PublishedWeights, WeightsFile
from verifiers.weights_file import WeightsRefused

pytestmark = pytest.mark.row(23)

BASE = ["base-1", "base-2"]


class Recorded:
    """Loads names instead of files: what a name's fingerprint is, or what it raises, is a table."""

    def __init__(self, **answers) -> None:
        self.calls: list[str] = []
        self.holds = "base-1,base-2"
        self.answers = answers
        self.staged: str | Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def pause(self) -> int:
        self.calls.append("pause")
        return 17

    async def stage(self, paths: list[str]) -> str | None:
        if isinstance(self.staged, Exception):
            raise self.staged
        return self.staged

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


def weights(version: int, name: str, fingerprint: str = "") -> PublishedWeights:
    """Weights that are prepared under ``name``."""
    file = WeightsFile(
        path=name,
        version=version,
        base=None,
        fingerprint=fingerprint or f"print of {name}",
        num_bytes=1,
    )
    return PublishedWeights(
        version=version, fingerprint=file.fingerprint, num_tensors=5, num_bytes=1, files=(file,)
    )


class Image:
    """Prepared weights that know whether they were let go."""

    def __init__(self, path: str, log: list["Image"]) -> None:
        self.paths = [path]
        self.is_closed = False
        log.append(self)

    def close(self) -> None:
        self.is_closed = True


class Maker:
    """Prepares whatever it is asked for, and notes beside what."""

    def __init__(self, refuses: str = "") -> None:
        self.made: list[Image] = []
        self.asked: list[tuple[str, list[str] | None]] = []
        self.refuses = refuses

    def __call__(self, weights: PublishedWeights, current: Image | None) -> Image:
        (file,) = weights.files
        self.asked.append((file.path, current and current.paths))
        if file.path == self.refuses:
            raise WeightsRefused("flipped")
        return Image(file.path, self.made)

    @property
    def held(self) -> list[list[str]]:
        return [image.paths for image in self.made if not image.is_closed]


def swapping(engine: Recorded, maker: Maker | None = None) -> WeightSwap[Image]:
    return WeightSwap(engine, BASE, maker or Maker())


async def test_new_weights_are_prepared_then_loaded_while_generation_stands_still():
    engine, maker = Recorded(), Maker()
    swap = swapping(engine, maker)

    report = await swap.to(weights(1, "one"))

    assert maker.asked == [("one", None)]
    assert engine.calls == ["pause", "load one", "resume with one"]
    assert swap.version == 1
    assert (report.version, report.fingerprint) == (1, "print of one")
    assert (report.num_tensors, report.in_flight) == (5, 17)
    assert 0 < report.stall_s <= report.seconds - report.prepare_s
    assert report.prepare_s > 0


async def test_weights_are_prepared_before_the_engine_pauses():
    engine = Recorded()

    class Watching(Maker):
        def __call__(self, weights, current):
            engine.calls.append("prepare")
            return super().__call__(weights, current)

    await swapping(engine, Watching()).to(weights(1, "one"))

    assert engine.calls[:2] == ["prepare", "pause"]


async def test_weights_are_prepared_beside_those_that_serve_which_are_let_go_afterwards():
    engine, maker = Recorded(), Maker()
    swap = swapping(engine, maker)

    await swap.to(weights(1, "one"))
    await swap.to(weights(2, "two"))

    assert maker.asked == [("one", None), ("two", ["one"])]
    assert maker.held == [["two"]]
    swap.close()
    assert maker.held == []


async def test_weights_that_are_refused_never_touch_the_engine():
    engine, maker = Recorded(), Maker(refuses="two")
    swap = swapping(engine, maker)
    await swap.to(weights(1, "one"))
    engine.calls.clear()

    with pytest.raises(WeightsRefused, match="flipped"):
        await swap.to(weights(2, "two"))

    assert (engine.calls, swap.version, maker.held) == ([], 1, [["one"]])


@pytest.mark.parametrize("failure", [RuntimeError("a\nworker   tripped"), "another print"])
async def test_weights_that_fail_to_load_beside_those_that_serve_do_not_stop_the_engine(failure):
    engine, maker = Recorded(), Maker()
    engine.staged = failure
    swap = swapping(engine, maker)

    with pytest.raises(WeightsRefused, match="version 1 failed to load, version 0 goes on"):
        await swap.to(weights(1, "one"))

    assert (engine.calls, swap.version, maker.held) == ([], 0, [])


async def test_weights_that_were_staged_are_taken_while_the_engine_stands_still():
    engine = Recorded()
    engine.staged = "print of one"

    await swapping(engine).to(weights(1, "one"))

    assert engine.calls == ["pause", "load one", "resume with one"]


@pytest.mark.parametrize(
    "stale", [weights(0, "zero"), weights(1, "one"), weights(2, "two", "other"), weights(2, "2b")]
)
async def test_what_is_not_newer_is_refused(stale):
    engine = Recorded()
    swap = swapping(engine)
    await swap.to(weights(2, "two"))
    engine.calls.clear()

    with pytest.raises(
        WeightsRefused, match=f"version {stale.version} refused: the engine serves 2"
    ):
        await swap.to(stale)

    assert engine.calls == []


async def test_the_same_version_with_the_same_fingerprint_changes_nothing():
    engine = Recorded()
    swap = swapping(engine)
    await swap.to(weights(2, "two"))
    engine.calls.clear()

    report = await swap.to(weights(2, "a copy of it", "print of two"))

    assert engine.calls == []
    assert (report.version, report.fingerprint) == (2, "print of two")
    assert (report.stall_s, report.in_flight) == (0.0, 0)


@pytest.mark.parametrize("failure", [RuntimeError("a\nworker   tripped"), "another print"])
async def test_weights_that_fail_to_load_are_replaced_by_the_base_model(failure):
    engine = Recorded(one=failure)
    swap = swapping(engine)

    with pytest.raises(WeightsRefused, match="version 1 failed to load, version 0 was put back"):
        await swap.to(weights(1, "one"))

    assert engine.calls == ["pause", "load one", "load base-1,base-2", "resume with base-1,base-2"]
    assert swap.version == 0


async def test_weights_that_fail_to_load_are_replaced_by_the_version_before_them():
    engine = Recorded(two=RuntimeError("a\nworker   tripped"))
    swap = swapping(engine)
    await swap.to(weights(1, "one"))

    with pytest.raises(WeightsRefused, match=r"version 1 was put back: a worker tripped$"):
        await swap.to(weights(2, "two"))

    assert engine.calls[-2:] == ["load one", "resume with one"]
    assert swap.version == 1
    assert (await swap.to(weights(3, "three"))).version == 3


@pytest.mark.parametrize("second", [OSError("it is gone"), "another print"])
async def test_an_engine_that_cannot_go_back_is_dead_and_never_resumes(second):
    engine = Recorded(two=RuntimeError("tripped"))
    swap = swapping(engine)
    await swap.to(weights(1, "one"))
    engine.calls.clear()
    engine.answers["one"] = second

    with pytest.raises(EngineDied, match=r"version 2 failed to load \(tripped\) and version 1"):
        await swap.to(weights(2, "two"))

    assert engine.calls == ["pause", "load two", "load one"]


async def test_an_engine_that_died_while_loading_is_not_asked_to_go_back():
    engine = Recorded(one=EngineDied("gone"))
    swap = swapping(engine)

    with pytest.raises(EngineDied, match="gone"):
        await swap.to(weights(1, "one"))

    assert engine.calls == ["pause", "load one"]


async def test_the_version_changes_before_generation_goes_on():
    class Watching(Recorded):
        async def resume(self) -> None:
            self.calls.append(f"version {swap.version}")

    engine = Watching()
    swap = swapping(engine)

    await swap.to(weights(4, "four"))

    assert engine.calls[-1] == "version 4"


async def test_swaps_take_turns():
    engine = Recorded()
    swap = swapping(engine)
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
