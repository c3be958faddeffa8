"""Reading safetensors: what is sound comes zero-copy and private, what is not is refused with a name and a reason."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from transept.checkpoints import open_safetensors
from transept.checkpoints.safetensors_format import DTYPES, SafetensorsFile
from transept.errors import CheckpointNotFoundError, CorruptFileError, UnsafePathError
from transept.files import DirectoryLocation


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).to(torch.bfloat16),
        "c": torch.tensor([True, False, True]),
        "d": torch.tensor(4),
        "e": torch.empty(0, 3),
        "f": torch.randn(4).to(torch.float8_e4m3fn),
    }


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("mmap", [True, False])
def test_every_value_is_the_files(tmp_path, tensors, mmap):
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with open_safetensors(DirectoryLocation(tmp_path), mmap=mmap) as reader:
        found = {name: ref.read() for name, ref in reader.tensors.items()}
        assert reader.metadata == {"format": "pt"}
        assert all(ref.shape == tuple(tensors[name].shape) for name, ref in reader.tensors.items())
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.float())


def test_tensors_are_views_of_one_private_map(tmp_path):
    save_file({"a": torch.zeros(1000), "b": torch.ones(1000)}, tmp_path / "model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    with open_safetensors(DirectoryLocation(tmp_path)) as reader:
        a, again, b = reader.tensors["a"].read(), reader.tensors["a"].read(), reader.tensors["b"].read()
    assert a.data_ptr() == again.data_ptr()
    assert a.untyped_storage().nbytes() == 4000
    assert len(pickle.dumps(b)) < 6000
    a += 3
    assert again[0] == 3
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_read_copy_does_not_follow_the_file(tmp_path):
    save_file({"a": torch.zeros(4)}, tmp_path / "model.safetensors")
    with open_safetensors(DirectoryLocation(tmp_path), mmap=False) as reader:
        a = reader.tensors["a"].read()
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 200)
    assert a.tolist() == [0, 0, 0, 0]


def test_misaligned_tensors_are_read(raw_file):
    header = {"x": entry("U8", (1,), (0, 1)), "y": entry("F32", (2,), (1, 9))}
    values = torch.tensor([1.5, -2.0])
    location = raw_file(header, b"\x07" + bytes(values.view(torch.uint8).tolist()))
    with open_safetensors(location) as reader:
        assert reader.tensors["y"].read().tolist() == [1.5, -2.0]


WEIRD = {
    "truncated data": ({"a": entry()}, b"\0" * 7, "end at byte"),
    "more data than tensors": ({"a": entry()}, b"\0" * 9, "end at byte"),
    "overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12, "overlaps"),
    "gap": ({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20, "gap"),
    "gap at the start": ({"a": entry(offsets=(4, 12))}, b"\0" * 12, "gap"),
    "wrong size": ({"a": entry(shape=(3,))}, b"\0" * 8, "does not take"),
    "negative offset": ({"a": entry(offsets=(-8, 0))}, b"", "no sound shape"),
    "offsets turned round": ({"a": entry(offsets=(8, 0))}, b"\0" * 8, "does not take"),
    "unknown dtype": ({"a": entry(dtype="F33")}, b"\0" * 8, "dtype"),
    "dtype is a list": ({"a": entry() | {"dtype": ["F32"]}}, b"\0" * 8, "dtype"),
    "negative dim": ({"a": entry(shape=(-2,))}, b"\0" * 8, "no sound shape"),
    "float dim": ({"a": entry(shape=(2.0,))}, b"\0" * 8, "no sound shape"),
    "bool dim": ({"a": entry("U8", (True,), (0, 1))}, b"\0", "no sound shape"),
    "huge dims that multiply to zero": ({"a": entry(shape=(0, 1 << 61, 1 << 61), offsets=(0, 0))}, b"", "does not take"),
    "dims that wrap at 64 bits": ({"a": entry("U8", (1 << 32, 1 << 32), (0, 0))}, b"", "does not take"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, b"\0" * 8, "no sound shape"),
    "three offsets": ({"a": entry(offsets=(0, 8, 8))}, b"\0" * 8, "no sound shape"),
    "entry is a number": ({"a": 3}, b"", "not an object"),
    "metadata is a list": ({"__metadata__": [1], "a": entry()}, b"\0" * 8, "__metadata__"),
    "metadata is nested": ({"__metadata__": {"x": {}}, "a": entry()}, b"\0" * 8, "__metadata__"),
    "header is a list": (b"[1, 2]", b"", "`{`"),
    "header is not JSON": (b"{nonsense", b"", "JSON"),
    "header is not UTF-8": (b'{"\xff": 1}', b"", "UTF-8"),
    "the same key twice": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        b"\0" * 8,
        "twice",
    ),
    "nested a million deep": (b'{"a":' + b"[" * 1_000_000, b"", "JSON"),
}


@pytest.mark.parametrize("case", WEIRD)
def test_a_weird_file_is_refused_by_name(raw_file, case, tmp_path):
    header, data, reason = WEIRD[case]
    with pytest.raises(CorruptFileError) as caught:
        open_safetensors(raw_file(header, data))
    assert reason in str(caught.value)
    assert str(tmp_path / "model.safetensors") in str(caught.value)


@pytest.mark.parametrize("length", [2**63, 2**40, 101_000_000, 200])
def test_a_header_longer_than_the_file_is_refused_before_it_is_read(raw_file, length):
    start = time.perf_counter()
    with pytest.raises(CorruptFileError, match="claims"):
        open_safetensors(raw_file({"a": entry()}, b"\0" * 8, length=length))
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("content", [b"", b"1234567", b"\x02\0\0\0\0\0\0\0{"])
def test_a_file_too_short_for_a_header_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptFileError):
        open_safetensors(DirectoryLocation(tmp_path))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_in_the_header_is_an_error_or_harmless(tmp_path, position, bit):
    path = tmp_path / "flip.safetensors"
    save_file({"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(3)}, path)
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    data[position % (8 + length)] ^= 1 << bit
    path.write_bytes(data)
    try:
        file = SafetensorsFile(path)
    except CorruptFileError:
        return
    sizes = [ref.read().nbytes for ref in file.tensors.values()]
    assert sum(sizes) == 36


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 0.999))
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, keep):
    path = tmp_path / "cut.safetensors"
    save_file({"weight": torch.arange(600.0)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CorruptFileError):
        SafetensorsFile(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shapes=st.dictionaries(st.text("abc.0", min_size=1, max_size=6), st.lists(st.integers(0, 4), max_size=3), max_size=6),
    kind=st.sampled_from(sorted(set(DTYPES) - {"F8_E8M0"})),
)
def test_what_the_reference_writes_is_read_the_same(tmp_path, shapes, kind):
    path = tmp_path / "any.safetensors"
    made = {name: torch.ones(shape).to(DTYPES[kind]) for name, shape in shapes.items()}
    save_file(made, path)
    expected = load_file(path)
    file = SafetensorsFile(path)
    assert set(file.tensors) == set(expected)
    for name, ref in file.tensors.items():
        found = ref.read()
        assert (found.dtype, found.shape) == (expected[name].dtype, expected[name].shape)
        assert torch.equal(
            found.view(torch.uint8) if found.dim() else found,
            expected[name].view(torch.uint8) if found.dim() else expected[name],
        )


@pytest.fixture
def sharded(tmp_path: Path):
    save_file({"a": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(2)}, tmp_path / "model-00002-of-00002.safetensors")

    def write(weight_map, **extra):
        index = {"weight_map": weight_map, **extra}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        return DirectoryLocation(tmp_path)

    return write


ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def test_shards_are_read_through_the_index(sharded):
    with open_safetensors(sharded({"a": ONE, "b": TWO})) as reader:
        assert {name: ref.read()[0].item() for name, ref in reader.tensors.items()} == {"a": 1, "b": 0}
        assert len(reader.files) == 2


def test_a_tensor_that_only_the_shard_knows_is_not_lost(sharded, tmp_path):
    save_file({"b": torch.zeros(2), "extra": torch.ones(1)}, tmp_path / TWO)
    with open_safetensors(sharded({"a": ONE, "b": TWO})) as reader:
        assert "extra" in reader.tensors


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"a": ONE, "b": "model-00003-of-00003.safetensors"}, "not there"),
        ({"a": ONE, "b": TWO, "c": TWO}, "no shard has: `c`"),
        ({"a": TWO, "b": TWO}, "no shard has"),
        ({"a": TWO, "b": ONE}, "has one too"),
        ({"a": 3}, "no `weight_map`"),
        ([ONE], "no `weight_map`"),
    ],
)
def test_an_index_that_contradicts_its_shards_is_refused(sharded, weight_map, reason):
    with pytest.raises(CorruptFileError) as caught:
        open_safetensors(sharded(weight_map))
    assert reason in str(caught.value)


def test_a_tensor_in_two_shards_is_refused(sharded, tmp_path):
    save_file({"b": torch.zeros(2), "a": torch.zeros(2)}, tmp_path / TWO)
    with pytest.raises(CorruptFileError, match="has one too"):
        open_safetensors(sharded({"a": ONE, "b": TWO}))


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "sub/../../x", "C:/x", "..\\x", "a\0b", ""])
def test_a_shard_outside_the_folder_is_refused(sharded, tmp_path, name):
    save_file({"a": torch.ones(2)}, tmp_path.parent / "x.safetensors")
    with pytest.raises(UnsafePathError):
        open_safetensors(sharded({"a": name}))


def test_an_index_without_metadata_and_one_with_duplicate_keys(sharded, tmp_path):
    open_safetensors(sharded({"a": ONE, "b": TWO})).close()
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "x", "a": "y"}}')
    with pytest.raises(CorruptFileError, match="twice"):
        open_safetensors(DirectoryLocation(tmp_path))


def test_a_variant_and_a_named_file(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    save_file({"a": torch.full((1,), 2.0)}, tmp_path / "model.fp16.safetensors")
    assert open_safetensors(DirectoryLocation(tmp_path)).tensors["a"].read().item() == 1
    assert open_safetensors(DirectoryLocation(tmp_path), variant="fp16").tensors["a"].read().item() == 2
    assert open_safetensors(DirectoryLocation(tmp_path / "model.fp16.safetensors")).tensors["a"].read().item() == 2
    with pytest.raises(CheckpointNotFoundError, match=r"model\.fp8\.safetensors"):
        open_safetensors(DirectoryLocation(tmp_path), variant="fp8")


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"model\.safetensors"):
        open_safetensors(DirectoryLocation(tmp_path))
