"""Unpacked blocks equal the gguf package's, bit for bit, for every type."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transept_gguf import blocks
from transept_gguf.blocks import BLOCK_TYPES, BlockType, dequantize, type_name

KINDS = sorted(BLOCK_TYPES.values(), key=lambda kind: kind.type_id)
PACKED = [kind for kind in KINDS if kind.unpack is not None]
ids = [kind.name for kind in KINDS]
packed_ids = [kind.name for kind in PACKED]


def random_blocks(kind: BlockType, count: int, seed: int = 0) -> torch.Tensor:
    """Blocks of random bytes: scales are any float16, subnormal, infinite and NaN ones too."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, kind.type_size), dtype=torch.uint8, generator=generator)


def reference(data: torch.Tensor, kind: BlockType) -> np.ndarray:
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(data.numpy().reshape(1, -1), gguf.GGMLQuantizationType(kind.type_id)).reshape(-1)


def assert_same_bits(got: torch.Tensor, want: np.ndarray) -> None:
    got_array, nan = got.to(torch.float32).numpy().reshape(-1), np.isnan(want)
    assert np.array_equal(np.isnan(got_array), nan)  # which of the many NaNs it is, is the processor's choice
    assert np.array_equal(got_array[~nan].view(np.int32), want.astype(np.float32)[~nan].view(np.int32))


def test_layouts_are_those_of_ggml() -> None:
    for kind in KINDS:
        theirs = gguf.GGMLQuantizationType(kind.type_id)
        assert (theirs.name, gguf.GGML_QUANT_SIZES[theirs]) == (kind.name, (kind.block_size, kind.type_size))
    for theirs in gguf.GGMLQuantizationType:
        assert type_name(theirs.value) == theirs.name
    assert type_name(4711) is None


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_random_blocks(kind: BlockType) -> None:
    data = random_blocks(kind, 3000)
    assert_same_bits(dequantize(data, kind, (3000 * kind.block_size,)), reference(data, kind))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), kind=st.sampled_from(KINDS))
def test_any_number_of_blocks(seed: int, count: int, kind: BlockType) -> None:
    data = random_blocks(kind, count, seed)
    assert_same_bits(dequantize(data, kind, (count, kind.block_size)), reference(data, kind))


@pytest.mark.parametrize("kind", PACKED, ids=packed_ids)
def test_chunks_join_without_a_seam(kind: BlockType, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_blocks(kind, 101)
    whole = dequantize(data, kind, (101, kind.block_size))
    for size in ("CHUNK_ELEMENTS", "SERIAL_ELEMENTS"):
        monkeypatch.setattr(blocks, size, 7 * kind.block_size)
    for dtype in (torch.float32, torch.bfloat16):
        part = dequantize(data, kind, (101, kind.block_size), dtype)
        assert torch.equal(part.view(torch.uint8), whole.to(dtype).view(torch.uint8))


@pytest.mark.parametrize(
    "kind", [k for k in PACKED if k.name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")], ids=lambda k: k.name
)
def test_quantized_weights_come_back(kind: BlockType) -> None:
    weights = np.random.default_rng(0).standard_normal((24, 96)).astype(np.float32)
    packed = torch.from_numpy(gguf.quants.quantize(weights, gguf.GGMLQuantizationType(kind.type_id)))
    got = dequantize(packed, kind, (24, 96))
    bits = 8 if kind.name == "Q8_0" else int(kind.name[1])
    step = 2 * abs(weights).reshape(-1, 32).max(1) / (2**bits - 1)
    assert (abs(got.numpy() - weights).reshape(-1, 32).max(1) <= 1.1 * step).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_asked_dtype_is_the_rounded_float32(dtype: torch.dtype) -> None:
    kind = BLOCK_TYPES[12]
    data = random_blocks(kind, 9)
    got = dequantize(data, kind, (9, 256), dtype)
    assert got.dtype == dtype
    want = dequantize(data, kind, (9, 256)).to(dtype)
    assert torch.equal(got.nan_to_num(), want.nan_to_num())


def test_plain_values_are_a_view() -> None:
    data = torch.arange(32, dtype=torch.uint8)
    got = dequantize(data, BLOCK_TYPES[0], (2, 4))
    assert got.data_ptr() == data.data_ptr()
    assert dequantize(data, BLOCK_TYPES[0], (2, 4), torch.float16).dtype == torch.float16
