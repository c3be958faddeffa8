"""The reader gives what the file holds, and an error that names file and byte for every file that lies."""

from __future__ import annotations

import contextlib
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transept_gguf.reader import GGUFFile

from transept.errors import CheckpointError, CorruptFileError, TranseptError

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
Save = Callable[[Any], Path]


def test_values_and_tensors_of_a_sound_file(small: Any, save: Save) -> None:
    file = GGUFFile(save(small))
    assert dict(file.metadata) == {
        "general.architecture": "llama",
        "general.name": "klein",
        "llama.block_count": 2,
        "a.float": 0.5,
        "a.bool": True,
        "words": ["ein", "", "héé"],
        "numbers": [-1, 0, 7],
        "flags": [False, True],
    }
    assert file.metadata.length("words") == 3
    assert file.metadata.length("general.name") is None
    assert [(t.name, t.shape, t.kind.name, t.nbytes) for t in file.tensors.values()] == [
        ("one", (3, 4), "F32", 48),
        ("two", (32,), "Q8_0", 34),
    ]
    assert torch.equal(file.tensors["one"].raw().view(torch.float32), torch.arange(12, dtype=torch.float32))
    assert file.tensors["two"].raw().tolist() == list(range(34))


def test_agrees_with_the_gguf_package(tiny: Any, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf", kind=gguf.GGMLQuantizationType.Q5_1, more=lambda w: w.add_token_list(["a", "ß"]))
    ours, theirs = GGUFFile(path), gguf.GGUFReader(path)
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        info = ours.tensors[tensor.name]
        assert (info.shape, info.start, info.nbytes) == (tuple(tensor.shape[::-1].tolist()), tensor.data_offset, tensor.n_bytes)
        assert info.kind.type_id == tensor.tensor_type
        assert np.array_equal(info.raw().numpy(), tensor.data.reshape(-1).view(np.uint8))
    assert len(ours.metadata) > 8
    for key, value in ours.metadata.items():
        assert theirs.fields[key].contents() == value, key


def test_a_real_file(smollm2: Path) -> None:
    file = GGUFFile(smollm2)
    kinds = [info.kind.name for info in file.tensors.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"Q8_0": 1, "F32": 61, "Q4_1": 210}
    assert file.tensors["token_embd.weight"].shape == (49152, 576)
    assert max(info.start + info.nbytes for info in file.tensors.values()) == smollm2.stat().st_size


def test_a_vocabulary_is_read_fast(smollm2: Path) -> None:
    # a bound for complexity, not a benchmark: it takes 0.05 s on two slow cores
    start = time.perf_counter()
    file = GGUFFile(smollm2)
    assert len(file.metadata["tokenizer.ggml.tokens"]) == 49152
    assert len(file.metadata["tokenizer.ggml.merges"]) == 48900
    assert time.perf_counter() - start < 2


def test_a_tensor_outlives_its_file_and_is_writable_without_changing_it(small: Any, save: Save) -> None:
    path = save(small)
    before = path.read_bytes()
    values = GGUFFile(path).tensors["one"].raw().view(torch.float32)
    values += 1
    assert values.tolist() == list(range(1, 13))
    assert path.read_bytes() == before


def test_a_file_read_up_front_is_the_same(small: Any, save: Save) -> None:
    path = save(small)
    mapped, read = GGUFFile(path), GGUFFile(path, map_file=False)
    assert dict(mapped.metadata) == dict(read.metadata)
    path.unlink()
    assert torch.equal(mapped.tensors["one"].raw(), read.tensors["one"].raw())


def spoil(**changes: Any) -> Callable[[Any], Any]:
    def change(file: Any) -> Any:
        for name, value in changes.items():
            setattr(file, name, value)
        return file

    return change


def with_pair(key: str | bytes, kind: int, value: bytes) -> Callable[[Any], Any]:
    return lambda file: spoil(pairs=[*file.pairs, (key, kind, value)])(file)


def with_tensor(*row: Any) -> Callable[[Any], Any]:
    return lambda file: spoil(tensors=[*file.tensors, row], data=file.data + bytes(4096))(file)


def array(kind: int, count: int, payload: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + payload


BAD = {
    "magic": (spoil(magic=b"GGML"), "GGUF"),
    "version 0": (spoil(version=0), "version"),
    "version 4": (spoil(version=4), "version"),
    "more pairs than bytes": (spoil(pair_count=1 << 60), "metadata keys"),
    "more tensors than bytes": (spoil(tensor_count=1 << 60), "tensors"),
    "key twice": (with_pair("general.name", STRING, struct.pack("<Q", 0)), "twice"),
    "empty key": (with_pair("", U32, bytes(4)), "0 bytes"),
    "key not UTF-8": (with_pair(b"\xff\xfe", U32, bytes(4)), "UTF-8"),
    "endless key": (lambda file: spoil(pairs=[("k" * 70000, U32, bytes(4))])(file), "70000 bytes"),
    "unknown value type": (with_pair("x", 13, bytes(8)), "unknown type 13"),
    "unknown item type": (with_pair("x", ARRAY, array(99, 1, bytes(8))), "unknown type 99"),
    "array of arrays": (with_pair("x", ARRAY, array(ARRAY, 1, array(U32, 0))), "array of arrays"),
    "endless string": (with_pair("x", STRING, struct.pack("<Q", (1 << 64) - 1)), "ends behind"),
    "endless strings": (with_pair("x", ARRAY, array(STRING, (1 << 64) - 1)), "strings"),
    "endless numbers": (with_pair("x", ARRAY, array(U32, 1 << 62)), "bytes are announced"),
    "alignment 0": (with_pair("general.alignment", U32, struct.pack("<I", 0)), "alignment"),
    "alignment 24": (with_pair("general.alignment", U32, struct.pack("<I", 24)), "alignment"),
    "alignment 2 GiB": (with_pair("general.alignment", U32, struct.pack("<I", 1 << 31)), "alignment"),
    "alignment as text": (with_pair("general.alignment", STRING, struct.pack("<Q", 1) + b"8"), "alignment"),
    "tensor twice": (with_tensor("one", (4,), 0, 128), "twice"),
    "tensor without a name": (with_tensor("", (4,), 0, 128), "0 bytes"),
    "five dimensions": (with_tensor("x", (1, 1, 1, 1, 1), 0, 128), "5 dimensions"),
    "dims that wrap around": (with_tensor("x", (1 << 32, 1 << 32), 0, 128), "truncated"),
    "dims that wrap to the right size": (with_tensor("x", ((1 << 63) + 4, 2), 0, 128), "truncated"),
    "a dim of nothing": (with_tensor("x", (4, 0), 0, 128), "shape"),
    "a row that is no whole block": (with_tensor("x", (33,), 8, 128), "multiples of 32"),
    "unknown tensor type": (with_tensor("x", (4,), 200, 128), "unknown type 200"),
    "offset between": (with_tensor("x", (4,), 0, 130), "multiple of 32"),
    "offset behind the end": (with_tensor("x", (4,), 0, 1 << 40), "truncated"),
    "offset that wraps around": (with_tensor("x", (4,), 0, (1 << 64) - 32), "truncated"),
    "overlap": (with_tensor("x", (4,), 0, 32), "overlap"),
    "same place": (with_tensor("x", (12,), 0, 0), "overlap"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_lies_is_refused_by_name_and_byte(name: str, small: Any, save: Save) -> None:
    change, words = BAD[name]
    path = save(change(small))
    with pytest.raises(CorruptFileError, match=words) as caught:
        GGUFFile(path)
    assert str(path) in str(caught.value)
    assert f"at byte {caught.value.position}" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil(version=1), "version 1"),
        (spoil(version=3 << 24), "big endian"),
        (with_tensor("x", (256,), 23, 128), "IQ4_XS.*Q4_K"),
        (with_tensor("x", (32,), 39, 128), "MXFP4"),
    ],
)
def test_a_sound_file_of_an_unread_kind_is_named(change: Any, words: str, small: Any, save: Save) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        GGUFFile(save(change(small)))
    assert not isinstance(caught.value, CorruptFileError)


@pytest.mark.parametrize(("kind", "value"), [(BOOL, b"\x02"), (STRING, struct.pack("<Q", 2) + b"\xc3\x28")])
def test_a_bad_value_is_found_when_it_is_asked_for(kind: int, value: bytes, small: Any, save: Save) -> None:
    path = save(with_pair("x", kind, value)(small))
    file = GGUFFile(path)
    assert file.metadata["general.name"] == "klein"
    with pytest.raises(CorruptFileError, match="at byte"):
        file.metadata["x"]


def read_everything(path: Path) -> None:
    file = GGUFFile(path)
    for key in file.metadata:
        file.metadata[key]
    for info in file.tensors.values():
        assert info.raw().numel() == info.nbytes


def test_every_truncation_is_refused(small: Any, save: Save) -> None:
    whole = small.encode()
    read_everything(save(whole))
    for length in range(len(whole)):
        path = save(whole[:length])
        with pytest.raises(TranseptError):
            read_everything(path)


def test_flipped_bits_give_values_or_an_error_and_little_memory(small: Any, save: Save) -> None:
    whole = small.encode()
    rng = random.Random(0)
    places = [(byte, rng.randrange(8)) for byte in range(len(whole) - len(small.data))]
    tracemalloc.start()
    for flips in [[place] for place in places] + [rng.choices(places, k=3) for _ in range(300)]:
        data = bytearray(whole)
        for byte, bit in flips:
            data[byte] ^= 1 << bit
        with contextlib.suppress(TranseptError):
            read_everything(save(bytes(data)))
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_real_file_gives_values_or_an_error(seed: int, smollm2: Path, save: Save) -> None:
    with smollm2.open("rb") as stream:
        head = bytearray(stream.read(1_900_000))  # metadata, tensor table and a little data
    rng = random.Random(seed)
    for _ in range(6):
        data = bytearray(head)
        for _ in range(rng.choice((1, 1, 20))):
            data[rng.randrange(rng.choice((200, 2000, len(data))))] ^= 1 << rng.randrange(8)
        with pytest.raises(TranseptError):
            read_everything(save(bytes(data[: rng.randrange(24, len(data))])))


def test_a_folder_or_an_empty_file_is_no_gguf(tmp_path: Path) -> None:
    empty = tmp_path / "empty.gguf"
    empty.touch()
    with pytest.raises(CorruptFileError, match="shorter than a header"):
        GGUFFile(empty)
