import json
import struct
from typing import Any

import pytest

from actors.weight_image import ImageMaker
from verifiers.fingerprint import fingerprint
from verifiers.types import PublishedWeights, WeightsFile
from verifiers.weights_file import (
    WeightsRefused,
    file_tensors,
    folder_shapes,
    layout,
    model_files,
    read_places,
)

pytestmark = pytest.mark.row(23)

SHAPES = {"a": (2, 3), "b": (4,), "lm_head.weight": (1, 2)}


def write(path, shapes, *, dtype="BF16", fill=7, tail=b"", change=None):
    size = {"BF16": 2, "F32": 4}[dtype]
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for number, (name, shape) in enumerate(shapes.items()):
        count = size
        for length in shape:
            count *= length
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(body), len(body) + count],
        }
        body += bytes([(fill + number) % 256]) * count
    if change:
        change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body + tail)
    return path


def published(path, **changes) -> PublishedWeights:
    digest, num_bytes = fingerprint(file_tensors(path)), path.stat().st_size
    file = WeightsFile(
        path=str(path), version=3, base=None, fingerprint=digest, num_bytes=num_bytes
    )
    values = {
        "version": 3,
        "fingerprint": digest,
        "num_tensors": len(list(file_tensors(path))),
        "num_bytes": num_bytes,
        "files": (file,),
    }
    return PublishedWeights(**(values | changes))


def no_stream(weights: PublishedWeights):
    raise AssertionError("nothing is streamed here")


def verify(weights, shapes, *, tied):
    """What an engine does with a complete file."""
    ImageMaker(shapes, tied=tied, receive=no_stream)(weights, None).close()


def test_every_tensor_is_read_with_its_own_bytes(tmp_path):
    path = write(tmp_path / "w", {"x": (2, 2), "empty": (0, 5), "scalar": ()}, dtype="F32", fill=9)

    read = [(name, dtype, shape, bytes(data)) for name, dtype, shape, data in file_tensors(path)]

    assert read == [
        ("x", "F32", (2, 2), b"\x09" * 16),
        ("empty", "F32", (0, 5), b""),
        ("scalar", "F32", (), b"\x0b" * 4),
    ]


def test_a_reader_that_stops_early_or_keeps_a_view_gets_no_error(tmp_path):
    views = []
    for *_, data in file_tensors(write(tmp_path / "w", SHAPES)):
        views.append(data)
        if len(views) == 2:
            break

    assert len(views) == 2


def test_a_complete_published_file_is_accepted(tmp_path):
    verify(published(write(tmp_path / "w", SHAPES)), SHAPES, tied=False)


@pytest.mark.parametrize("at", [0, 8, 60, -20, -1])
def test_one_flipped_bit_is_refused(tmp_path, at):
    path = write(tmp_path / "w", SHAPES)
    weights = published(path)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)

    with pytest.raises(WeightsRefused):
        verify(weights, SHAPES, tied=False)


def test_two_tensors_that_swapped_their_bytes_are_refused(tmp_path):
    path = write(tmp_path / "w", {"a": (4,), "b": (4,)})
    weights = published(path)
    write(path, {"b": (4,), "a": (4,)})

    with pytest.raises(WeightsRefused, match="fingerprint"):
        verify(weights, {"a": (4,), "b": (4,)}, tied=False)


@pytest.mark.parametrize("missing", ["a", "b", "lm_head.weight"])
def test_a_missing_tensor_is_refused_by_name(tmp_path, missing):
    shapes = {name: shape for name, shape in SHAPES.items() if name != missing}

    with pytest.raises(WeightsRefused, match=f"1 tensors are missing, first '{missing}'"):
        verify(published(write(tmp_path / "w", shapes)), SHAPES, tied=False)


def test_an_unknown_tensor_is_refused_by_name(tmp_path):
    path = write(tmp_path / "w", SHAPES | {"c": (1,)})

    with pytest.raises(WeightsRefused, match="1 tensors are unknown, first 'c'"):
        verify(published(path), SHAPES, tied=False)


@pytest.mark.parametrize("expected", [{"a": (1,)}, {"a": (1,), "lm_head.weight": (2,)}])
@pytest.mark.parametrize("brought", [{"a": (1,)}, {"a": (1,), "lm_head.weight": (2,)}])
def test_only_tied_weights_may_leave_out_or_bring_the_output_layer(tmp_path, expected, brought):
    weights = published(write(tmp_path / "w", brought))

    verify(weights, expected, tied=True)

    if expected != brought:
        with pytest.raises(WeightsRefused, match=r"lm_head\.weight"):
            verify(weights, expected, tied=False)


def test_a_tensor_of_another_shape_with_as_many_elements_is_refused(tmp_path):
    path = write(tmp_path / "w", SHAPES | {"a": (3, 2)})

    with pytest.raises(WeightsRefused, match=r"'a' has shape \(3, 2\), the model \(2, 3\)"):
        verify(published(path), SHAPES, tied=False)


def test_another_number_of_tensors_than_was_announced_is_refused(tmp_path):
    weights = published(write(tmp_path / "w", SHAPES), num_tensors=4)

    with pytest.raises(WeightsRefused, match="holds 3 tensors, not 4"):
        verify(weights, SHAPES, tied=False)


@pytest.mark.parametrize("cut", [0, 7, 8, 40, -1])
def test_a_torn_file_is_refused_with_its_name(tmp_path, cut):
    path = write(tmp_path / "torn", SHAPES)
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(WeightsRefused, match=r"torn' cannot be read"):
        list(file_tensors(path))


def test_a_file_that_is_gone_is_refused_with_its_name(tmp_path):
    with pytest.raises(WeightsRefused, match=r"gone' cannot be read"):
        list(file_tensors(tmp_path / "gone"))


def _set(name, **entry):
    return lambda header: header[name].update(entry)


@pytest.mark.parametrize(
    "change",
    [
        _set("a", dtype="F128"),
        _set("a", dtype="F32"),
        _set("a", data_offsets=[4, 12]),
        _set("a", data_offsets=[-12, 0]),
        _set("a", data_offsets=[12, 0]),
        _set("a", data_offsets=[10**15, 10**15 + 12]),
        _set("a", data_offsets=[0]),
        _set("a", shape="xy"),
        _set("a", shape=[2, 3.5]),
        _set("a", shape=None),
        lambda header: header.update(a=3),
        lambda header: header.pop("b"),
        lambda header: header.pop("lm_head.weight"),
    ],
)
def test_a_header_that_contradicts_the_file_is_refused(tmp_path, change):
    shapes = {name: SHAPES[name] for name in ("a", "b", "lm_head.weight")}
    path = write(tmp_path / "w", shapes)
    list(file_tensors(path))

    write(path, shapes, change=change)

    with pytest.raises(WeightsRefused):
        list(file_tensors(path))


@pytest.mark.parametrize("header", [b"[]", b"3", b"123", b"{", b"\xff{}", b"[" * 100_000])
def test_a_header_that_is_no_table_is_refused(tmp_path, header):
    path = tmp_path / "w"
    path.write_bytes(struct.pack("<Q", len(header)) + header)

    with pytest.raises(WeightsRefused):
        list(file_tensors(path))


def test_a_name_that_appears_twice_is_refused(tmp_path):
    entry = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f'{{"a":{entry},"a":{entry}}}'.encode()
    path = tmp_path / "w"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"1234")

    with pytest.raises(WeightsRefused, match="twice"):
        list(file_tensors(path))


def test_bytes_after_the_last_tensor_are_refused(tmp_path):
    with pytest.raises(WeightsRefused, match="hold 24 of 27 bytes"):
        list(file_tensors(write(tmp_path / "w", SHAPES, tail=b"abc")))


def test_a_model_in_several_files_is_expected_whole_without_its_rotary_tables(tmp_path):
    write(tmp_path / "model-1.safetensors", {"a": (2,), "layers.0.rotary_emb.inv_freq": (8,)})
    write(tmp_path / "model-2.safetensors", {"b": (3, 1)})

    assert folder_shapes(tmp_path) == {"a": (2,), "b": (3, 1)}
    assert [file.name for file in model_files(tmp_path)] == [
        "model-1.safetensors",
        "model-2.safetensors",
    ]


def test_a_model_without_safetensors_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"holds no safetensors file.*save_pretrained"):
        folder_shapes(tmp_path)


def test_a_file_is_laid_out_as_it_is_read(tmp_path):
    tensors = {"a": ("BF16", (2, 3)), "none": ("F32", (0, 4)), "one": ("U8", ())}
    header, places = layout(tensors)

    (tmp_path / "w").write_bytes(header + bytes(range(13)))

    found = memoryview((tmp_path / "w").read_bytes())
    assert read_places(found) == places
    assert [bytes(found[p.start : p.end]) for p in places.values()] == [
        bytes(range(12)),
        b"",
        b"\x0c",
    ]
    assert len(header) % 8 == 0


def test_a_copy_of_the_model_in_another_layout_is_not_part_of_it(tmp_path):
    def touch(*names: str) -> None:
        for name in names:
            (tmp_path / name).write_bytes(b"")

    touch("consolidated.safetensors", "part-1.safetensors", "part-2.safetensors")
    index = {"weight_map": {"a": "part-2.safetensors", "b": "part-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    names = [file.name for file in model_files(tmp_path)]
    assert names == ["part-1.safetensors", "part-2.safetensors"]

    (tmp_path / "model.safetensors.index.json").unlink()
    touch("model.safetensors")
    assert [file.name for file in model_files(tmp_path)] == ["model.safetensors"]
