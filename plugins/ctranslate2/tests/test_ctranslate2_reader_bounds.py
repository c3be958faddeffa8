"""A `model.bin` is data from a stranger: whatever does not add up is one clear error, and nothing is made of it before."""

from __future__ import annotations

import random
import struct

import pytest
import torch
from transept_ctranslate2.checkpoint import CTranslate2Reader, open_ctranslate2
from transept_ctranslate2.reader import ModelFile

from transept.errors import CheckpointError, CheckpointNotFoundError, CorruptFileError
from transept.files import open_location


@pytest.fixture
def variables():
    torch.manual_seed(0)
    return {
        "layer_0/weight": torch.randn(3, 4),
        "layer_0/heads": torch.tensor(2, dtype=torch.int16),
        "layer_1/weight": torch.randint(-127, 127, (3, 4), dtype=torch.int8),
        "layer_1/weight_scale": torch.tensor([1.0, 2.0, 4.0]),
        "narrow": torch.randn(5).half(),
        "brain": torch.randn(2, 2).bfloat16(),
        "ids": torch.tensor([1, 2], dtype=torch.int32),
    }


@pytest.fixture
def file(tmp_path, as_bytes, variables):
    path = tmp_path / "model.bin"
    path.write_bytes(as_bytes(variables, {"also": "layer_0/weight", "and/layer_1": "layer_1/weight"}, spec="AnySpec"))
    return path


@pytest.mark.parametrize("mapped", [True, False])
def test_everything_is_read(file, variables, mapped) -> None:
    found = ModelFile(file, map_file=mapped)
    assert (found.version, found.specification, found.revision) == (6, "AnySpec", 3)
    assert list(found.variables) == [*variables, "also", "and/layer_1"]
    for name, tensor in variables.items():
        assert torch.equal(found.variables[name].read(), tensor)
        assert found.variables[name].dtype == tensor.dtype
    assert torch.equal(found.variables["also"].read(), variables["layer_0/weight"])


def test_tensors_settings_and_scales(file, variables) -> None:
    with CTranslate2Reader(ModelFile(file)) as reader:
        assert reader.attributes == {"layer.0.heads": 2}
        names = ["layer.0.weight", "layer.1.weight", "narrow", "brain", "ids", "also", "and.layer.1"]
        assert list(reader.tensors) == names
        scaled = reader.tensors["layer.1.weight"]
        assert (scaled.dtype, scaled.kind, scaled.shape) == (None, "int8", (3, 4))
        expected = variables["layer_1/weight"].float() / torch.tensor([[1.0], [2.0], [4.0]])
        assert torch.equal(scaled.read(), expected)
        assert torch.equal(reader.tensors["and.layer.1"].read(), expected)
        assert reader.tensors["narrow"].dtype == torch.float16
        kept = reader.tensors["layer.0.weight"].read()
    kept.add_(1)  # a private view: the file stays as it is
    assert torch.equal(ModelFile(file).variables["layer_0/weight"].read(), variables["layer_0/weight"])
    assert reader.tensors == {}


@pytest.mark.parametrize("version", [2, 3])
def test_older_layouts_say_the_size_in_place_of_the_type(tmp_path, as_bytes, version) -> None:
    variables = {"a": torch.randn(2, 3), "b": torch.tensor([[3, -4]], dtype=torch.int16), "b_scale": torch.tensor(2.0)}
    (tmp_path / "model.bin").write_bytes(as_bytes(variables, {"c": "a"} if version == 3 else {}, version=version))
    reader = open_ctranslate2(open_location(tmp_path))
    assert torch.equal(reader.tensors["a"].read(), variables["a"])
    assert reader.tensors["b"].read().tolist() == [[1.5, -2.0]]
    assert ("c" in reader.tensors) == (version == 3)


def test_every_cut_is_noticed(file) -> None:
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises((CorruptFileError, CheckpointError), match=r"model\.bin"):
            ModelFile(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(CorruptFileError, match="follow"):
        ModelFile(file)


def test_changed_bytes_never_do_anything_else(file) -> None:
    whole, draw = file.read_bytes(), random.Random(0)
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        file.write_bytes(damaged)
        try:
            reader = CTranslate2Reader(ModelFile(file, map_file=False))
        except CheckpointError:
            continue
        for tensor in reader.tensors.values():
            assert tensor.read().shape == tensor.shape


def damaged(name: str) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    start = struct.pack("<I", 6) + text("S") + struct.pack("<I", 1)
    one = text("a") + struct.pack("<BIBI", 1, 2, 0, 8) + bytes(8)
    return {
        "many variables": start + struct.pack("<I", 1 << 31) + one,
        "many aliases": start + struct.pack("<I", 1) + one + struct.pack("<I", 1 << 30),
        "a huge tensor": start + struct.pack("<I", 1) + text("a") + struct.pack("<BIIBI", 2, 1 << 31, 1 << 31, 0, 8) + bytes(8),
        "a tensor past the end": start + struct.pack("<I", 1) + text("a") + struct.pack("<BIBI", 1, 1 << 28, 0, 1 << 30),
        "many dimensions": start + struct.pack("<I", 1) + text("a") + struct.pack("<B", 200) + bytes(900),
        "no elements": start + struct.pack("<I", 1) + text("a") + struct.pack("<BIBI", 1, 0, 0, 0) + struct.pack("<I", 0),
        "an unknown type": start + struct.pack("<I", 1) + text("a") + struct.pack("<BIBI", 1, 2, 9, 8) + bytes(8),
        "twice the same": start + struct.pack("<I", 2) + one + one + struct.pack("<I", 0),
        "an alias of nothing": start + struct.pack("<I", 1) + one + struct.pack("<I", 1) + text("b") + text("c"),
        "an alias that is taken": start + struct.pack("<I", 1) + one + struct.pack("<I", 1) + text("a") + text("a"),
        "an empty name": start + struct.pack("<I", 1) + struct.pack("<H", 0) + bytes(30),
        "a name without its end": start + struct.pack("<I", 1) + struct.pack("<H", 3) + b"abc" + bytes(30),
        "a name that is no text": start + struct.pack("<I", 1) + struct.pack("<H", 3) + b"\xff\xfe\0" + bytes(30),
        "a name with a hole": start + struct.pack("<I", 1) + struct.pack("<H", 4) + b"a\0b\0" + bytes(30),
        "nothing": b"",
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "many variables",
        "many aliases",
        "a huge tensor",
        "a tensor past the end",
        "many dimensions",
        "no elements",
        "an unknown type",
        "twice the same",
        "an alias of nothing",
        "an alias that is taken",
        "an empty name",
        "a name without its end",
        "a name that is no text",
        "a name with a hole",
        "nothing",
    ],
)
def test_what_does_not_add_up_is_refused(tmp_path, name) -> None:
    (tmp_path / "model.bin").write_bytes(damaged(name))
    with pytest.raises(CorruptFileError, match="not a sound file of CTranslate2") as caught:
        ModelFile(tmp_path / "model.bin")
    assert "position" in caught.value.fields


@pytest.mark.parametrize("raw", [b"PK\x03\x04" + bytes(60), b"\x80\x02" + bytes(60), struct.pack("<I", 7) + bytes(60)])
def test_files_of_another_kind_are_refused(tmp_path, raw) -> None:
    (tmp_path / "model.bin").write_bytes(raw)
    with pytest.raises(CheckpointError, match="no model of CTranslate2"):
        ModelFile(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"a": torch.ones(2, 3, dtype=torch.int8)}, "no scale"),
        ({"a": torch.ones(2, 3, dtype=torch.int8), "a_scale": torch.ones(3)}, "shape"),
        ({"a": torch.ones(2, 3, dtype=torch.int16), "a_scale": torch.ones(2, dtype=torch.int32)}, "shape"),
    ],
)
def test_integers_need_their_scale(tmp_path, as_bytes, variables, said) -> None:
    (tmp_path / "model.bin").write_bytes(as_bytes(variables))
    with pytest.raises(CorruptFileError, match=said):
        open_ctranslate2(open_location(tmp_path))


def test_a_folder_without_the_file(tmp_path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"model\.bin"):
        open_ctranslate2(open_location(tmp_path))
