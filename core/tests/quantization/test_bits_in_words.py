"""Integers of a few bits in 32-bit words."""

import pytest
import torch

from transept.quantization.packing import pack_bits, packed_words, unpack_bits


def by_hand(values, bits):
    """The stream as one large integer, cut into words."""
    whole = sum(value << (index * bits) for index, value in enumerate(values))
    words = -(-len(values) * bits // 32)
    found = [(whole >> (32 * index)) & 0xFFFFFFFF for index in range(words)]
    return torch.tensor([word - (1 << 32) if word >> 31 else word for word in found], dtype=torch.int32)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 31, 32, 33, 64, 97])
def test_words_are_those_of_one_large_integer(bits, count):
    generator = torch.Generator().manual_seed(bits * 100 + count)
    values = torch.randint(0, 1 << bits, (count,), generator=generator)
    packed = pack_bits(values, bits)
    assert packed.shape == (packed_words(count, bits),)
    assert torch.equal(packed, by_hand(values.tolist(), bits))
    assert torch.equal(unpack_bits(packed, bits, count), values.to(torch.uint8))


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("bits", [3, 4])
def test_any_dim_can_be_packed(bits, dim):
    values = torch.randint(0, 1 << bits, (40, 24), generator=torch.Generator().manual_seed(0))
    packed = pack_bits(values, bits, dim)
    assert packed.is_contiguous()
    assert packed.shape[dim] == packed_words(values.shape[dim], bits)
    assert torch.equal(unpack_bits(packed, bits, values.shape[dim], dim), values.to(torch.uint8))
    first = values[:, 0] if dim == 0 else values[0]
    assert torch.equal(packed[:, 0] if dim == 0 else packed[0], by_hand(first.tolist(), bits))


def test_three_bits_straddle_words_as_gptq_has_them():
    """The tenth value of 3 bits has two in the first word and one in the second, the 21st one and two."""
    values = torch.zeros(32, dtype=torch.uint8)
    values[10], values[21] = 0b110, 0b011
    assert pack_bits(values, 3).tolist() == [-(1 << 31), 1 - (1 << 31), 0b01]


def test_a_single_word_can_be_packed_along_the_first_dim():
    values = torch.arange(64, dtype=torch.uint8).view(8, 8) % 16
    packed = pack_bits(values, 4, 0)
    assert packed.shape == (1, 8)
    assert torch.equal(unpack_bits(packed, 4, 8, 0), values)
    assert torch.equal(unpack_bits(packed[:, 2:5], 4, 8, 0), values[:, 2:5])
