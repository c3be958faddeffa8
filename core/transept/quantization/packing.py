"""Integers of a few bits in a stream of 32-bit words, as GPTQ, AWQ and compressed-tensors store them.

Value i occupies the bits from `i * bits`, counted from the lowest bit of the first word; a value may straddle two words. So 3 bits
take 3 words for 32 values, without gaps. Machines are little-endian, as those are that torch is built for.
"""

from __future__ import annotations

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["pack_bits", "packed_words", "unpack_bits"]


def packed_words(count: int, bits: int) -> int:
    """How many int32 words so many values take."""
    return -(-count * bits // 32)


def pack_bits(values: Tensor, bits: int, dim: int = -1) -> Tensor:
    """Values from 0 to 2**bits - 1 of any integer dtype to int32 words along a dim; the rest of the last word is zero."""
    values = values.movedim(dim, -1).to(torch.uint8)
    count = values.shape[-1]
    width, size = 8 // gcd(8, bits), bits // gcd(8, bits)  # so many values fill so many bytes
    groups = F.pad(values, (0, -count % width)).unflatten(-1, (-1, width))
    made = groups.new_zeros(*groups.shape[:-1], size)
    for index in range(width):
        first, offset = divmod(index * bits, 8)
        made[..., first] |= groups[..., index] << offset
        if offset + bits > 8:
            made[..., first + 1] |= groups[..., index] >> (8 - offset)
    stream = made.flatten(-2)
    stream = F.pad(stream, (0, 4 * packed_words(count, bits) - stream.shape[-1]))
    return stream.contiguous().view(torch.int32).movedim(-1, dim).contiguous()


def unpack_bits(packed: Tensor, bits: int, count: int, dim: int = -1) -> Tensor:
    """The first `count` values along a dim of int32 words, as uint8."""
    # a dim of one word counts as contiguous whatever its stride, and could not be seen as bytes
    stream = packed.movedim(dim, -1).clone(memory_format=torch.contiguous_format).view(torch.uint8)
    width, size = 8 // gcd(8, bits), bits // gcd(8, bits)
    groups = F.pad(stream, (0, -stream.shape[-1] % size)).unflatten(-1, (-1, size))
    values = []
    for index in range(width):
        first, offset = divmod(index * bits, 8)
        value = groups[..., first] >> offset
        if offset + bits > 8:
            value = value | groups[..., first + 1] << (8 - offset)
        values.append(value & (1 << bits) - 1)
    return torch.stack(values, -1).flatten(-2)[..., :count].movedim(-1, dim)
