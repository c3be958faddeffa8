"""HQQ's packing: lines of integers laid over each other, the first part of the lines in the highest bits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dtype_of", "lines_of", "pack", "parts_of", "shifts_of", "unpack"]

_PARTS = {8: 1, 4: 2, 3: 10, 2: 4, 1: 8}


def parts_of(bits: int) -> int:
    """How many integers share an element: as many as fill a byte, or ten of 3 bits in 32."""
    return _PARTS[bits]


def dtype_of(bits: int) -> torch.dtype:
    return torch.int32 if bits == 3 else torch.uint8


def lines_of(lines: int, bits: int) -> int:
    """Packed lines for so many; those of 3 bits are filled up with zeros."""
    return -(-lines // _PARTS[bits])


def shifts_of(bits: int, device: torch.device) -> Tensor:
    """How far up the integers of each part stand."""
    return bits * torch.arange(_PARTS[bits] - 1, -1, -1, device=device)


def pack(integers: Tensor, bits: int) -> Tensor:
    """(lines, columns) to (packed lines, columns)."""
    count = lines_of(len(integers), bits)
    padded = torch.zeros(count * _PARTS[bits], integers.shape[1], dtype=dtype_of(bits), device=integers.device)
    padded[: len(integers)] = integers
    made = torch.zeros_like(padded[:count])
    for part, shift in zip(padded.split(count), shifts_of(bits, padded.device).tolist(), strict=True):
        made |= part << shift
    return made


def unpack(packed: Tensor, bits: int, lines: int) -> Tensor:
    """(packed lines, columns) to (lines, columns), uint8."""
    mask = (1 << bits) - 1
    found = [((packed >> shift) & mask).to(torch.uint8) for shift in shifts_of(bits, packed.device).tolist()]
    return torch.cat(found)[:lines]
