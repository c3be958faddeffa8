"""GGML's block types: how a row of weights is packed, and how it is unpacked.

A block is `type_size` bytes that hold `block_size` consecutive weights of a row: small integers, and one or more scales in
float16. Layouts follow ggml's block structs (https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h); products and
sums are rounded one after the other in float32, as in ggml's reference, so that results are equal bit for bit.

Each `unpack` function takes `blocks` of shape (n, type_size), uint8, and fills `out` of shape (n, block_size), float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BLOCK_TYPES", "BlockType", "dequantize", "kind_of", "packed_types", "type_name"]

CHUNK_ELEMENTS = 1 << 19
"""Weights that are unpacked at a time: scratch memory stays within a few MiB, and within the caches."""

SERIAL_ELEMENTS = 1 << 15
"""As many as torch works on in the calling thread. With two threads only this size is taken: together they would need half the
time (135 million weights: 0.15 s, not 0.35), but whenever another program has one of the cores, each of the many short operations
waits for the other thread's turn (then: 5 to 20 s, not 1.5)."""


@dataclass(frozen=True, slots=True)
class BlockType:
    """A way to store a row of weights."""

    name: str
    """ggml's name: `F32`, `Q4_K`, …"""
    type_id: int
    block_size: int
    """Weights in a block."""
    type_size: int
    """Bytes in a block."""
    dtype: torch.dtype | None = None
    """The torch type with the same bytes; None for packed blocks."""
    unpack: Callable[[Tensor, Tensor], None] | None = None
    """Fills (n, block_size) float32 from (n, type_size) uint8; None where `dtype` says it all."""

    def row_bytes(self, row: int) -> int:
        """Bytes of a row of that many weights."""
        return row // self.block_size * self.type_size


def dequantize(data: Tensor, kind: BlockType, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """Weights from their bytes.

    Args:
        data: contiguous uint8 bytes of whole blocks, in any shape.
        kind: how they are packed.
        shape: of the result.
        dtype: of the result; None: the stored type, float32 for packed blocks.

    Returns:
        A new tensor on `data`'s device, or a view of `data` where it already holds such values.
    """
    if kind.unpack is None:
        plain = data.reshape(-1).view(kind.dtype or torch.uint8).view(shape)
        return plain if dtype is None else plain.to(dtype)
    blocks = data.view(-1, kind.type_size)
    out = torch.empty(shape, dtype=dtype or torch.float32, device=data.device)
    rows = out.view(-1, kind.block_size)
    few = data.device.type == "cpu" and torch.get_num_threads() <= 2
    step = (SERIAL_ELEMENTS if few else CHUNK_ELEMENTS) // kind.block_size
    scratch = None
    if out.dtype != torch.float32:
        scratch = torch.empty(min(step, len(rows)), kind.block_size, dtype=torch.float32, device=data.device)
    for start in range(0, len(rows), step):
        target = rows[start : start + step]
        values = target if scratch is None else scratch[: len(target)]
        kind.unpack(blocks[start : start + step], values)
        if scratch is not None:
            target.copy_(values)
    return out


def _float16(blocks: Tensor, at: int) -> Tensor:
    """The float16 at byte `at` of each block, as (n, 1) float32."""
    return blocks[:, at : at + 2].view(torch.float16).to(torch.float32)


def _bits(packed: Tensor, width: int, count: int) -> Tensor:
    """Fields of `width` bits, from the lowest, on a new dimension before the last: (…, k) uint8 to (…, count, k)."""
    shifts = torch.arange(0, width * count, width, dtype=torch.uint8, device=packed.device).view(count, 1)
    return (packed.unsqueeze(-2) >> shifts) & ((1 << width) - 1)


def _fifth_bits(blocks: Tensor, at: int) -> Tensor:
    """32 bits from four bytes, the first weight's in the lowest bit of the first byte, as 0 or 16: (n, 2, 16) uint8."""
    shifts = torch.arange(8, dtype=torch.uint8, device=blocks.device)
    bits = (blocks[:, at : at + 4].unsqueeze(-1) >> shifts) & 1  # (n, 4, 8)
    return (bits << 4).view(-1, 2, 16)


def _unpack_q4_0(blocks: Tensor, out: Tensor) -> None:
    # d: float16 | 16 bytes, whose low nibbles are weights 0-15 and whose high nibbles are 16-31
    quants = blocks[:, 2:]
    out[:, :16] = quants & 15
    out[:, 16:] = quants >> 4
    out.sub_(8).mul_(_float16(blocks, 0))


def _unpack_q4_1(blocks: Tensor, out: Tensor) -> None:
    # d, m: float16 | nibbles as in Q4_0
    quants = blocks[:, 4:]
    out[:, :16] = quants & 15
    out[:, 16:] = quants >> 4
    out.mul_(_float16(blocks, 0)).add_(_float16(blocks, 2))


def _unpack_q5_0(blocks: Tensor, out: Tensor) -> None:
    # d: float16 | fifth bits: 4 bytes | nibbles
    high, quants = _fifth_bits(blocks, 2), blocks[:, 6:]
    out[:, :16] = (quants & 15) | high[:, 0]
    out[:, 16:] = (quants >> 4) | high[:, 1]
    out.sub_(16).mul_(_float16(blocks, 0))


def _unpack_q5_1(blocks: Tensor, out: Tensor) -> None:
    # d, m: float16 | fifth bits: 4 bytes | nibbles
    high, quants = _fifth_bits(blocks, 4), blocks[:, 8:]
    out[:, :16] = (quants & 15) | high[:, 0]
    out[:, 16:] = (quants >> 4) | high[:, 1]
    out.mul_(_float16(blocks, 0)).add_(_float16(blocks, 2))


def _unpack_q8_0(blocks: Tensor, out: Tensor) -> None:
    # d: float16 | 32 signed bytes
    out.copy_(blocks[:, 2:].view(torch.int8))
    out.mul_(_float16(blocks, 0))


def _unpack_q2_k(blocks: Tensor, out: Tensor) -> None:
    # scale and minimum nibbles of 16 groups | 64 bytes of 2-bit weights | d, dmin: float16
    scales = blocks[:, :16]
    scale = _float16(blocks, 80) * (scales & 15)
    minimum = _float16(blocks, 82) * (scales >> 4)
    out.view(-1, 2, 4, 32).copy_(_bits(blocks[:, 16:80].unflatten(1, (2, 32)), 2, 4))
    out.view(-1, 16, 16).mul_(scale.unsqueeze(-1)).sub_(minimum.unsqueeze(-1))


def _unpack_q3_k(blocks: Tensor, out: Tensor) -> None:
    # third bits, inverted: 32 bytes | 64 bytes of 2-bit weights | 16 6-bit scales in 12 bytes | d: float16
    low = _bits(blocks[:, 32:96].unflatten(1, (2, 32)), 2, 4)  # (n, 2, 4, 32)
    third = _bits(blocks[:, :32], 1, 8).view(-1, 2, 4, 32)
    # 8 bytes hold the scales' low nibbles (scales 0-7, then 8-15), 4 bytes their two high bits, four scales a field
    scales = _bits(blocks[:, 96:104], 4, 2).flatten(1) | (_bits(blocks[:, 104:108], 2, 4).flatten(1) << 4)
    scale = _float16(blocks, 108) * (scales.to(torch.float32) - 32)
    out.view(-1, 2, 4, 32).copy_(low | (third << 2))
    out.sub_(4).view(-1, 16, 16).mul_(scale.unsqueeze(-1))


def _k_scales(blocks: Tensor, at: int) -> tuple[Tensor, Tensor]:
    """Scales and minima of the 8 groups of a Q4_K or Q5_K block, each (n, 8) uint8, from 12 bytes of 6-bit fields.

    Bytes 0-3 and 4-7 hold scales and minima 0-3 in their low six bits, and in their top two bits those of 4-7, whose
    low nibbles are bytes 8-11 (scales low, minima high).
    """
    first, second, third = blocks[:, at : at + 4], blocks[:, at + 4 : at + 8], blocks[:, at + 8 : at + 12]
    scales = torch.cat((first & 63, (third & 15) | ((first >> 6) << 4)), 1)
    minima = torch.cat((second & 63, (third >> 4) | ((second >> 6) << 4)), 1)
    return scales, minima


def _scale_k(blocks: Tensor, out: Tensor) -> None:
    """Apply the scales of Q4_K and Q5_K (d, dmin: float16 | 12 bytes) to integers in `out`."""
    scales, minima = _k_scales(blocks, 4)
    scale, minimum = _float16(blocks, 0) * scales, _float16(blocks, 2) * minima
    out.view(-1, 8, 32).mul_(scale.unsqueeze(-1)).sub_(minimum.unsqueeze(-1))


def _unpack_q4_k(blocks: Tensor, out: Tensor) -> None:
    # d, dmin, scales: 16 bytes | 4 runs of 32 bytes; low nibbles are one group, high nibbles the next
    quants, groups = blocks[:, 16:].unflatten(1, (4, 32)), out.view(-1, 4, 2, 32)
    groups[:, :, 0] = quants & 15
    groups[:, :, 1] = quants >> 4
    _scale_k(blocks, out)


def _unpack_q5_k(blocks: Tensor, out: Tensor) -> None:
    # d, dmin, scales: 16 bytes | fifth bits: 32 bytes, bit j for group j | nibbles as in Q4_K
    quants, groups = blocks[:, 48:].unflatten(1, (4, 32)), out.view(-1, 4, 2, 32)
    fifth = (_bits(blocks[:, 16:48], 1, 8) << 4).view(-1, 4, 2, 32)
    groups[:, :, 0] = (quants & 15) | fifth[:, :, 0]
    groups[:, :, 1] = (quants >> 4) | fifth[:, :, 1]
    _scale_k(blocks, out)


def _unpack_q6_k(blocks: Tensor, out: Tensor) -> None:
    # 128 bytes of nibbles | 64 bytes of two high bits | 16 int8 scales | d: float16; each half of a block by itself
    nibbles = blocks[:, :128].unflatten(1, (2, 2, 32))
    high = _bits(blocks[:, 128:192].unflatten(1, (2, 32)), 2, 4) << 4  # (n, 2, 4, 32)
    groups = out.view(-1, 2, 4, 32)
    groups[:, :, :2] = (nibbles & 15) | high[:, :, :2]
    groups[:, :, 2:] = (nibbles >> 4) | high[:, :, 2:]
    scale = _float16(blocks, 208) * blocks[:, 192:208].view(torch.int8)
    out.sub_(32).view(-1, 16, 16).mul_(scale.unsqueeze(-1))


_SUPPORTED = (
    BlockType("F32", 0, 1, 4, torch.float32),
    BlockType("F16", 1, 1, 2, torch.float16),
    BlockType("Q4_0", 2, 32, 18, unpack=_unpack_q4_0),
    BlockType("Q4_1", 3, 32, 20, unpack=_unpack_q4_1),
    BlockType("Q5_0", 6, 32, 22, unpack=_unpack_q5_0),
    BlockType("Q5_1", 7, 32, 24, unpack=_unpack_q5_1),
    BlockType("Q8_0", 8, 32, 34, unpack=_unpack_q8_0),
    BlockType("Q2_K", 10, 256, 84, unpack=_unpack_q2_k),
    BlockType("Q3_K", 11, 256, 110, unpack=_unpack_q3_k),
    BlockType("Q4_K", 12, 256, 144, unpack=_unpack_q4_k),
    BlockType("Q5_K", 13, 256, 176, unpack=_unpack_q5_k),
    BlockType("Q6_K", 14, 256, 210, unpack=_unpack_q6_k),
    BlockType("BF16", 30, 1, 2, torch.bfloat16),
)

BLOCK_TYPES: dict[int, BlockType] = {kind.type_id: kind for kind in _SUPPORTED}
"""Types that are read, by ggml's id."""

_BY_NAME = {kind.name: kind for kind in _SUPPORTED}


def kind_of(name: str) -> BlockType:
    """The type that ggml calls so."""
    return _BY_NAME[name]


def packed_types() -> list[str]:
    """Names of the types that pack several weights into a block."""
    return [kind.name for kind in _SUPPORTED if kind.unpack is not None]


_NAMES = {
    4: "Q4_2", 5: "Q4_3", 9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
    21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M",
    31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 34: "TQ1_0", 35: "TQ2_0", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip


def type_name(type_id: int) -> str | None:
    """ggml's name for a type's id, also of types that are not read; None for an id that ggml does not have."""
    return BLOCK_TYPES[type_id].name if type_id in BLOCK_TYPES else _NAMES.get(type_id)
