"""Deltas from the writer to the image that an engine loads, and everything that must not pass."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash

from actors.weight_image import ImageMaker
from tests.deltas import write_delta
from verifiers import delta_file
from verifiers.delta_file import MAGIC, encode
from verifiers.fingerprint import fingerprint
from verifiers.types import PublishedWeights, WeightsFile
from verifiers.weights_file import WeightsRefused, file_tensors, layout

pytestmark = pytest.mark.row(23)

TENSORS = {
    "embedding": ("BF16", (100, 7)),
    "norm": ("F32", (33,)),
    "bytes": ("U8", (5,)),
    "nothing": ("BF16", (0, 4)),
    "scalar": ("F32", ()),
    "wide": ("F64", (9,)),
}
SHAPES = {name: shape for name, (_, shape) in TENSORS.items()}
HEADER, PLACES = layout(TENSORS)
START = len(HEADER)
SIZE = max(place.end for place in PLACES.values())


class Learner:
    """Writes what the real one writes, from plain bytes."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.random = np.random.default_rng(seed)
        self.data = bytearray(HEADER + self.random.bytes(SIZE - START))
        self.chain: list[WeightsFile] = []

    def publish(self, version: int) -> PublishedWeights:
        path = self.folder / f"v{version}.safetensors"
        path.write_bytes(self.data)
        file = WeightsFile(
            path=str(path),
            version=version,
            base=None,
            fingerprint=fingerprint(file_tensors(path)),
            num_bytes=SIZE,
        )
        self.chain = [file]
        return self.announced()

    def publish_delta(self, version: int, positions: list[int]) -> PublishedWeights:
        """Other bytes at these positions."""
        old = bytes(self.data)
        for position in positions:
            self.data[START + position] ^= int(self.random.integers(1, 256))
        path = self.folder / f"v{version}.delta"
        file = write_delta(path, old, bytes(self.data), version, self.chain[-1])
        self.chain.append(file)
        return self.announced()

    def announced(self) -> PublishedWeights:
        last = self.chain[-1]
        return PublishedWeights(
            version=last.version,
            fingerprint=last.fingerprint,
            num_tensors=len(TENSORS),
            num_bytes=last.num_bytes,
            files=tuple(self.chain),
        )


def no_stream(weights: PublishedWeights):
    raise AssertionError("nothing is streamed here")


MAKER = ImageMaker(SHAPES, tied=False, receive=no_stream)


@pytest.fixture
def learner(tmp_path):
    return Learner(tmp_path)


@pytest.mark.parametrize(
    "positions",
    [
        [],
        [0],
        [SIZE - START - 1],
        list(range(SIZE - START)),
        list(range(0, 1400, 3)),
        [1399, 1400, 1401],
    ],
    ids=["nothing", "first", "last", "everything", "every third byte", "across two tensors"],
)
@pytest.mark.parametrize("block", [64, 1 << 24])
def test_an_image_from_a_delta_holds_the_bits_of_the_new_version(
    learner, monkeypatch, positions, block
):
    monkeypatch.setattr(delta_file, "BLOCK", block)
    one = MAKER(learner.publish(1), None)

    two = MAKER(learner.publish_delta(2, positions), one)

    assert bytes(two.memory.view) == bytes(learner.data)
    assert Path(two.paths[0]).read_bytes() == bytes(learner.data)
    assert two.file.version == 2


def test_many_random_deltas_in_a_row_keep_every_bit(learner):
    image = MAKER(learner.publish(1), None)

    for version in range(2, 12):
        share = 1 << (version - 2)
        positions = learner.random.permutation(SIZE - START)[::share].tolist()
        image = MAKER(learner.publish_delta(version, positions), image)
        assert bytes(image.memory.view) == bytes(learner.data)


def test_who_is_one_version_behind_reads_the_last_file_alone(learner):
    learner.publish(1)
    two = MAKER(learner.publish_delta(2, [5]), None)
    weights = learner.publish_delta(3, [6, 900])
    for file in weights.files[:-1]:
        os.unlink(file.path)

    assert bytes(MAKER(weights, two).memory.view) == bytes(learner.data)


@pytest.mark.parametrize("has", [None, 1, 2])
def test_whoever_else_reads_the_chain_from_its_complete_file(learner, has):
    images = {None: None, 1: MAKER(learner.publish(1), None)}
    images[2] = MAKER(learner.publish_delta(2, [5]), None)
    learner.publish_delta(3, [6, 900])

    image = MAKER(learner.publish_delta(4, [1, 2, 3]), images[has])

    assert bytes(image.memory.view) == bytes(learner.data)


def test_an_image_outlives_its_file_and_what_serves_is_not_touched(learner):
    weights = learner.publish(1)
    before = bytes(learner.data)
    one = MAKER(weights, None)
    os.unlink(weights.files[0].path)

    MAKER(learner.publish_delta(2, [5, 6, 7]), one)

    assert bytes(one.memory.view) == before == Path(one.paths[0]).read_bytes()


def test_few_changes_are_small(tmp_path):
    numbers = np.random.default_rng(0).normal(0, 0.02, 1_000_000).astype(np.float32)
    old = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    new = old.copy()
    new[::40] ^= 1

    blocks = tuple(encode(memoryview(old.tobytes()), memoryview(new.tobytes()), "BF16"))

    assert delta_file.size_of(blocks) < 2_000_000 / 200


def refused(learner: Learner, weights: PublishedWeights, why: str, version: int = 2) -> None:
    """From the version before, and from nothing; what served before keeps its bits."""
    complete = learner.chain[:1]
    one = MAKER(
        replace(
            weights,
            version=complete[0].version,
            fingerprint=complete[0].fingerprint,
            files=tuple(complete),
        ),
        None,
    )
    before = bytes(one.memory.view)

    for current in (one, None):
        with pytest.raises(WeightsRefused, match=why) as refusal:
            MAKER(weights, current)
        assert "\n" not in str(refusal.value)

    assert bytes(one.memory.view) == before


def test_a_flipped_bit_is_refused_unless_zstd_has_no_use_for_it(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [0, 5, 720, 1500])
    path = Path(weights.files[1].path)
    whole, accepted = path.read_bytes(), 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            image = MAKER(weights, None)
        except WeightsRefused:
            continue
        accepted += 1
        assert bytes(image.memory.view) == bytes(learner.data)
    assert accepted < 5


def test_every_truncation_is_refused_and_so_is_a_longer_file(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [0, 5, 720, 1500])
    path = Path(weights.files[1].path)
    whole = path.read_bytes()
    for data in [*(whole[:size] for size in range(len(whole))), whole + b"x"]:
        path.write_bytes(data)
        with pytest.raises(WeightsRefused, match="cannot be read"):
            MAKER(weights, None)


def test_a_file_that_is_gone_is_refused_with_its_name(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [5])
    os.unlink(weights.files[1].path)

    refused(learner, weights, r"v2\.delta' cannot be read")


def test_a_delta_for_another_base_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    learner, other = Learner(tmp_path), Learner(tmp_path / "other", seed=1)
    learner.publish(1)
    other.publish(1)
    foreign = other.publish_delta(2, [5])
    weights = replace(foreign, files=(learner.chain[0], foreign.files[1]))

    refused(learner, weights, "base_fingerprint")


def test_files_in_another_order_are_refused(learner):
    learner.publish(1)
    learner.publish_delta(2, [5])
    weights = learner.publish_delta(3, [6])
    one, two, three = weights.files

    for files in [(one, three, two), (two, three), (one, three), (two, one, three), ()]:
        with pytest.raises(WeightsRefused, match="no chain"):
            MAKER(replace(weights, files=files), None)


def test_a_delta_that_is_applied_twice_is_refused(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [5])
    one, two = weights.files
    again = replace(two, version=3, base=2)

    refused(learner, replace(weights, version=3, files=(one, two, again)), "its version is 2")


def test_an_older_file_under_a_newer_name_is_refused(learner):
    learner.publish(1)
    two = learner.publish_delta(2, [5])
    three = learner.publish_delta(3, [6])
    Path(three.files[2].path).write_bytes(Path(two.files[1].path).read_bytes())

    refused(learner, three, "its version is 2, not 3")


def test_a_chain_to_another_version_than_announced_is_refused(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [5])

    refused(learner, replace(weights, fingerprint="0" * 32), "not version 2 as announced")
    refused(learner, replace(weights, version=3), "not version 3 as announced")


def test_another_number_of_tensors_than_announced_is_refused(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [5])

    with pytest.raises(WeightsRefused, match="holds 6 tensors, not 5"):
        MAKER(replace(weights, num_tensors=5), None)


def rewritten(path: Path, change) -> None:
    """With another header, and the right hash over it."""
    whole = path.read_bytes()
    begin = len(MAGIC) + 24
    size = int.from_bytes(whole[len(MAGIC) : len(MAGIC) + 8], "little")
    header = json.loads(whole[begin : begin + size])
    change(header)
    text = json.dumps(header).encode()
    length = len(text).to_bytes(8, "little")
    path.write_bytes(MAGIC + length + xxhash.xxh3_128_digest(text) + text + whole[begin + size :])


def block_of(header, place, value):
    header["tensors"]["embedding"]["blocks"][0][place] = value


HOSTILE = {
    "more changes than elements": lambda h: block_of(h, 0, 701),
    "a huge number of changes": lambda h: block_of(h, 0, 10**15),
    "a negative number of changes": lambda h: block_of(h, 0, -1),
    "fewer changes than there are": lambda h: block_of(h, 0, 1),
    "changes that are no number": lambda h: block_of(h, 0, "7"),
    "gaps of eight bytes": lambda h: block_of(h, 1, 8),
    "gaps of another size": lambda h: block_of(h, 1, 2),
    "gaps beyond the end": lambda h: block_of(h, 2, 10**15),
    "gaps before the begin": lambda h: block_of(h, 2, -5),
    "flips beyond the end": lambda h: block_of(h, 3, 10**15),
    "flips before the begin": lambda h: block_of(h, 3, -1),
    "a block too many": lambda h: h["tensors"]["embedding"]["blocks"].append([0, 1, 9, 9]),
    "a block that is none": lambda h: h["tensors"]["embedding"].update(blocks=[7]),
    "a tensor less": lambda h: h["tensors"].pop("norm"),
    "a tensor more": lambda h: h["tensors"].update(more=h["tensors"]["norm"]),
    "another shape": lambda h: h["tensors"]["embedding"].update(shape=[7, 100]),
    "another type": lambda h: h["tensors"]["embedding"].update(dtype="F16"),
    "another hash": lambda h: h["tensors"]["norm"].update(hash="0" * 32),
    "a change that is called none": lambda h: h["tensors"]["embedding"].update(blocks=[]),
    "no tensors": lambda h: h.pop("tensors"),
    "tensors that are none": lambda h: h.update(tensors=[1]),
    "another format": lambda h: h.update(format=2),
    "another version": lambda h: h.update(version=7),
    "another base": lambda h: h.update(base=0),
    "another fingerprint": lambda h: h.update(fingerprint="0" * 32),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_header_that_lies_is_refused(learner, name):
    learner.publish(1)
    weights = learner.publish_delta(2, [0, 300, 720, 1500])
    MAKER(weights, None)

    rewritten(Path(weights.files[1].path), HOSTILE[name])

    refused(learner, weights, "refused|cannot be read")


@pytest.mark.parametrize("header", [b"[]", b"3", b"{", b"\xff{}", b"[" * 100_000, b'{"a":1,"a":1}'])
def test_a_header_that_is_no_table_is_refused(learner, header):
    learner.publish(1)
    weights = learner.publish_delta(2, [0])
    length = len(header).to_bytes(8, "little")

    Path(weights.files[1].path).write_bytes(
        MAGIC + length + xxhash.xxh3_128_digest(header) + header
    )

    refused(learner, weights, "cannot be read")


def test_a_header_of_absurd_length_is_refused_unread(learner):
    learner.publish(1)
    weights = learner.publish_delta(2, [0])

    Path(weights.files[1].path).write_bytes(MAGIC + (10**12).to_bytes(8, "little") + bytes(100))

    refused(learner, weights, "too long")


def test_a_delta_appears_whole_or_not_at_all(learner, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    learner.publish(1)
    monkeypatch.setattr(delta_file.os, "replace", fail)

    with pytest.raises(OSError, match="no space"):
        learner.publish_delta(2, [0])

    assert not (learner.folder / "v2.delta").exists()
