"""One file, a folder with one model, or all parts of a split one; several models are named, not guessed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transept_gguf.checkpoint import open_gguf
from transept_gguf.configuration import read_config

from transept.errors import CheckpointError, CheckpointNotFoundError, CorruptFileError
from transept.files import DirectoryLocation


@pytest.fixture
def split(tiny: Any, tmp_path: Path) -> Callable[[int], Path]:
    """Write the tiny model in that many parts, as gguf's own writer cuts them."""

    def write(parts: int) -> Path:
        folder = tmp_path / "split"
        folder.mkdir()
        tensors = list(tiny.tensors)
        whole = tiny.write(folder / "whole.gguf")
        reader = gguf.GGUFReader(whole)
        step = -(-len(tensors) // parts)
        for part in range(parts):
            writer = gguf.GGUFWriter(folder / f"tiny-{part + 1:05d}-of-{parts:05d}.gguf", "llama")
            if part == 0:
                for field in reader.fields.values():
                    if not field.name.startswith(("GGUF.", "general.architecture")):
                        writer.add_key_value(field.name, field.contents(), field.types[0])
            writer.add_uint16("split.no", part)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(tensors))
            for tensor in reader.tensors[part * step : (part + 1) * step]:
                writer.add_tensor(tensor.name, np.array(tensor.data))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
        whole.unlink()
        return folder

    return write


def test_a_file_and_its_folder_are_the_same_model(tiny: Any, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf")
    with open_gguf(DirectoryLocation(path)) as one, open_gguf(DirectoryLocation(tmp_path)) as two:
        assert one.files == two.files == (str(path),)
        assert list(one.tensors) == list(two.tensors)
        assert one.format == "gguf"
        assert one.metadata["llama.block_count"] == "2"


@pytest.mark.parametrize("parts", [1, 3])
def test_parts_make_one_model(parts: int, tiny: Any, split: Callable[[int], Path]) -> None:
    folder = DirectoryLocation(split(parts))
    assert read_config(folder)["tie_word_embeddings"] is False  # the output projection stands in the last part
    with open_gguf(folder) as reader:
        assert len(reader.files) == parts
        assert len(reader.tensors) == len(tiny.tensors)
        got = reader.tensors["blk.1.ffn_down.weight"].read()
    assert np.array_equal(got.numpy(), tiny.tensors["model.layers.1.mlp.down_proj.weight"])


def test_an_absent_part_is_missed(split: Callable[[int], Path]) -> None:
    folder = split(3)
    (folder / "tiny-00002-of-00003.gguf").unlink()
    with pytest.raises(CheckpointNotFoundError, match="2 of 3 parts"):
        open_gguf(DirectoryLocation(folder))
    with pytest.raises(CheckpointNotFoundError, match=r"1 of 3 parts.*folder"):
        open_gguf(DirectoryLocation(folder / "tiny-00001-of-00003.gguf"))


def test_a_renamed_part_is_not_taken_for_the_whole(split: Callable[[int], Path]) -> None:
    folder = split(3)
    path = (folder / "tiny-00001-of-00003.gguf").rename(folder / "model.gguf")
    with pytest.raises(CorruptFileError, match=r"announces 21 tensors, 7 are found"):
        open_gguf(DirectoryLocation(path))


def test_a_tensor_in_two_parts_is_refused(split: Callable[[int], Path]) -> None:
    folder = split(2)
    (folder / "tiny-00002-of-00002.gguf").write_bytes((folder / "tiny-00001-of-00002.gguf").read_bytes())
    with pytest.raises(CorruptFileError, match="another part holds too"):
        open_gguf(DirectoryLocation(folder))


def test_several_models_are_listed(tiny: Any, tmp_path: Path) -> None:
    for name in ("tiny-q4.gguf", "tiny-q8.gguf"):
        tiny.write(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"`tiny-q4.gguf`, `tiny-q8.gguf`.*Name one file") as caught:
        open_gguf(DirectoryLocation(tmp_path))
    assert not isinstance(caught.value, CheckpointNotFoundError)
    assert open_gguf(DirectoryLocation(tmp_path / "tiny-q8.gguf")).files == (str(tmp_path / "tiny-q8.gguf"),)


def test_a_folder_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"no file that ends in \.gguf"):
        open_gguf(DirectoryLocation(tmp_path))


def test_tensors_say_how_they_are_stored_and_keep_their_blocks(tiny: Any, tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    with open_gguf(DirectoryLocation(tiny.write(tmp_path / "tiny.gguf", kind=kind))) as reader:
        packed, plain = reader.tensors["blk.0.ffn_up.weight"], reader.tensors["output_norm.weight"]
    assert (packed.kind, packed.dtype, packed.shape, packed.nbytes) == ("Q8_0", None, (96, 64), 96 * 2 * 34)
    assert (plain.kind, plain.dtype, plain.shape, plain.nbytes) == ("F32", torch.float32, (64,), 256)
    blocks = packed.packed()
    assert blocks.shape == (96, 68)
    want = gguf.quants.quantize(tiny.tensors["model.layers.0.mlp.up_proj.weight"], kind)
    assert np.array_equal(blocks.numpy(), want)
    values = packed.read()
    assert np.array_equal(values.numpy(), gguf.quants.dequantize(want, kind))
    assert packed.read(torch.bfloat16).dtype == torch.bfloat16
    assert np.array_equal(blocks.numpy(), want)  # also after their pages were given back
    assert plain.read().data_ptr() == plain.read().data_ptr()  # a view of the file


@pytest.mark.parametrize("mmap", [True, False])
def test_values_do_not_depend_on_mapping(mmap: bool, tiny: Any, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf", kind=gguf.GGMLQuantizationType.F16)
    with open_gguf(DirectoryLocation(path), mmap=mmap) as reader:
        got = reader.tensors["blk.0.ffn_up.weight"].read()
    if not mmap:
        path.write_bytes(struct.pack("<I", 0))
    assert np.array_equal(got.numpy(), tiny.tensors["model.layers.0.mlp.up_proj.weight"].astype(np.float16))
